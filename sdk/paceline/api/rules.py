"""Rules of the schema in CEL: what the API server refuses, and the sentence that it says.

A rule sits at a path of the schema (`RULES`) or belongs to a type wherever that is used (`TYPE_RULES`).
"""

from __future__ import annotations

import json

from paceline.api import names
from paceline.api.cel import Rule
from paceline.api.storage_rules import CHECKPOINTS, STORAGE
from paceline.api.tracking_rules import MLFLOW, SERVE, TENSORBOARD_IMAGE, WANDB_PROJECT

# Fields that may change after creation: none of them alters what the pods of the job are.
MUTABLE = ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "cleanPodPolicy", "failurePolicy")

_RESERVED = json.dumps(list(names.RANK_ENV))
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def _fixed(field: str, *, required: bool = False) -> Rule:
    changed = f"is fixed at creation: delete the TrainJob and create it anew, or change only {', '.join(MUTABLE)}"
    if required:
        return Rule(
            f"self.{field} == oldSelf.{field}",
            f'"{{oldSelf.{field}}}" cannot become "{{self.{field}}}": spec.{field} {changed}',
            field,
        )
    same = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    # No field path: it may have been removed.
    return Rule(same, f"spec.{field} {changed}")


TYPE_RULES: dict[str, tuple[Rule, ...]] = {
    "quantity": (
        Rule(
            # Not a regular expression: its cost is reckoned without a bound where an integer may stand too.
            "type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')",
            '"{self}" is not a quantity: write a number with a unit, such as 4, 500m or 16Gi',
        ),
    ),
    "object-name": (
        Rule(
            f"self.matches(r'^{_LABEL}([.]{_LABEL})*$')",
            '"{self}" cannot be the name of an object: use lower case letters, digits, "-" and "."',
        ),
    ),
    "mount-path": (
        Rule(
            "self.startsWith('/') && self != '/' && !self.contains(':') && !self.contains('/..')",
            '"{self}" is no directory to mount at: write an absolute path below "/" without ":" and "..", such as '
            "/mnt/data",
        ),
        Rule(
            f"self != '{names.MOUNT_PATH}' && !self.startsWith('{names.MOUNT_PATH}/')",
            f'"{{self}}" would hide the agent, which lives in {names.MOUNT_PATH}: choose another directory',
        ),
    ),
    "env-name": (
        Rule(
            "self.matches(r'^[-._a-zA-Z][-._a-zA-Z0-9]*$')",
            '"{self}" cannot be the name of a variable: use letters, digits and "_", and do not begin with a digit',
        ),
        Rule(
            f"!(self in {_RESERVED}) && !self.startsWith('{names.ENV_PREFIX}')",
            f'"{{self}}" is set by Paceline for each process (the rank variables and {names.ENV_PREFIX}*): remove it, '
            "or choose another name",
        ),
    ),
    "optional-object-name": (
        Rule(
            f"self == '' || self.matches(r'^{_LABEL}([.]{_LABEL})*$')",
            '"{self}" cannot be the name of an object: use lower case letters, digits, "-" and ".", or leave it out',
        ),
    ),
}

_CONTRADICT = (
    "a.action != b.action && has(a.exitCodes) == has(b.exitCodes) && has(a.reasons) == has(b.reasons) && "
    "(!has(a.exitCodes) || a.exitCodes == b.exitCodes) && (!has(a.reasons) || a.reasons == b.reasons)"
)

_SHARED = (
    "!has(self.storage) || !has(self.storage.path) || !self.storage.path.startsWith('/') || "
    "has(self.storage.volume) || self.workers.count <= self.workers.perPod || "
    # A volume of the pod template may hold it: the operator looks there.
    "(has(self.podTemplate) && has(self.podTemplate.spec))"
)

RULES: dict[str, tuple[Rule, ...]] = {
    "": (
        Rule(
            f"self.metadata.name.size() <= {names.MAX_JOB_NAME}",
            'metadata.name "{self.metadata.name}" has {size <- self.metadata.name.size()} characters: shorten it to at '
            f"most {names.MAX_JOB_NAME}, since the names of the pods add to it",
        ),
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            'metadata.name "{self.metadata.name}" cannot be the name of a Service: begin with a lower case letter and '
            'use lower case letters, digits and "-", without "."',
        ),
    ),
    "spec": (
        Rule(
            "self.framework != 'tensorflow' || !has(self.env) || !self.env.exists(e, e.name == 'TF_CONFIG')",
            '"TF_CONFIG" is set by Paceline for each process of framework tensorflow: remove it from spec.env',
            "env",
        ),
        Rule(
            _SHARED,
            '"{self.storage.path}" is on no volume that the {number <- self.workers.count / self.workers.perPod} pods '
            "share: set spec.storage.volume with a mountPath above it, or use a store such as s3://, gs:// or hdfs://",
            "storage.path",
        ),
        Rule(
            "!has(self.credentials) || !has(self.storage) || !has(self.storage.volume) || "
            "self.credentials.all(c, !has(c.mountPath) || c.mountPath != self.storage.volume.mountPath)",
            '"{self.storage.volume.mountPath}" is the mountPath of spec.storage.volume too: mount the Secret in '
            "another directory",
            "credentials",
        ),
        SERVE,
        *(_fixed(field, required=True) for field in ("framework", "image")),
        *(
            _fixed(field)
            for field in (
                "imagePullPolicy",
                "command",
                "args",
                "env",
                "envFrom",
                "workers",
                "podTemplate",
                "storage",
                "credentials",
                "tracking",
                "checkpoints",
                "artifacts",
                "scheduling",
                "agent",
            )
        ),
    ),
    "spec.image": (
        Rule(r"self.matches(r'^\S+$')", '"{self}" contains a space: write one image, such as registry/team/digits:1'),
    ),
    "spec.command": (
        Rule(
            "self.size() != 1 || !self[0].contains(' ')",
            '["{command <- self[0]}"] is one word with spaces: write each word as an entry, such as '
            "[python, train.py], or [sh, -c, ...] for a shell line",
        ),
    ),
    "spec.env[]": (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            '"{self.name}" has value and valueFrom: remove one of them',
        ),
    ),
    "spec.env[].valueFrom": (
        Rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), has(self.resourceFieldRef)]"
            ".filter(x, x).size() == 1",
            "names {number <- [has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), "
            "has(self.resourceFieldRef)].filter(x, x).size()} sources: give exactly one of secretKeyRef, "
            "configMapKeyRef, fieldRef and resourceFieldRef",
        ),
    ),
    "spec.envFrom[]": (
        Rule(
            "has(self.secretRef) != has(self.configMapRef)",
            "has {both or neither <- has(self.secretRef) ? 'both secretRef and configMapRef' : "
            "'neither secretRef nor configMapRef'}: "
            "give exactly one of them",
        ),
    ),
    "spec.workers": (
        Rule(
            "self.count % self.perPod == 0",
            "{self.count} workers cannot be shared out to pods of {self.perPod}: make count a multiple of perPod",
            "count",
        ),
    ),
    "spec.workers.gpuResource": (
        Rule(
            f"self.matches(r'^{_LABEL}([.]{_LABEL})*/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
            '"{self}" is not the name of an extended resource: write domain/name, such as nvidia.com/gpu',
        ),
    ),
    "spec.podTemplate.metadata.labels": (
        Rule(
            f"self.all(k, !k.startsWith('{names.GROUP}/') && k != 'app.kubernetes.io/managed-by')",
            "has the label {name <- self.filter(k, "
            f"k.startsWith('{names.GROUP}/') || k == 'app.kubernetes.io/managed-by')[0]}}, which Paceline sets to find "
            "its pods: remove it, or choose another name",
        ),
    ),
    "spec.podTemplate.spec": tuple(
        Rule(
            f"!has(self.{field})",
            f'"{{self.{field}}}": Paceline sets {field} on every pod, since restarts and addresses rest on it: remove '
            "it",
            field,
        )
        for field in ("restartPolicy", "hostname", "subdomain")
    ),
    "spec.storage": STORAGE,
    "spec.storage.secretRef.key": (
        Rule(
            "self.matches('^[-._a-zA-Z0-9]+$')",
            '"{self}" cannot be the key of a Secret: use letters, digits, "-", "_" and ".", such as key.json',
        ),
    ),
    "spec.storage.name": (
        Rule(
            "self.matches('^[A-Za-z0-9][-A-Za-z0-9._]*$')",
            '"{self}" cannot be the directory of a run: use letters, digits, "-", "_" and ".", beginning with a letter '
            "or a digit",
        ),
    ),
    "spec.storage.volume.subPath": (
        Rule(
            "!self.startsWith('/') && self != '..' && !self.startsWith('../') && !self.contains('/..')",
            '"{self}" leaves the volume: write a relative path without "..", such as team-a',
        ),
    ),
    "spec.credentials": (
        Rule(
            "self.all(c, !has(c.mountPath) || self.exists_one(d, has(d.mountPath) && d.mountPath == c.mountPath))",
            'mountPath "{mountPath <- self.filter(c, has(c.mountPath) && !self.exists_one(d, has(d.mountPath) && '
            'd.mountPath == c.mountPath))[0].mountPath}" is used twice: give each Secret a directory of its own',
        ),
    ),
    "spec.credentials[]": (
        Rule(
            "!has(self.asEnv) || self.asEnv || has(self.mountPath)",
            'asEnv is false and there is no mountPath, so that Secret "{self.secretRef.name}" reaches no worker: set '
            "mountPath, or remove asEnv",
            "asEnv",
        ),
    ),
    "spec.credentials[].env": (
        Rule(
            f"self.all(k, !(k in {_RESERVED}) && !k.startsWith('{names.ENV_PREFIX}') && k != 'TF_CONFIG')",
            f"has the variable {{name <- self.filter(k, k in {_RESERVED} || k.startsWith('{names.ENV_PREFIX}') || "
            "k == 'TF_CONFIG')[0]}, which Paceline sets for each process: remove it",
        ),
        Rule(
            "self.all(k, k.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$'))",
            'has a name that no variable can have: use letters, digits and "_", and do not begin with a digit',
        ),
    ),
    "spec.checkpoints": (
        *CHECKPOINTS,
        Rule(
            "!has(self.scoreOrder) || has(self.scoreAttribute)",
            'scoreOrder is "{self.scoreOrder}" but there is nothing to order: set scoreAttribute to the metric that '
            "compares checkpoints, or remove scoreOrder",
            "scoreOrder",
        ),
    ),
    "spec.tracking.wandb.project": WANDB_PROJECT,
    "spec.tracking.mlflow": MLFLOW,
    "spec.tracking.tensorboard.image": TENSORBOARD_IMAGE,
    "spec.failurePolicy.rules": (
        Rule(
            f"!self.exists(a, self.exists(b, {_CONTRADICT}))",
            "has rules with the actions {actions <- self.filter(a, self.exists(b, "
            + _CONTRADICT
            + ")).map(a, a.action)} for the very same failures: remove all but one",
        ),
    ),
    "spec.failurePolicy.rules[]": (
        Rule(
            "(has(self.exitCodes) && self.exitCodes.size() > 0) || (has(self.reasons) && self.reasons.size() > 0)",
            'action "{self.action}" names no failure: give exitCodes, reasons, or both',
        ),
    ),
    "spec.failurePolicy.backoffSeconds": (
        Rule(
            "self.initial <= self.max",
            "{self.initial} is more than max {self.max}: make initial at most max",
            "initial",
        ),
    ),
}

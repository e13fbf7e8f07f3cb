"""Rules of the schema in CEL: what the API server refuses, and the sentence that it says.

A rule sits at a path of the schema (`RULES`) or belongs to a type wherever that is used (`TYPE_RULES`).
"""

from __future__ import annotations

import json

from paceline.api import names
from paceline.api.cel import Rule

S3_QUERY_KEYS = ("endpoint_override", "scheme", "region", "allow_bucket_creation")
# Fields that may change after creation: none of them alters what the pods of the job are.
MUTABLE = ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "cleanPodPolicy", "failurePolicy")

_RESERVED = json.dumps(list(names.RANK_ENV))
_QUERY_KEYS = json.dumps(list(S3_QUERY_KEYS))
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def _absent_or(field: str, holds: str) -> str:
    return f"!has(self.{field}) || ({holds})"


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

_SHARED = (
    "!has(self.storage) || !has(self.storage.path) || !self.storage.path.startsWith('/') || "
    "has(self.storage.volume) || self.workers.count <= self.workers.perPod || "
    # A volume of the pod template may hold it: the operator looks there.
    "(has(self.podTemplate) && has(self.podTemplate.spec))"
)
_BELOW_MOUNT = (
    "!has(self.volume) || !has(self.path) || !self.path.startsWith('/') || self.path == self.volume.mountPath || "
    "self.path.startsWith(self.volume.mountPath.endsWith('/') ? self.volume.mountPath : self.volume.mountPath + '/')"
)
# Everything after the first "?", without the help of url(), which refuses what it cannot read.
_QUERY = "self.path.substring(self.path.indexOf('?') + 1).split('&')"
_HAS_QUERY = "self.path.startsWith('s3://') && self.path.contains('?')"

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
            "share: set spec.storage.volume with a mountPath above it, or use an s3:// path",
            "storage.path",
        ),
        Rule(
            "!has(self.credentials) || !has(self.storage) || !has(self.storage.volume) || "
            "self.credentials.all(c, !has(c.mountPath) || c.mountPath != self.storage.volume.mountPath)",
            '"{self.storage.volume.mountPath}" is the mountPath of spec.storage.volume too: mount the Secret in '
            "another directory",
            "credentials",
        ),
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
                "checkpoints",
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
    "spec.storage": (
        Rule(
            _absent_or("path", "self.path.startsWith('s3://') || self.path.startsWith('/')"),
            '"{self.path}" is neither s3://bucket/prefix nor an absolute path such as /mnt/shared/runs: write one of '
            "them (gs:// and hdfs:// come in a later version)",
            "path",
        ),
        Rule(
            _absent_or(
                "path",
                "!self.path.startsWith('s3://') || "
                r"self.path.matches(r'^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#\s]*)?([?][^#\s]*)?$')",
            ),
            '"{self.path}" names no bucket that can exist: write s3://bucket/prefix, the bucket in 3 to 63 lower case '
            'letters, digits, "-" and ".", without spaces and "#"',
            "path",
        ),
        Rule(
            _absent_or("path", "!self.path.startsWith('/') || (self.path != '/' && !self.path.contains('/..'))"),
            '"{self.path}" is no directory for results: write an absolute path below "/" without "..", such as '
            "/mnt/shared/runs",
            "path",
        ),
        Rule(
            _absent_or("path", f"!({_HAS_QUERY}) || {_QUERY}.all(p, p.split('=')[0] in {_QUERY_KEYS})"),
            f'"{{self.path}}" has an unknown option after "?": known are {", ".join(S3_QUERY_KEYS)}',
            "path",
        ),
        Rule(
            _absent_or(
                "path",
                f"!({_HAS_QUERY}) || {_QUERY}.all(p, !(p.split('=')[0] in {_QUERY_KEYS}) || "
                "(p.startsWith('scheme=') ? p in ['scheme=http', 'scheme=https'] : "
                "p.startsWith('allow_bucket_creation=') ? p in ['allow_bucket_creation=true', "
                "'allow_bucket_creation=false'] : p.matches('^[a-z_]+=.+$')))",
            ),
            '"{self.path}" has an option without a usable value: write endpoint_override=http://host:9000, '
            "region=NAME, scheme=http or https, allow_bucket_creation=true or false",
            "path",
        ),
        Rule(
            "!has(self.volume) || (has(self.path) && self.path.startsWith('/'))",
            'volume "{self.volume.claimName}" is not used: set path to an absolute path at or below its mountPath '
            '"{self.volume.mountPath}", or remove the volume',
            "volume",
        ),
        Rule(
            _BELOW_MOUNT,
            '"{self.path}" is not on the volume mounted at "{self.volume.mountPath}": set path at or below the '
            "mountPath, so that all pods see the same files",
            "path",
        ),
        Rule(
            "!has(self.secretRef) || !has(self.path) || !self.path.startsWith('/')",
            'secretRef "{self.secretRef.name}" is for s3:// paths and "{self.path}" is a directory: remove secretRef, '
            "or hand the Secret over in spec.credentials",
            "secretRef",
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
        Rule(
            "!has(self.scoreOrder) || has(self.scoreAttribute)",
            'scoreOrder is "{self.scoreOrder}" but there is nothing to order: set scoreAttribute to the metric that '
            "compares checkpoints, or remove scoreOrder",
            "scoreOrder",
        ),
    ),
    "spec.checkpoints.resumeFrom": (
        Rule(
            "self in ['', 'none'] || self.startsWith('s3://') || self.startsWith('/')",
            '"{self}" is no checkpoint: leave it empty for the latest of this run, write none to start fresh, or give '
            "the s3:// URI or absolute path of a checkpoint",
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

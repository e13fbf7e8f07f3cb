"""Rules for `spec.tracking` in CEL: what a server's address may carry, and what TensorBoard needs."""

from __future__ import annotations

from paceline.api.cel import Rule
from paceline.api.storage_rules import CARRIES, has_credentials

# At the object, since the API server repeats the value of a plain field that a rule refuses.
MLFLOW = (
    Rule(
        f"!has(self.trackingUri) || !{has_credentials('self.trackingUri')}",
        CARRIES.replace(
            "{instead}",
            "name a Secret in spec.credentials with the keys MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN",
        ),
        "trackingUri",
    ),
)

WANDB_PROJECT = (
    Rule(
        r"!self.matches('[/\\\\#?%:]')",
        '"{self}" cannot be the name of a project: leave out / \\ # ? % and :, and write the team in entity',
    ),
)

TENSORBOARD_IMAGE = (
    Rule(
        r"self.matches(r'^\S*$')", '"{self}" contains a space: write one image, such as registry/team/tensorboard:2.21'
    ),
)

# At the spec: TensorBoard runs in a pod of its own, which sees the volume of spec.storage and no other.
SERVE = Rule(
    "!has(self.tracking) || !has(self.tracking.tensorboard) || !has(self.tracking.tensorboard.serve) || "
    "!self.tracking.tensorboard.serve || !has(self.storage) || !has(self.storage.path) || "
    "!self.storage.path.startsWith('/') || has(self.storage.volume)",
    'serve shows what is in storage, and "{self.storage.path}" is on no volume that another pod can mount: set '
    "spec.storage.volume with a mountPath above it, use a store such as s3://, or remove serve",
    "tracking.tensorboard",
)

"""Rules for `spec.storage` and for checkpoint URIs in CEL: which stores there are, and what a path may carry.

A path may hold credentials by mistake. One rule refuses that without repeating the path; every other rule that shows
the path leaves such a path alone, so that no secret gets into an answer of the API server, a log or a terminal.
"""

from __future__ import annotations

import json

from paceline.api.cel import Rule

S3_QUERY_KEYS = ("endpoint_override", "scheme", "region", "allow_bucket_creation")
STORES = ("s3", "gs", "gcs", "hdfs", "webhdfs")

_KNOWN_STORES = "s3://bucket/prefix, gs://bucket/prefix, hdfs://host:port/dir, webhdfs://host:port/dir"
_IS_KNOWN = f"p.split('=')[0] in {json.dumps(list(S3_QUERY_KEYS))}"
# A user before "@", in the URI or in the URI of an option; an option whose name says that its value is secret.
CREDENTIALS = (
    r"(?i)^[^:/?#]*://[^/?#]*@|[?].*//[^/?&#]*@"
    r"|[?](.*&)?[^=&]*(key|secret|token|passw|credential|signature|auth)[^=&]*="
)
CARRIES = (
    'carries credentials (a name before "@", or an option after "?" that is called key, secret, token or password): '
    "remove them, and {instead}"
)
_USER = "HDFS takes the user as ?user=NAME"
# Everything after the first "?", without the help of url(), which refuses what it cannot read.
_QUERY = "self.path.substring(self.path.indexOf('?') + 1).split('&')"
_HAS_QUERY = "self.path.startsWith('s3://') && self.path.contains('?')"
_USABLE = (
    "(p.startsWith('scheme=') ? p in ['scheme=http', 'scheme=https'] : p.startsWith('allow_bucket_creation=') ? "
    "p in ['allow_bucket_creation=true', 'allow_bucket_creation=false'] : p.matches('^[a-z_]+=.+$'))"
)
_BELOW_MOUNT = (
    "!has(self.volume) || !has(self.path) || !self.path.startsWith('/') || self.path == self.volume.mountPath || "
    "self.path.startsWith(self.volume.mountPath.endsWith('/') ? self.volume.mountPath : self.volume.mountPath + '/')"
)


def has_credentials(value: str) -> str:
    """Return the CEL expression that tells whether a URI carries credentials."""
    return f"{value}.matches(r'{CREDENTIALS}')"


def _in_store(value: str) -> str:
    return f"{value}.matches(r'^({'|'.join(STORES)})://')"


def _path(holds: str, message: str) -> Rule:
    """A rule that shows the path, and so looks only at one without credentials."""
    return Rule(f"!has(self.path) || {has_credentials('self.path')} || ({holds})", message, "path")


STORAGE = (
    Rule(
        f"!has(self.path) || !{has_credentials('self.path')}",
        CARRIES.replace("{instead}", f"name a Secret that holds them in spec.storage.secretRef. {_USER}"),
        "path",
    ),
    _path(
        f"self.path.startsWith('/') || {_in_store('self.path')}",
        f'"{{self.path}}" is in no store that is known here: write {_KNOWN_STORES}, or an absolute path such as '
        "/mnt/shared/runs",
    ),
    _path(
        "!self.path.startsWith('s3://') || "
        r"self.path.matches(r'^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#\s]*)?([?][^#\s]*)?$')",
        '"{self.path}" names no bucket that can exist: write s3://bucket/prefix, the bucket in 3 to 63 lower case '
        'letters, digits, "-" and ".", without spaces and "#"',
    ),
    _path(
        "!self.path.matches('^gc?s://') || "
        r"self.path.matches(r'^gc?s://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^?#\s]*)?([?][^#\s]*)?$')",
        '"{self.path}" names no bucket of Google Cloud Storage: write gs://bucket/prefix, the bucket in lower case '
        'letters, digits, "-", "_" and ".", without spaces and "#"',
    ),
    _path(
        "!self.path.matches('^(web)?hdfs://') || (!self.path.contains('/..') && "
        r"self.path.matches(r'^(web)?hdfs://[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?/[^?#\s]*([?][^#\s]*)?$'))",
        '"{self.path}" names no directory of a NameNode: write hdfs://host:port/dir or webhdfs://host:port/dir, '
        'without "..", spaces and "#"',
    ),
    _path(
        "!self.path.startsWith('/') || (self.path != '/' && !self.path.contains('/..'))",
        '"{self.path}" is no directory for results: write an absolute path below "/" without "..", such as '
        "/mnt/shared/runs",
    ),
    # The names alone: what stands behind an unknown option may be anything. gs and hdfs: the agent knows the options.
    _path(
        f"!({_HAS_QUERY}) || {_QUERY}.all(p, {_IS_KNOWN})",
        f"has the unknown option {{option <- {_QUERY}.filter(p, !({_IS_KNOWN}))[0].split('=')[0]}} after \"?\": "
        f"known are {', '.join(S3_QUERY_KEYS)}",
    ),
    _path(
        f"!({_HAS_QUERY}) || {_QUERY}.all(p, !({_IS_KNOWN}) || {_USABLE})",
        f'has the option "{{option <- {_QUERY}.filter(p, {_IS_KNOWN} && !{_USABLE})[0]}}" without '
        "a usable value: write endpoint_override=http://host:9000, region=NAME, scheme=http or https, "
        "allow_bucket_creation=true or false",
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
        'secretRef "{self.secretRef.name}" is for object stores and HDFS, and "{self.path}" is a directory: remove '
        "secretRef, or hand the Secret over in spec.credentials",
        "secretRef",
    ),
    Rule(
        "!has(self.secretRef) || !has(self.secretRef.key) || (has(self.path) && self.path.matches('^gc?s://'))",
        'key "{self.secretRef.key}" is for a gs:// path, which takes a file: remove key, since the keys of the Secret '
        "become variables",
        "secretRef",
    ),
)

# At the object, since the API server repeats the value of a plain field that a rule refuses.
CHECKPOINTS = (
    Rule(
        f"!has(self.resumeFrom) || !{has_credentials('self.resumeFrom')}",
        CARRIES.replace("{instead}", f"hand them over as for spec.storage: the same credentials are used. {_USER}"),
        "resumeFrom",
    ),
    Rule(
        f"!has(self.resumeFrom) || self.resumeFrom in ['', 'none'] || self.resumeFrom.startsWith('/') || "
        f"{_in_store('self.resumeFrom')} || {has_credentials('self.resumeFrom')}",
        '"{self.resumeFrom}" is no checkpoint: leave it empty for the latest of this run, write none to start fresh, '
        "or give the URI (s3://, gs://, hdfs://, webhdfs://) or absolute path of a checkpoint",
        "resumeFrom",
    ),
)

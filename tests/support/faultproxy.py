"""The fault proxy with the stores' own words: what each says when it throttles, refuses or breaks."""

from __future__ import annotations

import json

from e2e.cluster.faultproxy import FaultProxy, Seen
from e2e.cluster.faults import Answer, Bandwidth, CutAnswer, CutRequest, Hang, Latency, LoseAnswer, Reset, Rule

__all__ = [
    "Answer",
    "Bandwidth",
    "CutAnswer",
    "CutRequest",
    "FaultProxy",
    "Hang",
    "Latency",
    "LoseAnswer",
    "Reset",
    "Rule",
    "Seen",
    "gcs_error",
    "s3_error",
    "webhdfs_error",
]


def s3_error(status: int, code: str, message: str = "said by the fault proxy") -> Answer:
    """An answer of S3: `s3_error(503, "SlowDown")`, `s3_error(403, "AccessDenied")`."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, text, {"Content-Type": "application/xml"})


def gcs_error(status: int, reason: str, message: str = "said by the fault proxy") -> Answer:
    """An answer of the GCS JSON API: `gcs_error(429, "rateLimitExceeded")`, `gcs_error(503, "backendError")`."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Answer(status, json.dumps({"error": error}), {"Content-Type": "application/json"})


def webhdfs_error(status: int, exception: str, message: str = "said by the fault proxy") -> Answer:
    """An answer of WebHDFS: `webhdfs_error(403, "StandbyException")`, `webhdfs_error(403, "SafeModeException")`."""
    error = {"exception": exception, "javaClassName": f"org.apache.hadoop.{exception}", "message": message}
    return Answer(status, json.dumps({"RemoteException": error}), {"Content-Type": "application/json"})

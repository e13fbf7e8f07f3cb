"""The output of one pod, to the end of its worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

from paceline.client import logtail
from paceline.client.cluster import Cluster
from paceline.client.errors import ClientError, ClusterError

LOOK_S = 1.0
# A stream that is silent for so long is opened anew: a dead connection would be silent for ever.
SILENCE_S = 300.0


def lines(cluster: Cluster, job: str, pod: str, *, tail: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a pod until its worker has ended; a broken stream goes on after the last line that it gave.

    Raises:
        ClusterError: The log may not be read. A pod that is gone is no error: there is nothing more to read.
    """
    last = ""
    while True:
        try:
            stream = cluster.log_lines(
                pod, follow=True, stamped=True, tail=None if last else tail, since=last, silence_s=SILENCE_S
            )
            for line in stream:
                stamp, text = logtail.unstamp(line)
                if stamp and last and stamp <= last:
                    continue  # the second that the stream broke in is sent again from its beginning
                last = stamp or last
                yield text
            there = {found["metadata"]["name"]: found for found in cluster.pods(job)}
            if not logtail.running(there.get(pod)):
                return
        except ClusterError as error:
            if not error.retryable:
                raise
        except ClientError:
            return  # the pod is gone
        time.sleep(LOOK_S)

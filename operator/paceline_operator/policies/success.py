"""Have all workers ended well?"""

from __future__ import annotations

from collections.abc import Sequence

from paceline_operator.policies.observed import PodSeen


def decide(current: Sequence[PodSeen], pods: int) -> bool:
    """Tell whether all `pods` pods of the current attempt succeeded."""
    return len(current) == pods and all(pod.succeeded for pod in current)

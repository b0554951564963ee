"""What is ours on a Prefect server: names, and how places are held."""

from datetime import timedelta
from typing import Any

TAG = "stratbench"
"""On every deployment and run."""

NIGHTLY = "nightly"
"""Tag of the deployment that measures every night, and of its runs."""

BENCHMARK_POOL = "stratbench"
"""Work pool of the flow `benchmark`: it holds no device."""

TRIAL_POOL = "gpu"
"""Work pool of the flows `trial` and `rank`: each host takes its own runs from queues of its own."""

SWEEP_LIMIT = "stratbench-sweep"
"""Global concurrency limit that one run of `benchmark` holds for its whole life."""

LATEST_START = timedelta(hours=1)
"""After its time, of a run that a schedule created; one that would begin later is not caught up."""


def machine_limit(hostname: str) -> str:
    """Global concurrency limit that a trial holds while it trains on a machine."""
    return f"gpu:{hostname}"


LEASE: dict[str, Any] = {"occupy": 1, "strict": True, "lease_duration": 60.0, "raise_on_lease_renewal_failure": False}
"""How a flow holds one of the limits. A place frees itself 60 s after its holder was lost. A holder goes on where the
server is away for longer: it would lose its work, and what waits for the place waits for the work pool as well."""

"""Names on a Prefect server that are ours."""

TAG = "stratbench"
"""On every deployment and run."""

BENCHMARK_POOL = "stratbench"
"""Work pool of the flow `benchmark`: it holds no device."""

TRIAL_POOL = "gpu"
"""Work pool of the flow `trial`: one run at a time."""

SWEEP_LIMIT = "stratbench-sweep"
"""Global concurrency limit that one run of `benchmark` holds for its whole life."""


def machine_limit(hostname: str) -> str:
    """Global concurrency limit that a trial holds while it trains on a machine."""
    return f"gpu:{hostname}"

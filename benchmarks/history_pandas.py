"""Plain pandas: read every trial and every step, then the median seconds of each cell, arm and night."""

import os
from pathlib import Path

import pandas as pd


def main() -> None:
    """Print the medians of the last night."""
    runs = Path(os.environ["STRATBENCH_ROOT"]) / "runs"
    trials = pd.concat([pd.read_parquet(path) for path in sorted((runs / "history").glob("*.parquet"))])
    steps = pd.concat(
        [pd.read_parquet(path).assign(run_name=path.parent.name) for path in sorted(runs.glob("*/steps.parquet"))]
    )
    seconds = steps.groupby(["run_name", "trial_key"])["seconds"].sum().reset_index()
    measured = trials.merge(seconds, on=["run_name", "trial_key"])
    medians = measured.groupby(["run_name", "strategy", "global_batch_size", "arm"])["seconds"].median()
    print(medians.loc[trials["run_name"].max()])


if __name__ == "__main__":
    main()

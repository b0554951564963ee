from pathlib import Path

import pytest

from flows.stack import deployments
from flows.stack.pools import Pools
from flows.stack.watching import run_benchmark
from tasks.domain.refusal import Refusal


def test_other_pool_names_reach_every_deployment() -> None:
    declared = deployments.load(Pools(benchmark="light", trial="a100")).by_name
    pools = {name: each["work_pool"]["name"] for name, each in declared.items()}
    assert pools == {name: "a100" if name in ("trial/gpu", "rank/gpu") else "light" for name in declared}


def test_digest_tells_declarations_apart() -> None:
    assert deployments.load(Pools()).digest == deployments.load(Pools()).digest
    assert deployments.load(Pools()).digest != deployments.load(Pools(trial="a100")).digest


def test_missing_declaration_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "FILE", tmp_path / "nowhere.yaml")
    with pytest.raises(Refusal, match=r"nowhere\.yaml cannot be read"):
        deployments.load(Pools())


@pytest.mark.parametrize(
    ("deployment", "parameter"), [("fulll", "num_epochs=1"), ("full", "num_epochs"), ("full", "=1")]
)
def test_nonsense_is_refused_before_anything_starts(root: Path, deployment: str, parameter: str) -> None:
    with pytest.raises(Refusal, match="use one of full, smoke, .*nightly|NAME=JSON"):
        run_benchmark(deployment, [parameter])
    assert list(root.iterdir()) == []

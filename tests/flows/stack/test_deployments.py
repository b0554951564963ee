from pathlib import Path

import pytest

from flows.stack import deployments
from flows.stack.error import StackError
from flows.stack.pools import Pools
from flows.stack.watching import run_benchmark
from tests.flows.stack.conftest import SAMPLE


def test_names_are_those_that_prefect_uses() -> None:
    declaration = deployments.load(deployments.default_file(), Pools())
    assert declaration.names == ("benchmark/full", "benchmark/smoke", "benchmark/nightly", "trial/gpu")
    assert declaration.scheduled_names == ("benchmark/nightly",)


def test_other_pool_names_reach_every_deployment() -> None:
    declaration = deployments.load(deployments.default_file(), Pools(benchmark="light", trial="a100"))
    found = [each["work_pool"]["name"] for each in declaration.content["deployments"]]
    assert found == ["light", "light", "light", "a100"]


def test_digest_tells_declarations_apart() -> None:
    file = SAMPLE / "prefect.yaml"
    assert deployments.load(file, Pools()).digest == deployments.load(file, Pools()).digest
    assert deployments.load(file, Pools()).digest != deployments.load(file, Pools(trial="a100")).digest


def test_missing_declaration_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"nowhere\.yaml cannot be read"):
        deployments.load(tmp_path / "nowhere.yaml", Pools())


@pytest.mark.parametrize(
    ("deployment", "parameter"), [("fulll", "num_epochs=1"), ("full", "num_epochs"), ("full", "=1")]
)
def test_nonsense_is_refused_before_anything_starts(root: Path, deployment: str, parameter: str) -> None:
    with pytest.raises(StackError, match="full, smoke, nightly|NAME=JSON"):
        run_benchmark(deployment, [parameter])
    assert list(root.iterdir()) == []

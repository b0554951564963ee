import json

import pytest

from tasks.domain.device import Devices, DeviceType
from tasks.domain.strategy import Strategy
from tasks.training.cluster import place_workers
from tests.examples import make_trial

FOUR_CORES = Devices(cores=(0, 2, 4, 6))


def test_mirrored_replicas_are_bound_as_a_set() -> None:
    (place,) = place_workers(make_trial(cores_per_replica=2), FOUR_CORES)
    assert place.cpus == (0, 2, 4, 6)
    assert "TF_CONFIG" not in place.environment


def test_one_device_takes_one_slice() -> None:
    trial = make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, cores_per_replica=3)
    (place,) = place_workers(trial, FOUR_CORES)
    assert place.cpus == (0, 2, 4)


def test_workers_take_distinct_cores_and_know_each_other() -> None:
    trial = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_workers=2, replicas_per_worker=1)
    places = place_workers(trial, FOUR_CORES)
    assert [place.cpus for place in places] == [(0,), (2,)]
    configs = [json.loads(place.environment["TF_CONFIG"]) for place in places]
    assert configs[0]["cluster"] == configs[1]["cluster"]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}]
    addresses = configs[0]["cluster"]["worker"]
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.0.0.1:") for address in addresses)


def test_a_cpu_trial_sees_no_gpu() -> None:
    (place,) = place_workers(make_trial(), Devices(cores=(0, 1), gpus=("A100", "A100")))
    assert place.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_gpus_are_shared_out_by_the_names_that_the_parent_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Devices(cores=(0, 1), gpus=("A100",) * 4)
    gpu = {"device": DeviceType.GPU, "cores_per_replica": None, "micro_batch_size": None, "global_batch_size": 64}
    mirrored = make_trial(replicas_per_worker=4, **gpu)
    workers = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_workers=2, replicas_per_worker=2, **gpu)

    def visible() -> list[str]:
        return [
            place.environment["CUDA_VISIBLE_DEVICES"]
            for trial in (mirrored, workers)
            for place in place_workers(trial, machine)
        ]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible() == ["0,1,2,3", "0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5,6,7")
    assert visible() == ["4,5,6,7", "4,5", "6,7"]
    assert place_workers(mirrored, machine)[0].cpus == ()


def test_missing_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 physical cores, this machine offers 1"):
        place_workers(make_trial(), Devices(cores=(0,)))

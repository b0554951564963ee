import json

import pytest

from tasks.domain.device import Devices, DeviceType
from tasks.domain.strategy import Strategy
from tasks.domain.trial import Trial
from tasks.training.cluster import WorkerPlace, free_addresses, place_workers
from tasks.training.part import Ranks
from tests.examples import make_trial

FOUR_CORES = Devices(cores=(0, 2, 4, 6))


def place(trial: Trial, devices: Devices = FOUR_CORES) -> tuple[WorkerPlace, ...]:
    """All ranks of the trial on one machine."""
    addresses = tuple(f"127.0.0.1:{5000 + rank}" for rank in range(trial.num_workers) if trial.num_workers > 1)
    return place_workers(trial, devices, Ranks(numbers=range(trial.num_workers), addresses=addresses))


def test_replicas_of_one_process_are_bound_to_the_set_of_their_slices() -> None:
    (mirrored,) = place(make_trial(cores_per_replica=2))
    (single,) = place(make_trial(strategy=Strategy.ONE_DEVICE, replicas_per_worker=1, cores_per_replica=3))
    assert (mirrored.cpus, single.cpus) == ((0, 2, 4, 6), (0, 2, 4))
    assert "TF_CONFIG" not in mirrored.environment


def test_workers_take_distinct_cores_and_know_each_other() -> None:
    trial = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_workers=2, replicas_per_worker=1)
    places = place(trial)
    assert [worker.cpus for worker in places] == [(0,), (2,)]
    assert [json.loads(worker.environment["TF_CONFIG"]) for worker in places] == [
        {"cluster": {"worker": ["127.0.0.1:5000", "127.0.0.1:5001"]}, "task": {"type": "worker", "index": rank}}
        for rank in (0, 1)
    ]


def test_free_addresses_differ() -> None:
    addresses = free_addresses("127.0.0.1", 2)
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.0.0.1:") for address in addresses)


def test_ranks_of_the_second_machine_take_its_first_devices() -> None:
    trial = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_hosts=2, num_workers=4, replicas_per_worker=1)
    addresses = ("a:1", "a:2", "b:1", "b:2")
    places = place_workers(trial, Devices(cores=(3, 4)), Ranks(numbers=range(2, 4), addresses=addresses))
    assert [(worker.rank, worker.cpus) for worker in places] == [(2, (3,)), (3, (4,))]
    config = json.loads(places[1].environment["TF_CONFIG"])
    assert config == {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": 3}}


def test_a_cpu_trial_sees_no_gpu() -> None:
    (only,) = place(make_trial(), Devices(cores=(0, 1), gpus=("A100", "A100")))
    assert only.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_gpus_are_shared_out_by_the_names_that_the_parent_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Devices(cores=(0, 1), gpus=("A100",) * 4)
    gpu = {"device": DeviceType.GPU, "cores_per_replica": None, "micro_batch_size": None, "global_batch_size": 64}
    mirrored = make_trial(replicas_per_worker=4, **gpu)
    workers = make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED, num_workers=2, replicas_per_worker=2, **gpu)

    def visible() -> list[str]:
        return [
            worker.environment["CUDA_VISIBLE_DEVICES"]
            for trial in (mirrored, workers)
            for worker in place(trial, machine)
        ]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible() == ["0,1,2,3", "0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5,6,7")
    assert visible() == ["4,5,6,7", "4,5", "6,7"]
    assert place(mirrored, machine)[0].cpus == ()


def test_missing_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 physical cores, this machine offers 1"):
        place(make_trial(), Devices(cores=(0,)))

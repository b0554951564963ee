import dataclasses
import shutil
from pathlib import Path

import pytest

from tasks.data.arrays import DataError
from tasks.data.exchange import obtain, publish
from tasks.data.preparation import prepare
from tasks.data.reading import Split
from tasks.domain.dataset import PreparedDataset
from tasks.results.storage import Storage, open_storage
from tests.data.samples import small_arrays, write_npz


@pytest.fixture
def store(place: Path | str) -> Storage:
    found = open_storage(place)
    found.prepare()
    return found


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedDataset:
    """Of a user's file, on the first host."""
    return prepare(str(write_npz(tmp_path / "data.npz", small_arrays())), tmp_path / "first")


def test_other_host_obtains_what_was_published_without_the_users_file(
    store: Storage, prepared: PreparedDataset, tmp_path: Path
) -> None:
    publish(prepared, store)
    publish(prepared, store)
    Path(prepared.source).unlink()
    found = obtain(prepared.source, prepared.digest, tmp_path / "second", store)
    assert found == dataclasses.replace(prepared, directory=str(tmp_path / "second" / prepared.digest))
    for split in Split:
        copies = [Path(one.directory) / split.file_name for one in (prepared, found)]
        assert copies[0].read_bytes() == copies[1].read_bytes()
    for split in Split:
        store.remove(f"data/{prepared.digest}/{split.file_name}")
    assert obtain(prepared.source, prepared.digest, tmp_path / "second", store) == found, "from the cache"


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_what_nobody_published_is_prepared_here(store: Storage, prepared: PreparedDataset, tmp_path: Path) -> None:
    found = obtain(prepared.source, prepared.digest, tmp_path / "second", store)
    assert found.digest == prepared.digest
    shutil.rmtree(tmp_path / "second")
    publish(prepared, store)
    store.remove(f"data/{prepared.digest}/test.parquet")
    assert obtain(prepared.source, prepared.digest, tmp_path / "second", store) == found, "half of it is nothing"
    with pytest.raises(DataError, match="does not exist"):
        obtain(str(tmp_path / "none.npz"), "0" * 64, tmp_path / "second", store)


def test_damaged_data_are_refused_and_do_not_reach_the_cache(
    store: Storage, prepared: PreparedDataset, tmp_path: Path
) -> None:
    publish(prepared, store)
    name = f"data/{prepared.digest}/train.parquet"
    content = bytearray(store.read(name))
    content[len(content) // 4] ^= 1
    store.replace(name, bytes(content))
    with pytest.raises(DataError) as refused:
        obtain(prepared.source, prepared.digest, tmp_path / "second", store)
    assert str(refused.value) == (
        f"{store.location}/data/{prepared.digest} is damaged: its arrays have another digest than its name; remove it "
        "there and start the run again, which publishes it anew"
    )
    assert not (tmp_path / "second" / prepared.digest).exists()


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_damaged_cache_is_mended_from_the_store(store: Storage, prepared: PreparedDataset, tmp_path: Path) -> None:
    publish(prepared, store)
    Path(prepared.source).unlink()
    (Path(prepared.directory) / "test.parquet").write_bytes(b"")
    assert obtain(prepared.source, prepared.digest, tmp_path / "first", store) == prepared

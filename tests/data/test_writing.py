"""Writing examples: the layout on disk that reading relies on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.writing import write_split

IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4, 1)
LABELS = np.array([2, 0, 1], np.uint8)


def test_any_parquet_reader_finds_the_pixels_and_their_shape(tmp_path: Path) -> None:
    write_split(tmp_path / "a.parquet", IMAGES, LABELS, zstd_level=3)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("image").type == pa.binary(8)
    assert table.schema.field("label").type == pa.uint8()
    assert table.schema.metadata == {b"image_shape": b"2,4,1", b"image_layout": b"row-major uint8"}
    assert table.column("image")[1].as_py() == bytes(range(8, 16))
    assert table.column("label").to_pylist() == [2, 0, 1]


@pytest.mark.parametrize(("zstd_level", "compression"), [(None, "UNCOMPRESSED"), (19, "ZSTD")])
def test_file_is_one_row_group_compressed_only_on_demand(
    tmp_path: Path, zstd_level: int | None, compression: str
) -> None:
    write_split(tmp_path / "a.parquet", IMAGES, LABELS, zstd_level=zstd_level)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).compression == compression


def test_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_split(tmp_path / name, IMAGES, LABELS, zstd_level=22)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("precious")
    with pytest.raises(FileExistsError):
        write_split(tmp_path / "a", IMAGES, LABELS)
    assert (tmp_path / "a").read_text() == "precious"

from pathlib import Path

import pytest

from tests.data.samples import small_arrays, write_idx_folder, write_npz
from tests.stores import place, s3

__all__ = ["place", "s3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small arrays as IDX files."""
    return write_idx_folder(tmp_path / "data", small_arrays())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The small arrays as an `.npz`."""
    return write_npz(tmp_path / "data.npz", small_arrays())

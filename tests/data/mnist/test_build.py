"""Rebuilding the shipped MNIST."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.data import shipped
from tasks.data.arrays import fingerprints
from tasks.data.formats import read_idx_folder
from tasks.data.mnist.build import build
from tasks.data.reading import Split, read_split
from tests.data.samples import idx_path, refused, small_arrays, write_idx_folder


def test_folder_of_other_data_is_refused_and_nothing_is_written(tmp_path: Path, folder: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    with refused(str(idx_path(folder, "x_train")), "is not MNIST's", "60000 x 28 x 28 x 1", "own four IDX files"):
        build(folder, output)
    assert list(output.iterdir()) == []


def test_build_replaces_both_files_with_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = small_arrays()
    folder = write_idx_folder(tmp_path / "data", arrays)
    monkeypatch.setattr(shipped, "MNIST_FINGERPRINTS", fingerprints(read_idx_folder(folder).arrays))
    output = tmp_path / "output"
    output.mkdir()
    build(folder, output)
    first = {path.name: path.read_bytes() for path in output.iterdir()}
    build(folder, output)
    assert first == {path.name: path.read_bytes() for path in output.iterdir()}
    assert sorted(first) == ["test.parquet", "train.parquet"]
    assert (read_split(output, Split.TRAIN)[0][..., 0] == arrays["x_train"]).all()


def test_command_line_ends_with_the_sentence_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.data.mnist.build", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "train-images-idx3-ubyte is missing" in done.stderr
    assert "Traceback" not in done.stderr

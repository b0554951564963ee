"""The shipped MNIST, rebuilt from its four IDX files: `python -m tasks.data.mnist.build FOLDER`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tasks.data.arrays import DataError, fingerprints
from tasks.data.formats import read_idx_folder
from tasks.data.reading import Split
from tasks.data.shipped import MNIST_FOLDER, check_mnist
from tasks.data.writing import write_split

ZSTD_LEVEL = 22


def build(folder: Path, output: Path = MNIST_FOLDER) -> None:
    """Write `train.parquet` and `test.parquet` to `output`, about 25 s; raises DataError unless `folder` holds MNIST.

    With the same pyarrow the files are the same to the byte.
    """
    dataset = read_idx_folder(folder)
    check_mnist(fingerprints(dataset.arrays), dataset.places, "give the folder of MNIST's own four IDX files")
    for split, examples in zip(Split, (dataset.train, dataset.test), strict=True):
        with tempfile.TemporaryDirectory(dir=output) as temporary:
            path = Path(temporary) / split.file_name
            write_split(path, examples.images, examples.labels.astype("uint8"), zstd_level=ZSTD_LEVEL)
            path.replace(output / split.file_name)


def main() -> None:
    """Command line; exits with the error's sentence where the folder is not MNIST."""
    parser = argparse.ArgumentParser(prog="python -m tasks.data.mnist.build", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the four IDX files")
    try:
        build(parser.parse_args().folder)
    except DataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

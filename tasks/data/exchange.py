"""Prepared datasets beside the results, for hosts that have neither the user's files nor a common disk."""

import tempfile
from pathlib import Path

from tasks.data.arrays import DataError
from tasks.data.cache import install, is_intact, read_prepared
from tasks.data.preparation import prepare
from tasks.data.reading import Split
from tasks.domain.dataset import PreparedDataset
from tasks.results.storage import Storage


def publish(prepared: PreparedDataset, storage: Storage) -> None:
    """Put the prepared files where hosts look for them, `data/<digest>/` of the results root, unless they are there.

    Raises ResultsError where they cannot be put.
    """
    for split in Split:
        if not storage.exists(name := _name(prepared.digest, split)):
            storage.put_if_absent(name, (Path(prepared.directory) / split.file_name).read_bytes())


def obtain(source: str, digest: str, cache: Path, storage: Storage) -> PreparedDataset:
    """The dataset `source` of that digest: from the cache if it is intact there, else from the results root.

    Where nobody has published it, `source` is prepared here, whatever digest comes of that. Raises DataError, in one
    sentence, where what was published is not what it is named after or `source` cannot be used, and ResultsError where
    the results root cannot be reached.
    """
    directory = cache.expanduser().resolve() / digest
    if not is_intact(directory):
        files = storage.read_many([_name(digest, split) for split in Split])
        if any(isinstance(content, FileNotFoundError) for content in files.values()):
            return prepare(source, cache)
        contents = [content for content in files.values() if isinstance(content, bytes)]
        if len(contents) < len(files):
            raise DataError(f"data/{digest} cannot be read at {storage.location}; mend that, or remove it there")
        _install(contents, directory, f"{storage.location}/data/{digest}")
    return read_prepared(directory).prepared(source, directory)


def _name(digest: str, split: Split) -> str:
    return f"data/{digest}/{split.file_name}"


def _install(contents: list[bytes], directory: Path, place: str) -> None:
    """Verify the published files, in the order of Split, and put them into the cache."""
    with tempfile.TemporaryDirectory(prefix="stratbench-data-") as parent:
        folder = Path(parent) / directory.name
        folder.mkdir()
        for split, content in zip(Split, contents, strict=True):
            (folder / split.file_name).write_bytes(content)
        if not is_intact(folder):
            raise DataError(
                f"{place} is damaged: its arrays have another digest than its name; remove it there and start the run "
                "again, which publishes it anew"
            )
        install(read_prepared(folder), directory)

"""Files written at once or not at all: a part file, flush, fsync, rename. Whoever reads sees the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A part file beside `path`, to be written inside; it takes the place of `path` once it is whole and on the disk.

    Whatever is raised inside leaves `path` as it was, and no part file. OSError if the disk refuses.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        _sync(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _sync(path.parent)  # the new name, too, survives a power cut


def private(folder: Path) -> None:
    """Make a data folder, which nobody else on the machine may look into; one that is there stays as its owner has it. OSError if the disk refuses."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, at once or not at all. OSError if the disk refuses."""
    with replacing(path) as part:
        part.write_text(text, "utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """`data`, at once or not at all. OSError if the disk refuses."""
    with replacing(path) as part:
        part.write_bytes(data)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

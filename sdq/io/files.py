"""Files written at once or not at all: a part file, flush, fsync, rename. Whoever reads sees the
old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = ".lock"  # in a folder that one process at a time computes in
_MACHINE = socket.gethostname()[:20]  # folders may be shared over a network
ASKED = ("request", "job.json", "worker.pid")  # written by whoever asks for a run, at any time


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A part file beside `path`, to be written inside; it takes the place of `path` once it is
    whole and on the disk. A pipe or a device, which a rename would put out of the way, is refused.

    Whatever is raised inside leaves `path` as it was, and no part file; those that killed processes
    of this machine left beside it are removed. OSError if the disk refuses.
    """
    if not path.name or path.name == "..":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    part = path.with_name(f"{path.name}.{_MACHINE}-{os.getpid()}-{threading.get_ident()}.part")
    for left in path.parent.glob(f"{glob.escape(path.name)}.{_MACHINE}-*-*.part"):
        if not _lives(left.name.split("-")[-2]):
            left.unlink(missing_ok=True)
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
    """Make a data folder, which nobody else on the machine may look into; one that is there stays
    as its owner has it. OSError if the disk refuses."""
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


def settle(path: Path, place: Path) -> None:
    """Move a file that is whole to its place, once it is on the disk. OSError if the disk
    refuses."""
    _sync(path)
    path.replace(place)
    _sync(place.parent)


def append(path: Path, line: str) -> None:
    """One line at the end of a log. What a crash left of the line before it is ended first, so that
    the two are not glued together. OSError if the disk refuses."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        half = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = ("\n" if half else "").encode() + line.encode() + b"\n"
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Compute in a folder (made if it is not there) as the only process; another one waits, after a
    call of `waiting`, until this one has ended or died.

    Part files that a killed process left are removed. OSError if the disk refuses.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder was moved in this moment
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            # whoever had it has finished, and taken the file away
            if not _is(handle, folder / LOCK):
                continue
            for part in folder.glob("*.part"):
                if not part.name.startswith(ASKED):
                    part.unlink(missing_ok=True)
            try:
                yield
            finally:
                if _is(handle, folder / LOCK):
                    (folder / LOCK).unlink()
            return
        finally:
            os.close(handle)


def age(path: Path) -> float:
    """Seconds since a file was changed; infinitely many if it is gone by now."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def busy(folder: Path) -> bool:
    """Whether a process computes in a folder, behind `alone`, at this moment; it may be silent for
    long."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lives(process: str) -> bool:
    """Whether there is a process of this number, or the text is none."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, OSError):  # another user's, too
        return True
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

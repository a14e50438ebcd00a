"""The data folder: what changes it, one writer at a time and whole even if a process is killed, and
what it takes on the disk.

Beside the runs (the store's folder is its `runs/`) it holds pins.json (a list of run ids) and
trash/ (deleted runs, one folder each). Nothing outside it is written or removed, and no symbolic
link is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdq.io import files, sealed
from sdq.io.files import private
from sdq.service.visitors import Visitor
from sdq.settings import UserError, unwritable
from sdq.store import Store

MOVES = "moves.json"  # what is being moved: pairs of places in the data folder
# .2, .3: older copies of a run that was deleted more than once
TRASHED = re.compile(r"([0-9a-f]{12})(?:\.(\d+))?")
_PLACE = re.compile(r"[\w-]+/[0-9a-f]{12}(\.\d+)?")


def in_bytes(size: float) -> str:
    """A number of bytes for people: 512 B, 3.4 MB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@contextlib.contextmanager
def changing(store: Store) -> Iterator[Path]:
    """The data folder, for one writer at a time. UserError, one sentence, for whatever the disk
    refuses."""
    folder = store.folder.parent
    try:
        private(folder)
        for part in (store.folder, folder / "trash"):
            if part.is_symlink():
                raise UserError(
                    f"{part} must be a folder of its own to be changed here, it is a link to "
                    "another place; change it there"
                )
        lock = os.open(folder / "history.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in (MOVES, "pins.json"):
                for part in folder.glob(f"{name}.*.part"):  # of a process killed while it wrote
                    part.unlink(missing_ok=True)
            move(folder)
            yield folder
        finally:
            os.close(lock)
    except OSError as error:
        raise unwritable(folder, error) from error


def move(folder: Path, moves: Sequence[tuple[Path, Path]] = ()) -> None:
    """Move folders of the data folder, all of them: the next change finishes what a killed process
    began. OSError if the disk refuses."""
    journal = folder / MOVES
    if moves:
        files.write_text(
            journal,
            json.dumps([[str(path.relative_to(folder)) for path in pair] for pair in moves]),
        )
    elif not journal.is_file():
        return
    try:
        pairs = [(str(here), str(there)) for here, there in json.loads(journal.read_text("utf-8"))]
    except (ValueError, TypeError):
        sealed.aside(journal, folder / "damaged" / MOVES)
        return
    for here, there in pairs:
        if not (_PLACE.fullmatch(here) and _PLACE.fullmatch(there)):
            continue  # not written here
        if (folder / here).is_dir() and not os.path.lexists(folder / there):
            (folder / there).parent.mkdir(exist_ok=True)
            (folder / here).rename(folder / there)
    journal.unlink()


def must_lead(who: Visitor, what: str) -> None:
    if not who.leads:
        raise UserError(
            f"only the teacher or the owner of this machine can {what}, you came by the students' "
            "link; ask them to do it"
        )


def trashed(folder: Path) -> list[Path]:
    """Run folders in the trash, last deleted first. Links and whatever else lies there are left
    alone."""
    trash = folder / "trash"
    if trash.is_symlink() or not trash.is_dir():
        return []
    folders = []
    with contextlib.suppress(FileNotFoundError):  # the trash itself
        for path in trash.iterdir():
            if TRASHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):
                    # brought back, or gone for good, this moment
                    folders.append((-path.lstat().st_ctime, path.name, path))
    return [path for _, _, path in sorted(folders)]


@dataclass(frozen=True)
class Disk:
    """Bytes taken by own runs, by the trash and by the shipped runs, with their inspections; bytes
    free where the data folder is."""

    own: int
    trash: int
    shipped: int
    free: int


def bytes_of(path: Path) -> int:
    """Bytes of all files under a folder; links count as nothing and are not followed."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += bytes_of(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def disk(store: Store) -> Disk:
    """What the runs take, in bytes."""
    folder = store.folder.parent
    there = next((p for p in (folder, *folder.parents) if p.is_dir()), Path("/"))
    trash = sum(bytes_of(path) for path in trashed(folder))
    own = bytes_of(store.folder) + bytes_of(store.inspections().folder)
    shipped = sum(
        bytes_of(path) for path in (store.shipped, store.inspections().shipped) if path is not None
    )
    return Disk(own, trash, shipped, shutil.disk_usage(there).free)

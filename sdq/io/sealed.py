"""How stored files are known to be the ones that were written: a SHA-256 per file, in one small
JSON file beside them. Needs no torch.

The seal of a finished run is its marker `done`; that of an inspection, and of an embedded
model in assets, is SEAL.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.io import files
from sdq.settings import UserError

FORMAT = 1
SEAL = "sealed.json"
Sums = Mapping[str, tuple[str, int]]  # name of a file -> (SHA-256 in hex, bytes)


class Damaged(UserError):
    """A stored file is not what was written: the sentence names it and says the way out."""


def text(sums: Sums) -> str:
    """What a seal's file says of these files, and a sum over that, so that a flip in the seal is
    known from one in a file."""
    listed = {
        name: {"sha256": digest, "bytes": size} for name, (digest, size) in sorted(sums.items())
    }
    return json.dumps({"format": FORMAT, "files": listed, "sha256": _over(listed)}, indent=1) + "\n"


def write(path: Path, names: Iterable[str], previous: Sums | None = None) -> None:
    """Seal files. OSError if the disk refuses.

    path: of the seal
    names: of files beside it
    previous: sums that it keeps
    """
    files.write_text(
        path, text({**(previous or {}), **{name: _sum(path.parent / name) for name in names}})
    )


def sum_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. OSError if it cannot be read."""
    return _digest(*state(path))


def read(path: Path) -> Sums:
    """What a seal says. ValueError if it is damaged or empty, OSError if it is not there."""
    return _read(*state(path))


def fault(path: Path, sums: Sums | None, name: str = "") -> str | None:
    """What is wrong with a file that a seal tells of: a few words; None if it is as it was written.

    path: of the file
    sums: of its seal; None: of an earlier version, which tells nothing
    name: what the seal calls it; "": its file name
    """
    name = name or path.name
    try:
        current = state(path)
        if sums is None:
            return None
        if name not in sums:
            return "it is not among those that were written"
        digest, size = sums[name]
        if current[1] != size:
            return f"it has {current[1]:,} bytes, {size:,} were written"
        return None if _digest(*current) == digest else "its SHA-256 is another one"
    except OSError as error:
        return (
            "it is not there"
            if isinstance(error, FileNotFoundError)
            else f"it cannot be read ({error.strerror})"
        )


def read_table(path: Path, what: str, way: str, columns: Iterable[str] = ()) -> pd.DataFrame:
    """A Parquet table. Damaged for whatever else the file holds.

    path: of the file
    what: it is of, for errors
    way: out, for errors
    columns: that it must have
    """
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, TypeError, KeyError, MemoryError, pa.ArrowException) as error:
        raise damaged(path, what, "it is no whole Parquet file", way) from error
    if absent := [name for name in columns if name not in frame.columns]:
        raise damaged(path, what, f"the column {absent[0]!r} is missing", way)
    return frame


def read_json(path: Path, what: str, way: str) -> dict[str, Any]:
    """A JSON object. Damaged for whatever else the file holds, or if it is not there.

    path: of the file
    what: it is of, for errors
    way: out, for errors
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, what, "it is no whole JSON file", way) from error
    if not isinstance(value, dict):
        raise damaged(path, what, "it holds no JSON object", way)
    return value


def damaged(path: Path, what: str, reason: str, way: str) -> Damaged:
    """The one sentence about a damaged file.

    path: of the file
    what: it is of
    reason: why it is thought so
    way: out
    """
    return Damaged(
        f"{path.name} of {what} must be as it was written, it is damaged: {reason}; {way}"
    )


def aside(path: Path, place: Path) -> Path:
    """Move a file or folder that cannot be used to `place`, or to place.2, place.3, ... if that is
    taken; returns where it is now. OSError if the disk refuses."""
    place.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while os.path.lexists(
        free := place if number == 1 else place.with_name(f"{place.name}.{number}")
    ):
        number += 1
    path.rename(free)
    return free


def _over(listed: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([FORMAT, listed], sort_keys=True).encode()).hexdigest()


def state(path: Path) -> tuple[str, int, int, int]:
    """What a file's content is remembered by: as long as this stays the same, it is not read
    again."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino


def _sum(path: Path) -> tuple[str, int]:
    current = state(path)
    return _digest(*current), current[1]


@lru_cache(maxsize=8192)
def _digest(path: str, size: int, changed: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=2048)
def _read(path: str, size: int, changed: int, inode: int) -> Sums:
    try:
        seal = json.loads(Path(path).read_bytes().decode("utf-8"))
        listed = seal["files"]
        if (
            seal["format"] != FORMAT
            or seal["sha256"] != _over(listed)
            or set(seal) != {"format", "files", "sha256"}
        ):
            raise ValueError(path)
        return {
            str(name): (str(entry["sha256"]), int(entry["bytes"])) for name, entry in listed.items()
        }
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(path) from error


def as_shipped(folder: Path) -> None:
    """UserError if a file of the embedded model or data, in a folder of its assets, is not the one
    that came with the project."""
    seal = folder.parent / SEAL
    way = "clone the project again"
    try:
        sums = read(seal)
    except FileNotFoundError:  # in the making
        return
    except (OSError, ValueError) as error:
        raise damaged(
            seal, "the embedded model", "it does not say what was written", way
        ) from error
    for name in sums:
        if (
            name.startswith(f"{folder.name}/")
            and (reason := fault(folder.parent / name, sums, name)) is not None
        ):
            raise damaged(Path(name), "the embedded model", reason, way)


def seal_embedded(folder: Path) -> None:
    """Write the SHA-256 of every file of an embedded model that `as_shipped` checks. OSError if the
    disk refuses."""
    shipped = [
        path
        for part in ("data", "encoder", "intent", "slots")
        for path in (folder / part).glob("*")
        if path.is_file()
    ]
    write(folder / SEAL, sorted(str(path.relative_to(folder)) for path in shipped))

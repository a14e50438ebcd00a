"""The base of every settings class, the one way in which wrong settings are reported, and where the project's own files are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "assets"  # what ships with the project


class Settings(BaseModel):
    """Frozen settings: unknown fields are refused, and the JSON round trip is the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what must be what, got what, what to do."""


def data_folder() -> Path:
    """Where runs, tasks and models of one's own are: `SDQ_DATA`, or `data/` beside the code."""
    return Path(os.environ.get("SDQ_DATA", ROOT / "data"))


def one_line(text: str, most: int = 1000) -> str:
    """A text as one printable line of at most that many characters: control characters, line ends and lone surrogates are written out."""
    shown = " ".join(text[: 4 * most].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def path_of(given: str | Path, what: str = "a path") -> Path:
    """The path that a user named, `~` expanded; it need not exist. UserError with one sentence for what can be no path on this machine."""
    text = str(given)
    shown = repr(one_line(text, 80))
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"{what} must begin with ~ only for a user of this machine, got {shown}; write the folder out") from error
    try:
        encoded = str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{what} must be readable text, got {shown}, whose bytes are none; rename the file or folder") from error
    if b"\0" in encoded:
        raise UserError(f"{what} must have no NUL in it, got {shown}; correct it")
    if len(encoded) > 4000 or any(len(part.encode()) > 255 for part in path.parts):
        raise UserError(f"{what} must have at most 4000 bytes and 255 in each part, got {len(encoded)}; it begins with {shown}")
    return path


def text_of(path: Path, what: str, most: int = 10_000_000) -> str:
    """The UTF-8 text of a regular file of at most `most` bytes that a user named. UserError for a folder, pipe or device, and what is no text."""
    shown = one_line(str(path), 300)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{what} must be a regular file, {shown} is none; correct the path")
        if path.stat().st_size > most:
            raise UserError(f"{what} must have at most {most // 1_000_000} MB, {shown} has {path.stat().st_size // 1_000_000}; correct the path")
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{what} must be a file that can be read, {shown} cannot be read as text ({error.strerror}); correct the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} must be UTF-8 text, {shown} cannot be read as text; save it as UTF-8") from error


def unwritable(folder: Path, error: OSError) -> UserError:
    """What to say when nothing can be written to the data folder."""
    return UserError(f"the data folder must be writable, {folder} is not ({error.strerror}); free space or set SDQ_DATA to another folder")


def unfitting(folder: Path, error: OSError) -> UserError:
    """What to say when results could not be written."""
    return UserError(f"the results must fit into {folder}, writing failed ({error.strerror}); earlier runs are intact")


def explain(error: ValidationError) -> str:
    """The first problem of a pydantic error as one sentence with the path of the field."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"]) or "recipe"
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown field; remove it or correct its name"
    got: Any = first.get("input")
    shown = f", got {got!r}" if isinstance(got, (str, int, float, bool)) or got is None else ""
    return f"{path}: {first['msg'][0].lower()}{first['msg'][1:]}{shown}"

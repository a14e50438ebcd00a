"""The base of every settings class, the paths and texts that users give, and where the project's
own files are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

ROOT = Path(__file__).parent.parent
PROGRESS = "... "  # begins a line of progress on stderr, which is no reason of a failure
ASSETS = ROOT / "assets"  # what ships with the project


class Settings(BaseModel):
    """Frozen settings: unknown fields are refused, and the JSON round trip is the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


@dataclass(frozen=True)
class Words:
    """Beside the pattern of a text field: what fits it, in words (`Annotated[str, Words(...)]`)."""

    words: str


class Document(Settings):
    """Settings that people write as a JSON file of its own: it may name its schema, as editors want
    it, under "$schema"."""

    @model_validator(mode="before")
    @classmethod
    def _without_schema(cls, value: Any) -> Any:
        return (
            {key: part for key, part in value.items() if key != "$schema"}
            if isinstance(value, dict)
            else value
        )

    @classmethod
    def schema_text(cls, title: str) -> str:
        """The JSON schema (draft 2020-12) of such files, for editors."""
        schema = cls.model_json_schema()
        schema["properties"] = {
            "$schema": {
                "type": "string",
                "description": "Where this schema is, for editors; it changes nothing",
            },
            **schema["properties"],
        }
        return json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title},
            indent=2,
            ensure_ascii=False,
        )


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what must be what, got what, what
    to do."""


def data_folder() -> Path:
    """Where runs, tasks and models of one's own are: `SDQ_DATA`, or `data/` beside the code."""
    return Path(os.environ.get("SDQ_DATA") or ROOT / "data")


def one_line(text: str, most: int = 1000) -> str:
    """A text as one printable line of at most that many characters: control characters, line ends
    and lone surrogates are written out."""
    shown = " ".join(text[: 4 * most].split())
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in shown
    )
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line end


def visible(text: str) -> str:
    """A text of several lines, as a terminal may be given it: control characters are written out,
    so that it shows and does not obey them."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def whole(text: str, what: str) -> str:
    """A text that somebody typed. UserError if it cannot be stored as text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise UserError(
            f"{what} must be whole characters, it holds half of one ({half}); type it again"
        ) from error
    return text


def listed(
    items: Iterable[object], most: int = 8, room: int = 160, each: int = 60, between: str = ", "
) -> str:
    """Items for a sentence, the rest counted: "a, b and 12 more".

    items: what is listed, as text
    most: items at most
    room: characters of all of them at most, but the first is always there
    each: characters of one item at most
    between: what stands between two
    """
    every = [one_line(str(item), each) for item in items]
    few = every[:1]
    for item in every[1:most]:
        if len(between.join([*few, item])) > room:
            break
        few.append(item)
    return between.join(few) + (
        f" and {len(every) - len(few)} more" if len(every) > len(few) else ""
    )


def path_of(given: str | Path, what: str = "a path") -> Path:
    """The path that a user named, `~` expanded; it need not exist. UserError with one sentence for
    what can be no path on this machine."""
    text = str(given)
    if not text.strip():
        raise UserError(f"{what} must be named, got {text[:80]!r}; name it, or leave it out")
    shown = repr(one_line(text, 80))
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(
            f"{what} must begin with ~ only for a user of this machine, got {shown}; write the "
            "folder out"
        ) from error
    try:
        encoded = str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what} must be readable text, got {shown}, whose bytes are none; rename the file or "
            "folder"
        ) from error
    if b"\0" in encoded:
        raise UserError(f"{what} must have no NUL in it, got {shown}; correct it")
    if len(encoded) > 4000 or any(len(part.encode()) > 255 for part in path.parts):
        raise UserError(
            f"{what} must have at most 4000 bytes and 255 in each part, got {len(encoded)}; it "
            f"begins with {shown}"
        )
    return path


def unwritable(folder: Path, error: OSError) -> UserError:
    """What to say when nothing can be written to the data folder."""
    return UserError(
        f"the data folder must be writable, {folder} is not ({error.strerror}); free space or set "
        "SDQ_DATA to another folder"
    )


def unfitting(folder: Path, error: OSError) -> UserError:
    """What to say when results could not be written."""
    return UserError(
        f"the results must fit into {folder}, writing failed ({error.strerror}); earlier runs are "
        "intact"
    )


def small(path: Path, what: str, most: int = 1_000_000) -> bytes:
    """The bytes of a file of settings.

    path: the file
    what: what it is called in an error
    most: bytes at most

    UserError for what is no regular file of that size, or cannot be read.
    """
    try:
        if not path.exists():
            raise UserError(f"{what} must exist, {str(path)[:200]!r} does not; check the path")
        if not path.is_file():
            raise UserError(
                f"{what} must be a regular file, {str(path)[:200]!r} is a folder, a pipe or a "
                "device; name the file"
            )
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
        said = getattr(error, "strerror", None) or "no such name can be"
        raise UserError(
            f"{what} {str(path)[:200]!r} must be readable, it is not ({said}); check the path"
        ) from error
    if len(data) > most:
        raise UserError(
            f"{what} must have at most {most // 1000} kB, {path} has more; it describes, and does "
            "not hold data"
        )
    return data

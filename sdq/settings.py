"""The base of every settings class, the one way in which wrong settings are reported, and where the project's own files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

ROOT = Path(__file__).parent.parent
PROGRESS = "... "  # begins a line of progress on stderr, which is no reason of a failure
ASSETS = ROOT / "assets"  # what ships with the project


class Settings(BaseModel):
    """Frozen settings: unknown fields are refused, and the JSON round trip is the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what must be what, got what, what to do."""


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

"""The log of a run or an inspection: one JSON object per line. A line that cannot be read costs
itself and nothing else.

What a crash or a full disk leaves (half a line, zeros, bytes that are no text) is skipped and
counted; see `lost`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdq.io import files

LONGEST = 1_000_000  # bytes of one event
Progress = Callable[[dict[str, Any]], None]  # is told the events of a computation


def _number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 1e15
        and math.isfinite(value)
    )


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _settings(value: Any) -> bool:
    return isinstance(value, dict) and _number(value.get("sentences")) and value["sentences"] > 0


# what whoever shows an event reads of it: name of the event -> fields and what they must be
FIELDS: dict[str, Mapping[str, Callable[[Any], bool]]] = {
    "stage": {"name": _text, "text": _text},
    "evaluate": {"done": _number, "of": _number},
    "step": {"step": _number, "of": _number},
    "check": {"step": _number, "of": _number, "dev": _number},
    "resumed": {"step": _number, "of": _number},
    "analysed": {
        "name": _text,
        "seconds": _number,
        "settings": _settings,
        "model": _text,
        "task": _text,
    },
    "failed": {"message": _text},
    "damaged": {"message": _text},
}


def tell(path: Path, event: Mapping[str, Any]) -> None:
    """Append an event, with the time. OSError if the disk refuses."""
    files.append(path, json.dumps({"time": time.time(), **event}))


def read(path: Path) -> list[dict[str, Any]]:
    """The events so far, each with its `event` and the fields of FIELDS; a half-written last line
    is left out. None of a log that cannot be read."""
    return _parsed(path)[0]


def standing(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last event that says how a run stands; empty if none does."""
    told = ("failed", "queued", "stage", "resumed")
    return next((event for event in reversed(events) if event.get("event") in told), {})


def lost(path: Path) -> int:
    """How many lines cannot be read; a half-written last line does not count, it may be in the
    making."""
    return _parsed(path)[1]


def _parsed(path: Path) -> tuple[list[dict[str, Any]], int]:
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return [], 0
    parsed = [_event(line) for line in lines]
    return [dict(event) for event in parsed if event is not None], parsed.count(None)


@lru_cache(maxsize=4096)
def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None for what is none. A page asks every two seconds, and most lines are
    the same then."""
    try:
        event = json.loads(line.decode("utf-8")) if len(line) <= LONGEST else None
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(event, dict)
        or not isinstance(event.get("event"), str)
        or not _number(event.get("time", 0))
    ):
        return None
    return (
        event
        if all(fits(event.get(name)) for name, fits in FIELDS.get(event["event"], {}).items())
        else None
    )

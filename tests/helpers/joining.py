"""What processes of a test run: it imports no torch, so that they begin at once."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from sdq.models import composition
from sdq.models.checkpoint import folder_of


def sums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def join(barrier: Any, said: Any) -> None:
    """Join mini for intent slowly, and tell what is there then, and how often it was joined."""
    join_once, joined = composition._join, []

    def slowly(*given: Any) -> None:
        joined.append(given)
        time.sleep(0.5)
        join_once(*given)

    composition._join = slowly
    barrier.wait()
    there = sums(folder_of("mini", "intent"))
    said.put((there, len(joined)))

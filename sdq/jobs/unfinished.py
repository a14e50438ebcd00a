"""Runs without a result: under way, waiting, failed or stopped."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdq.io import files
from sdq.jobs import queue as jobs
from sdq.jobs.wanted import Wanted, wanted
from sdq.store import Store
from sdq.store.folder import RUN_ID

# seconds without a sign of life after which a run that nobody asked for here counts as ended
QUIET = 600


@dataclass(frozen=True)
class Unfinished:
    """A run folder without a result. `elsewhere`: nobody asked for it here, but it was heard of
    lately (a run in a terminal); `stopped`: nobody does it."""

    run: str
    wanted: Wanted | None  # None: nothing tells
    status: Literal["queued", "running", "failed", "elsewhere", "stopped"]
    heard: float  # seconds ago
    failure: str | None

    @property
    def what(self) -> str:
        """What it is to do: "SDQ W3A8 on intent, seed 0"."""
        return "a run whose request cannot be read" if self.wanted is None else self.wanted.what

    @property
    def active(self) -> bool:
        """Whether it may still come to a result."""
        return self.status in ("queued", "running", "elsewhere")


def _heard(folder: Path) -> float:
    """Seconds since the newest change in a run folder, 0 or more."""
    times = [folder.lstat().st_mtime]
    for name in ("events.jsonl", "spec.json", files.LOCK):
        with contextlib.suppress(OSError):
            times.append((folder / name).lstat().st_mtime)
    return max(0.0, time.time() - max(times))


def standing_of(store: Store, run: str) -> Unfinished:
    folder, state = store.folder / run, jobs.state(run, store)
    heard = _heard(folder)
    last = (store.events(run) or [{}])[-1]
    told = last.get("event") == "failed"
    status: Literal["queued", "running", "failed", "elsewhere", "stopped"]
    if state.status == "queued" or state.status == "running":
        status = state.status
    elif told and not files.busy(folder):
        status = "failed"
    elif heard < QUIET or files.busy(folder):
        status = "elsewhere"
    else:
        status = "failed" if state.status == "failed" else "stopped"
    failure = state.failure or (str(last.get("message")) if told else None)
    return Unfinished(
        run, wanted(run, store), status, heard, failure if status == "failed" else None
    )


def unfinished(store: Store) -> list[Unfinished]:
    """The runs under way and those that ended without a result, last heard of first."""
    if not store.folder.is_dir():
        return []
    folders = [
        p
        for p in store.folder.iterdir()
        if RUN_ID.fullmatch(p.name)
        and p.is_dir()
        and not p.is_symlink()
        and not (p / "done").is_file()
    ]
    standing = []
    for path in folders:
        with contextlib.suppress(OSError, ValueError):
            # gone, or finished, while we looked; or a log that is not ours
            standing.append(standing_of(store, path.name))
    return sorted((u for u in standing if not store.done(u.run)), key=lambda u: (u.heard, u.run))

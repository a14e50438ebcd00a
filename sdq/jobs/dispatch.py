"""From the queue to dask: what is next is handed on, by turn over the visitors (sdq.jobs.turns),
and what ended is taken off. A part of sdq.jobs.cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdq.io.limits import limits
from sdq.jobs import turns
from sdq.jobs.processes import process_of
from sdq.jobs.queue import CANCELLED, locked_queue, queue
from sdq.jobs.worker import lanes, respond, work
from sdq.store import Store

RECOUNT = 5.0  # seconds between two counts of the workers of somebody else's scheduler
_ID = re.compile(r"[0-9a-f]{12}")
log = logging.getLogger("sdq.jobs.cluster")


@dataclass
class Running:
    """What was handed to dask: whose store it belongs to, in which lane, on whose turn. `wish`:
    what its file in the queue said."""

    store: Store
    lane: str
    who: str
    future: Any
    wish: str | None = None


@dataclass
class Dispatcher:
    """Hands to dask what is next, as long as a lane has a worker for it, and takes off the queue
    what ended."""

    store: Store
    client: Any
    here: bool  # whether the cluster is our own
    # run, or "ask-" and the key of a sentence
    running: dict[str, Running] = field(default_factory=dict)
    # lane -> visitor -> when his last turn ended, or began
    served: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    # run that waits -> (its store, its lane)
    _kept: dict[str, tuple[Store, str]] = field(default_factory=dict)
    _workers: dict[str, int] = field(default_factory=dict)
    _counted: float = -RECOUNT
    _written: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for lane, had in turns.told(self.store).get("served", {}).items():
            self.served[lane].update(had)
        self.threads = {lane: count for lane, (_, count) in lanes(os.cpu_count() or 1).items()}

    def look(self) -> bool:
        """Do what is to be done now. Returns whether there is anything wanted."""
        waiting = self._waiting()
        for lane, wishes in waiting.items():
            while wishes and self._free(lane) and (chosen := self._next(lane, wishes)) is not None:
                self._hand(lane, *chosen)
                del wishes[chosen[0].run]
        self._gather()
        self._tell(waiting)
        return bool(self.running or any(waiting.values()))

    def _waiting(self) -> dict[str, dict[str, turns.Wish]]:
        """Lane -> what is wanted there and not handed on, by id. A run that was cancelled before
        its turn is taken off the queue; what tells of nobody who asked for it is left out."""
        waiting: dict[str, dict[str, turns.Wish]] = {"quick": {}, "train": {}, "look": {}}
        folder, asked = queue(self.store), self.store.folder.parent / "asked"
        names = (
            {name for name in os.listdir(folder) if _ID.fullmatch(name)}
            if folder.is_dir()
            else set()
        )
        self._kept = {run: kept for run, kept in self._kept.items() if run in names}
        for run in names - self.running.keys():
            if run not in self._kept:
                home = next(
                    (
                        s
                        for s in (self.store, self.store.inspections())
                        if (s.folder / run / "job.json").is_file()
                    ),
                    self.store,
                )
                self._kept[run] = home, _lane(home, run)
            kept, lane = self._kept[run]
            if (kept.folder / run / "cancel").exists() and process_of(
                kept.folder / run / "worker.pid"
            ) is None:
                _tried(_leave, kept, run)
                continue
            # nobody: the file was taken off since it was listed, or cannot be read
            if who := turns.asked_by(kept.folder / run, folder / run):
                waiting[lane][run] = turns.Wish(run, who)
        for path in asked.glob("*.json"):
            key = f"ask-{path.stem}"
            if (
                not path.stem.endswith(".answer")
                and key not in self.running
                and (wish := turns.wish_of(path)) is not None
            ):
                waiting["look"][key] = turns.Wish(key, {wish["who"]: wish["time"]})
        return waiting

    def _free(self, lane: str) -> bool:
        """Whether a worker of this lane has nothing to do."""
        if self.here:
            most = lanes(os.cpu_count() or 1)[lane][0]
        else:
            if time.monotonic() - self._counted > RECOUNT:
                total: Counter[str] = Counter()
                for worker in self.client.scheduler_info()["workers"].values():
                    total.update(
                        {name: int(count) for name, count in worker.get("resources", {}).items()}
                    )
                self._workers, self._counted = dict(total), time.monotonic()
            most = self._workers.get(lane, 0)
        return sum(job.lane == lane for job in self.running.values()) < most

    def _next(self, lane: str, wishes: dict[str, turns.Wish]) -> tuple[turns.Wish, str] | None:
        """What has its turn in this lane, and on whose turn it is."""
        computing = [job.who for job in self.running.values() if job.lane != "look"]
        return turns.turn(
            wishes.values(), self.served[lane], computing, limits().running_per_visitor
        )

    def _hand(self, lane: str, wish: turns.Wish, who: str) -> None:
        """Hand on what has its turn in this lane."""
        self.served[lane][who] = time.time()
        said: str | None = None
        how: dict[str, Any] = {"key": wish.run, "resources": {lane: 1}, "pure": False}
        if lane == "look":
            kept = self.store
            future = self.client.submit(
                respond, wish.run.removeprefix("ask-"), str(kept.folder.resolve()), **how
            )
        else:
            kept = self._kept[wish.run][0]
            said = _text(queue(kept) / wish.run)
            future = self.client.submit(
                work, wish.run, str(kept.folder.resolve()), self.threads[lane], **how
            )
            log.warning("run %s: %s lane", wish.run, lane)
        self.running[wish.run] = Running(kept, lane, who, future, said)

    def _gather(self) -> None:
        """Take off the queue what ended or was cancelled."""
        for run, job in list(self.running.items()):
            if job.lane == "look":
                if not job.future.done():
                    continue
                if job.future.status == "error":
                    log.warning("question %s: %s", run, job.future.exception())
                    with contextlib.suppress(OSError):  # handed on again at the next look
                        (
                            self.store.folder.parent / "asked" / f"{run.removeprefix('ask-')}.json"
                        ).unlink(missing_ok=True)
            elif job.future.done():
                if not _tried(_settle, job, run):
                    continue
            elif (job.store.folder / run / "cancel").exists() and process_of(
                job.store.folder / run / "worker.pid"
            ) is None:
                job.future.cancel()
                if not _tried(_leave, job.store, run):
                    continue
            else:
                continue
            self.served[job.lane][job.who] = time.time()
            del self.running[run]

    def _tell(self, waiting: dict[str, dict[str, turns.Wish]]) -> None:
        """Let the pages know who waits behind whom, if that changed."""
        now = (
            tuple(sorted((lane, run) for lane, wishes in waiting.items() for run in wishes)),
            tuple(sorted(self.running)),
        )
        if now == self._written:
            return
        with contextlib.suppress(OSError):  # a full disk costs nobody his turn
            computing = [(job.lane, job.who) for job in self.running.values()]
            wishes = {lane: list(wanted.values()) for lane, wanted in waiting.items()}
            turns.tell(self.store, self.served, wishes, computing, limits().running_per_visitor)
            self._written = now


def _lane(store: Store, run: str) -> str:
    try:
        lane = str(json.loads((store.folder / run / "job.json").read_text())["lane"])
    except (OSError, ValueError, KeyError):
        return "quick"
    return lane if lane in ("quick", "train") else "quick"


def _tried(step: Callable[..., None], *given: Any) -> bool:
    """Whether a step got through; a disk that is full stops nobody else's run, and the next look
    tries again."""
    try:
        step(*given)
    except OSError as error:
        log.warning("%s: %s", step.__name__, error)
        return False
    return True


def _text(marker: Path) -> str | None:
    """What a file in the queue says; None if it is gone."""
    try:
        return marker.read_text("utf-8", "replace")
    except OSError:
        return None


def _settle(job: Running, run: str) -> None:
    """A task ended: take the run off the queue; what broke in the cluster itself is told as the
    run's failure."""
    store, future = job.store, job.future
    if future.status == "error":
        store.tell(
            run,
            {
                "event": "failed",
                "message": f"the cluster gave the run up ({future.exception()}); start it again",
            },
        )
    log.warning(
        "run %s: %s", run, future.result() if future.status == "finished" else future.status
    )
    _leave(store, run, job.wish)


def _leave(store: Store, run: str, wish: str | None = None) -> None:
    """Take a run off the queue that was cancelled, or whose `wish` is done. One that was asked for
    anew meanwhile stays."""
    home, marker = store.folder / run, queue(store) / run
    with locked_queue(store):
        cancelled = (home / "cancel").exists()
        if not cancelled and _text(marker) != wish:
            return
        if cancelled:  # told first: where it does not fit, all of this is tried again
            store.tell(run, {"event": "failed", "message": CANCELLED})
        marker.unlink(missing_ok=True)
        for who in (home / "interest").glob("*"):
            who.unlink(missing_ok=True)
        if cancelled:
            (home / "cancel").unlink(missing_ok=True)

"""Runs and inspections as jobs, seen from the web process and the command line: ask for one, say
how it stands, take the wish back. Needs neither torch nor dask.

All state is in files of the data folder, so that a reload, another browser, another server or a
restart see the same:

    queue/<run>        the run is wanted and not finished: by whom first, and since when (JSON; an
                       earlier version left it empty)
    runs/<run>/        request.json (the recipe), job.json (model, task), interest/<who> (whoever
                       still wants it, and since when), owners/<who> (whoever asked), cancel (a
                       marker), worker.pid (pid and start time of the computing process),
                       stdout.txt, stderr.txt, and what the store writes
    inspections/<id>/  the same of an inspection; its job.json names the run, its request.json the
                       settings. Its store is `store.inspections()`
    asked/<key>.json   a sentence to be answered by some runs' models; <key>.answer.json is the
                       answer
    turns.json         who had a turn when, and who waits behind whom (see sdq.jobs.turns)
    cluster.pid        the process of sdq.jobs.cluster, which works the queue off on
                       dask.distributed
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspectable, inspection_id, missing
from sdq.io.events import standing
from sdq.io.files import age, private, write_text
from sdq.io.limits import limits
from sdq.jobs import turns
from sdq.jobs.processes import process_of
from sdq.models.checkpoint import canonical_name
from sdq.recipe import Recipe
from sdq.service.visitors import Role, askers, claim
from sdq.settings import PROGRESS, ROOT, Settings, UserError, unwritable
from sdq.store import Store
from sdq.store.identity import identify

CLUSTER = (sys.executable, "-m", "sdq.jobs.cluster")
CANCELLED = "it was cancelled; start it again to have its result"
# seconds without a look after which a wish no longer keeps a run alive that somebody cancels
FORGOTTEN = 60.0
_WHO = re.compile(r"[A-Za-z0-9_-]{1,64}")
_clusters: list[tuple[Path, subprocess.Popen[bytes]]] = []  # (data folder, child to be reaped)
_starting = threading.Lock()


@dataclass(frozen=True)
class State:
    """How a run stands. `queued`: wanted, nothing done yet; `failure` is one sentence."""

    status: Literal["unknown", "queued", "running", "done", "failed"]
    events: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None

    @property
    def active(self) -> bool:
        """Whether it is worth asking again."""
        return self.status in ("queued", "running")


def folder_of(run: str, store: Store) -> Path:
    """The run's own folder. UserError for what is not a run id."""
    store.done(run)  # refuses what is not a run id
    return store.folder / run


def queue(store: Store) -> Path:
    """The folder of wanted runs."""
    return store.folder.parent / "queue"


def ensure(store: Store) -> None:
    """Start the cluster's process for this data folder if none is alive. Of several started at
    once, the first takes the lock and the others leave."""
    data = store.folder.parent
    with _starting:  # thirty requests at once start one process
        _clusters[:] = [(folder, child) for folder, child in _clusters if child.poll() is None]
        if (
            any(folder == data for folder, _ in _clusters)
            or process_of(data / "cluster.pid") is not None
        ):
            return
        env = {**os.environ, "SDQ_DATA": str(data.resolve())}
        with (data / "cluster.log").open("ab") as log:
            child = subprocess.Popen(
                [*CLUSTER],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=env,
                start_new_session=True,
            )
        _clusters.append((data, child))


def submit(recipe: Recipe, model: str, task: str, store: Store, who: str = "local") -> str:
    """Ask for a run, unless it is finished or asked for already. Returns the run id.

    recipe: what is done
    model: a name of `sdq models`, a folder, or "mini"
    task: its name or the path of its file
    store: where the run will be
    who: the visitor; keeps the run alive until it is cancelled by everyone who asked for it

    UserError for a model or task that does not exist, or a data folder that cannot be written.
    """
    model = canonical_name(model)
    run = identify(recipe, model, task)
    if not store.done(run, weights=True):
        _want(
            run,
            recipe,
            {"model": model, "task": task, "lane": "train" if recipe.training else "quick"},
            store,
            who,
        )
    elif (store.folder / run).is_dir() and _WHO.fullmatch(who):
        with contextlib.suppress(OSError):
            # another relies on it now, so that it is no longer for one alone to delete; and a
            # finished run can be opened where nothing can be written
            claim(store.folder / run, who)
    return run


def look_into(run: str, store: Store, how: Inspection | None = None, who: str = "local") -> str:
    """Ask for the analyses that are missing in the inspection of a finished run. Returns its id,
    for `state` and `cancel` with `store.inspections()`.

    UserError for a run that cannot be looked into, or a data folder that cannot be written.
    """
    how = how or Inspection()
    inspectable(store.report(run), store)
    home, kept = inspection_id(run, how), store.inspections()
    if missing(run, store, how):
        kept.unblock(home)
        # the marker of an earlier version, with fewer analyses
        (folder_of(home, kept) / "done").unlink(missing_ok=True)
        _want(home, how, {"inspects": run, "lane": "quick"}, kept, who)
    return home


def _want(run: str, request: Settings, job: dict[str, str], store: Store, who: str) -> None:
    """Put a run of this store on the queue, unless it is there already. UserError if this visitor,
    or everybody together, has too much there."""
    must_be_known(who)
    folder = folder_of(run, store)
    try:
        private(store.folder.parent)
        with locked_queue(store):
            wanted = (queue(store) / run).exists() and not (folder / "cancel").exists()
            # one that failed is about to leave the queue
            wanted = wanted and standing(store.events(run)).get("event") != "failed"
            if not wanted:
                _room(store, who)
                store.unblock(run)
            (folder / "interest").mkdir(parents=True, exist_ok=True)
            now = f"{time.time():.6f}"
            if not (folder / "interest" / who).exists():
                (folder / "interest" / who).write_text(now)
            claim(folder, who)
            if not wanted:
                write_text(folder / "request.json", request.model_dump_json(indent=1))
                write_text(folder / "job.json", json.dumps(job))
                (folder / "cancel").unlink(missing_ok=True)
                store.tell(run, {"event": "queued"})
                write_text(queue(store) / run, json.dumps({"who": who, "time": float(now)}))
        ensure(store)
    except OSError as error:
        raise unwritable(store.folder, error) from error


def must_be_known(who: str) -> None:
    if not _WHO.fullmatch(who):
        raise UserError(f"who asks must be up to 64 letters, digits, '-' or '_', got {who[:40]!r}")


@contextlib.contextmanager
def locked_queue(store: Store) -> Iterator[None]:
    """Nobody else puts anything on the queue, or takes anything off it, meanwhile. OSError if the
    disk refuses."""
    queue(store).mkdir(parents=True, exist_ok=True)
    with (store.folder.parent / "queue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _room(store: Store, who: str) -> None:
    """UserError if no further wish of this visitor may wait."""
    most, waiting, own = limits(), 0, 0
    for marker in queue(store).iterdir():
        if re.fullmatch(r"[0-9a-f]{12}", marker.name):
            waiting += 1
            homes = (
                kept.folder / marker.name / "interest" / who
                for kept in (store, Store(store.folder.parent / "runs"), store.inspections())
            )
            own += any(path.exists() for path in homes)
    if own >= most.queued_per_visitor:
        raise UserError(
            f"a visitor must have at most {most.queued_per_visitor} runs and inspections waiting, "
            f"you have {own}; wait until one is finished, or cancel some"
        )
    if waiting >= most.queued:
        raise UserError(
            f"at most {most.queued} runs and inspections must be waiting, there are {waiting}; "
            "wait until some are finished"
        )


def request(run: str, store: Store) -> tuple[Recipe, str, str] | None:
    """(recipe, model, task) of a run asked for here, or None."""
    folder = folder_of(run, store)
    try:
        job = json.loads((folder / "job.json").read_text())
        return (
            Recipe.model_validate_json((folder / "request.json").read_text()),
            job["model"],
            job["task"],
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def state(run: str, store: Store, who: str = "") -> State:
    """How the run stands now; `unknown` if nobody asked for it. Restarts the cluster's process if
    it is gone while the run is wanted.

    With `who` the look also counts as a sign that this one still wants it.
    """
    folder = folder_of(run, store)
    wish = folder / "interest" / who
    if _WHO.fullmatch(who):
        with contextlib.suppress(OSError):
            os.utime(wish)  # which makes no wish of one that was just taken back
    # asked before `done`: what finishes in between has left its marker
    wanted = (queue(store) / run).exists()
    if store.done(run):
        return State("done", store.events(run))
    events = store.events(run)
    if not wanted and (damage := store.damage(run)) is not None:
        return State("failed", events, damage)
    if (folder / "cancel").exists():
        return State("failed", events, CANCELLED)
    if (told := standing(events)).get("event") == "failed":
        return State("failed", events, str(told["message"]))
    if wanted:
        ensure(store)
        return State("queued" if told.get("event") == "queued" else "running", events)
    if not (folder / "job.json").exists():
        return State("unknown")
    return State("failed", events, failure(folder))


def failure(folder: Path) -> str:
    """Why a computing process ended without a result, in one sentence."""
    said = ""
    with contextlib.suppress(OSError):
        said = (folder / "stderr.txt").read_text("utf-8", "replace")
    lines = [
        line.strip() for line in said.splitlines() if line.strip() and not line.startswith(PROGRESS)
    ]
    if not lines:
        return (
            "the computing process ended without a word (the machine may have stopped it for lack "
            "of memory); start it again"
        )
    return lines[-1].removeprefix("error: ")


def cancel(run: str, store: Store, who: str = "local", role: Role = "owner") -> bool:
    """Take the wish back. The run is stopped only when nobody else wants it, or has looked at it
    for FORGOTTEN seconds; returns whether it is.

    A student who never asked for it stops nothing; a teacher stops it whoever wants it.
    """
    folder = folder_of(run, store)
    must_be_known(who)
    if role == "student" and who not in askers(folder):
        return False
    if not queue(store).is_dir():
        return False
    with locked_queue(store):
        (folder / "interest" / who).unlink(missing_ok=True)
        ages = [age(path) for path in (folder / "interest").glob("*")]
        looked_at = min(ages, default=FORGOTTEN) < FORGOTTEN
        if (looked_at and role != "teacher") or not (queue(store) / run).exists():
            return False
        (folder / "cancel").touch()
    return True


def position(run: str, store: Store) -> tuple[int, int] | None:
    """(how many have their turn before this run, of how many that wait in its lane); None if it
    does not wait, or it is not known yet."""
    return turns.position(run, store)


def stop(store: Store, patience: float = 5.0) -> None:
    """End the cluster's process and what it computes; wanted runs stay wanted and go on when the
    next one starts."""
    processes = [
        p
        for kept in (store, store.inspections())
        for path in kept.folder.glob("*/worker.pid")
        if (p := process_of(path))
    ]
    if cluster := process_of(store.folder.parent / "cluster.pid"):
        processes += [cluster, *cluster.children(recursive=True)]
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=patience)
    for _, child in _clusters:
        child.poll()

"""Runs as worker processes: start one, say how it stands, stop it. The process that calls this needs no torch.

A run folder holds, besides what the store writes, request.json (the recipe), worker.pid (one line: pid and start time of the
worker), worker.lock (held only while a worker is being started), stdout.txt and stderr.txt.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from sdq.identity import identify
from sdq.recipe import Recipe
from sdq.settings import UserError
from sdq.store import ROOT, Store

COMMAND = (sys.executable, "-m", "sdq", "run")
_children: dict[str, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class State:
    """How a run stands. `queued`: started, nothing heard of it yet; `failure` is one sentence."""

    status: Literal["unknown", "queued", "running", "done", "failed"]
    events: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None

    @property
    def active(self) -> bool:
        """Whether it is worth asking again."""
        return self.status in ("queued", "running")


def _folder(run: str, store: Store) -> Path:
    store.done(run)  # refuses what is not a run id
    return store.folder / run


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Only one process at a time looks for a worker and starts one; the lock ends with its holder."""
    with (folder / "worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _worker(folder: Path) -> psutil.Process | None:
    """The living worker of a folder. Its start time is compared as well: after a restart another process may have its pid."""
    try:
        pid, started = (folder / "worker.pid").read_text().split()
        process = psutil.Process(int(pid))
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(started)) < 1
    except (OSError, ValueError, psutil.Error):
        return None
    return process if alive else None


def _start(folder: Path, store: Store, model: str, task: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, str(folder / "request.json"), "--model", model, "--task", task, "--json"]
    env = {**os.environ, "SDQ_DATA": str(store.folder.parent.resolve())}
    with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as err:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, env=env, start_new_session=True)


def submit(recipe: Recipe, model: str, task: str, store: Store) -> str:
    """Start the run in a process of its own, unless it is finished or under way. Returns the run id.

    UserError for a model or task that does not exist, or a data folder that cannot be written.
    """
    run = identify(recipe, model, task)
    if store.done(run):
        return run
    folder = _folder(run, store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _starting(folder):
            if _worker(folder) is not None:
                return run
            (folder / "events.jsonl").unlink(missing_ok=True)
            (folder / "request.json").write_text(recipe.model_dump_json(indent=1))
            (folder / "job.json").write_text(json.dumps({"model": model, "task": task}))
            child = _start(folder, store, model, task)
            _children[run] = child
            part = folder / "worker.pid.part"
            part.write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}")
            part.replace(folder / "worker.pid")
    except OSError as error:
        raise UserError(f"the data folder must be writable, {store.folder} is not ({error.strerror}); free space or set SDQ_DATA to another folder") from error
    return run


def request(run: str, store: Store) -> tuple[Recipe, str, str] | None:
    """(recipe, model, task) of a run started here, or None."""
    folder = _folder(run, store)
    try:
        job = json.loads((folder / "job.json").read_text())
        return Recipe.model_validate_json((folder / "request.json").read_text()), job["model"], job["task"]
    except (OSError, ValueError, KeyError):
        return None


def _failure(folder: Path, events: list[dict[str, Any]]) -> str:
    told = [str(event["message"]) for event in events if event.get("event") == "failed"]
    if told:
        return told[-1]
    path = folder / "stderr.txt"
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()] if path.exists() else []
    if not lines:
        return "the worker ended without a word (the machine may have stopped it for lack of memory); start it again"
    return lines[-1].removeprefix("error: ")


def state(run: str, store: Store) -> State:
    """How the run stands now; `unknown` if nothing was ever started under this id."""
    folder = _folder(run, store)
    alive = _worker(folder) is not None  # asked before `done`: a worker that ends in between has left its marker
    if run in _children and _children[run].poll() is not None:
        del _children[run]
    if store.done(run):
        return State("done", store.events(run))
    events = store.events(run)
    if alive:
        return State("running" if events else "queued", events)
    if not (folder / "worker.pid").exists():
        return State("unknown")
    return State("failed", events, _failure(folder, events))


def cancel(run: str, store: Store) -> None:
    """Stop the worker, if there is one; the run then stands as failed, and can be started again."""
    worker = _worker(_folder(run, store))
    if worker is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGTERM)
    with contextlib.suppress(psutil.TimeoutExpired):
        worker.wait(5)
    if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        os.killpg(worker.pid, signal.SIGKILL)
    store.tell(run, {"event": "failed", "message": "the run was cancelled; start it again to have its result"})

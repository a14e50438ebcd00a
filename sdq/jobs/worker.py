"""One computation of the process of sdq.jobs.queue.cluster: a command in a child process, with
bounds on its time and memory."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from sdq.io.boundary import in_words
from sdq.io.files import write_text
from sdq.io.limits import Limits, limits
from sdq.jobs.processes import process_of, write_pid
from sdq.jobs.queue import failure
from sdq.settings import ROOT
from sdq.store import Store

LOOK = 0.2  # seconds between two looks at the files
TRIES = 3  # of a computation that is killed from outside


log = logging.getLogger("sdq.jobs.cluster")
# memory that a process may reserve, in parts of what it may fill: where the watch comes too late,
# the system refuses
BEYOND = 1.5


def work(run: str, folder: str, threads: int) -> str:
    """The task: compute one run (or inspection, where `folder` is of inspections) in a process of
    its own, or adopt the one that a dead worker left behind. Returns how it ended."""
    store = Store(Path(folder), Store.default().shipped)
    home = store.folder / run
    for _ in range(TRIES):
        if (home / "cancel").exists():
            return "cancelled"
        if store.done(run, weights=True):
            return "done"
        before = len(store.events(run))
        process = process_of(home / "worker.pid")
        if process is None:
            process = _start(run, store, threads)
        ended = _wait(process, home, limits())
        if ended == "cancelled":
            return "cancelled"
        if store.done(run, weights=True):
            return "done"
        if ended != "ended":
            store.tell(run, {"event": "failed", "message": ended})
            return "failed"
        if any(e.get("event") == "failed" for e in store.events(run)[before:]):
            return "failed"
        if (home / "stderr.txt").exists() and "error: " in (home / "stderr.txt").read_text(
            "utf-8", "replace"
        ):
            break  # it said why, before it could write its log; trying again would say the same
        log.warning("run %s was killed; it goes on from its checkpoint", run)
    store.tell(run, {"event": "failed", "message": failure(home)})
    return "failed"


def _start(run: str, store: Store, threads: int) -> Any:
    home = store.folder / run
    job = json.loads((home / "job.json").read_text())
    command = [sys.executable, "-m", "sdq", *_words(job, home / "request.json")]
    env = {**os.environ, "SDQ_DATA": str(store.folder.parent), "OMP_NUM_THREADS": str(threads)}
    with (home / "stdout.txt").open("wb") as out, (home / "stderr.txt").open("wb") as err:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=env,
            start_new_session=True,
        )
    write_pid(home / "worker.pid", child.pid)
    _give_way(child.pid)
    _bound(child.pid, limits().job_memory_mb)
    return child


def _give_way(pid: int) -> None:
    """Let a computation wait for the pages, which are short. Linux may weigh sessions before
    processes: then its session is told too."""
    nice = limits().nice
    with contextlib.suppress(OSError, psutil.Error):
        psutil.Process(pid).nice(nice if os.name == "posix" else psutil.BELOW_NORMAL_PRIORITY_CLASS)  # type: ignore[attr-defined,unused-ignore]
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _words(job: dict[str, str], request: Path) -> list[str]:
    """What a job is on the command line."""
    if "inspects" in job:
        return ["inspect", job["inspects"], "--settings", str(request)]
    return ["run", str(request), "--model", job["model"], "--task", job["task"], "--json"]


def _bound(pid: int, memory_mb: int) -> None:
    """Have the system refuse a computation what is far beyond its memory, where it can (Linux)."""
    if memory_mb and hasattr(psutil, "RLIMIT_DATA"):
        most = int(BEYOND * memory_mb * 10**6)
        with contextlib.suppress(OSError, psutil.Error):  # it has ended already
            psutil.Process(pid).rlimit(psutil.RLIMIT_DATA, (most, most))


def _wait(process: Any, home: Path, most: Limits) -> str:
    """Until the process ended ("ended"), a cancel marker lies in the run's folder ("cancelled"), or
    it takes more than it may: one sentence.

    `process`: our child (Popen) or an adopted one (psutil).
    """
    while (
        process.poll() is None
        if isinstance(process, subprocess.Popen)
        else process_of(home / "worker.pid") is not None
    ):
        said = "cancelled" if (home / "cancel").exists() else over(process.pid, most)
        if said:
            process.terminate()
            try:
                process.wait(1)
            except Exception:  # subprocess.TimeoutExpired or psutil.TimeoutExpired
                process.kill()
            return said
        time.sleep(LOOK)
    return _memory(most) if most.job_memory_mb and _refused(home) else "ended"


def over(pid: int, most: Limits) -> str:
    """One sentence if a process takes longer or holds more than a job may; empty otherwise, also if
    it is gone."""
    try:
        process = psutil.Process(pid)
        seconds = time.time() - process.create_time()
        held = (
            sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
            if most.job_memory_mb
            else 0
        )
    except psutil.Error:
        return ""
    if seconds > 3600 * most.job_hours:
        allowed = (
            f"{most.job_hours:g} hours"
            if most.job_hours >= 0.1
            else f"{3600 * most.job_hours:g} seconds"
        )
        return (
            f"a run or inspection must be computed within {allowed}, this one was not; take fewer "
            "steps or sentences, or raise SDQ_JOB_HOURS"
        )
    return _memory(most) if held > most.job_memory_mb * 10**6 else ""


def _memory(most: Limits) -> str:
    return (
        f"a run or inspection must be computed in {most.job_memory_mb:,} MB of memory, this one "
        "needs more; take a smaller model or batch size, or raise SDQ_JOB_MEMORY_MB"
    )


def _refused(home: Path) -> bool:
    """Whether a process that ended had been refused memory."""
    path = home / "stderr.txt"
    said = path.read_text("utf-8", "replace") if path.exists() else ""
    return any(
        word in said
        for word in ("MemoryError", "can't allocate memory", "bad_alloc", "Cannot allocate memory")
    )


def lanes(cores: int) -> dict[str, tuple[int, int]]:
    """Lane -> (workers, threads of each computation): half of the cores each; in the quick lane up
    to four runs at a time."""
    half = max(1, cores // 2)
    quick = min(4, half)
    return {"quick": (quick, max(1, half // quick)), "train": (1, half), "look": (1, 1)}


def respond(key: str, folder: str) -> str:
    """The task of the "look" lane: answer one typed sentence, in this process, which keeps the
    models."""
    from sdq.jobs.prediction import answer

    store = Store(Path(folder), Store.default().shipped)
    asked = store.folder.parent / "asked"
    wish = json.loads((asked / f"{key}.json").read_text())
    try:
        rows = answer(wish["text"], wish["runs"], store)
    except Exception as error:
        # whoever asked is waiting: an answer of any kind is better than none
        rows = [{"run": run, "missing": str(in_words(error))} for run in wish["runs"]]
    write_text(asked / f"{key}.answer.json", json.dumps(rows, ensure_ascii=False))
    (asked / f"{key}.json").unlink(missing_ok=True)
    return key

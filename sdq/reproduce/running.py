"""A study by one command: every run that is not stored yet, each in a process of its own, then the
documents."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sdq.reproduce.documents import publish
from sdq.reproduce.plan import Job, Study
from sdq.settings import ROOT, UserError
from sdq.store import Store


def reproduce(
    study: Study,
    store: Store,
    seeds: Iterable[int],
    say: Callable[[str], None],
    *,
    schemes: Sequence[str] = (),
    tasks: Sequence[str] = (),
    workers: int = 2,
    minutes: float | None = None,
    shipping: bool = False,
) -> str:
    """Run what is not stored yet, and return the Markdown that was written.

    seeds: of the runs, and of the tables
    say: told a line for every finished run
    schemes, tasks: names of those to run; empty: all. The tables are of all that is stored
    workers: runs at a time
    minutes: after which no run is started; None: all are
    shipping: whether what is stored is copied into assets/

    UserError if the model is not there (before anything is computed), or at the end if a run
    failed: the tables have the others.
    """
    seeds = list(seeds)
    wanted = study.jobs(seeds, schemes, tasks)
    study.run_of(wanted[0])
    stored = study.stored(wanted, store)
    missing = [job for job in wanted if job not in stored]
    say(f"{len(wanted)} runs, {len(missing)} to do")
    threads = max(1, (os.cpu_count() or 1) // workers)

    def one(job: Job) -> str:
        in_process(study.model, job, threads)
        report = store.report(study.run_of(job))
        zero, labelled = (
            100 * score
            for score in (
                report.quantized.zero_shot_mean,
                report.quantized.by_language[report.labelled],
            )
        )
        return f"{zero:.1f} % zero-shot, {labelled:.1f} % {report.labelled}"

    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    failures, left = carry_out(missing, one, workers, until, say)
    if left:
        say(f"{left} runs were not started in {minutes:g} minutes; the same command goes on there")
    text = publish(study, store, seeds, shipping)
    if failures:
        raise UserError(
            f"every run must finish, {len(failures)} did not, the first: {failures[0]}; the tables "
            "have the others, and the command goes on where it was"
        )
    return text


def carry_out(
    jobs: Sequence[Job],
    one: Callable[[Job], str],
    workers: int,
    until: float,
    say: Callable[[str], None],
) -> tuple[list[str], int]:
    """Do jobs in their order, those of FP32 first, as others read their scores; one that fails
    says so, and the others go on.

    jobs: in their order
    one: does a job and says what came out; UserError if it fails
    workers: jobs at a time
    until: on the clock of time.monotonic, s; later no job is started
    say: told a line per job

    Returns a sentence per failure, and how many jobs were not started.
    """
    failures: list[str] = []
    numbers, speaking = itertools.count(1), threading.Lock()

    def work(job: Job) -> bool:
        started = time.monotonic()
        if started >= until:
            return False
        try:
            said = one(job)
        except UserError as error:
            said = f"failed: {error}"
            failures.append(f"{job.text}: {error}")
        with speaking:
            seconds = time.monotonic() - started
            say(f"{next(numbers)} of {len(jobs)}: {job.text}: {said}, {seconds:.0f} s")
        return True

    first = [job for job in jobs if job.preset == "fp32"]
    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(work, first))
        done += pool.map(work, [job for job in jobs if job not in first])
    return failures, done.count(False)


def in_process(model: str, job: Job, threads: int) -> None:
    """Compute and store a run in a process of its own. UserError with its last words if it fails.

    model: its name
    threads: that torch may use
    """
    command = [
        sys.executable,
        "-m",
        "sdq",
        "run",
        job.preset,
        "--model",
        model,
        "--task",
        job.task,
        "--json",
        "--seed",
        str(job.seed),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise UserError(
            f"{' '.join(command[2:])} failed: "
            f"{done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
        )

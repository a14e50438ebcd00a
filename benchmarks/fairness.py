"""How long 29 visitors wait for a first result, with and without one who queues 200 runs: `python
-m benchmarks.fairness`. Prints JSON lines.

The queue, the turns and dask are the real ones; a run is a stand-in that takes half a second, so
that all of it takes about two minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ |= {
    "SDQ_CLUSTER_IDLE": "10",
    "SDQ_QUEUED_PER_VISITOR": "200",
    "SDQ_SHIPPED": "no",
}

from sdq.jobs import cluster, worker
from sdq.jobs import queue as jobs
from sdq.jobs.processes import write_pid
from sdq.recipe import PRESETS
from sdq.store import Store

OTHERS, MANY, SECONDS, LIMIT = 29, 200, 0.5, 2.5
# seconds; the first request may take some, while modules are read in
IDLE = float(os.environ["SDQ_CLUSTER_IDLE"])
STAND_IN = (
    f"import pathlib, sys, time; time.sleep({SECONDS}); pathlib.Path(sys.argv[1], 'done').touch()"
)


def start(run: str, store: Store, threads: int) -> Any:
    """In the place of a computation."""
    home = store.folder / run
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", STAND_IN, str(home)], stdin=subprocess.DEVNULL
    )
    write_pid(home / "worker.pid", child.pid)
    return child


def marked(store: Store, run: str, weights: bool = False) -> bool:
    """Whether a stand-in has ended; it leaves a marker, and no files that a run would have."""
    return (store.folder / run / "done").is_file()


def lanes_of_threads(scratch: Path) -> Any:
    """A cluster like the real one, whose workers live in this process: what stands in for a run
    reaches them."""
    from distributed import Scheduler, SpecCluster, Worker

    workers = {}
    for lane, (count, _) in worker.lanes(os.cpu_count() or 1).items():
        for i in range(count):
            workers[f"{lane}-{i}"] = {
                "cls": Worker,
                "options": {
                    "nthreads": 1,
                    "resources": {lane: 1},
                    "memory_limit": 0,
                    "local_directory": str(scratch),
                },
            }
    scheduler = {"cls": Scheduler, "options": {"protocol": "inproc://", "dashboard": False}}
    return SpecCluster(
        workers={
            k: {**v, "options": {**v["options"], "protocol": "inproc://"}}
            for k, v in workers.items()
        },
        scheduler=scheduler,
    )


def waited(store: Store, greedy: int) -> dict[str, float]:
    """Visitor -> seconds until his run is finished. All of `greedy` runs are asked for before
    anybody else comes."""
    threading.Thread(target=cluster.dispatch, args=(store,), daemon=True).start()

    def submit(seed: int, who: str) -> str:
        return jobs.submit(
            PRESETS["ptq-w4a8"].model_copy(update={"seed": seed}), "mini", "intent", store, who
        )

    for i in range(greedy):
        submit(1000 + i, "greedy")
    asked = {f"student-{i}": (submit(i, f"student-{i}"), time.monotonic()) for i in range(OTHERS)}
    found: dict[str, float] = {}
    end = time.monotonic() + 120
    while len(found) < OTHERS and time.monotonic() < end:
        for who, (run, since) in asked.items():
            if who not in found and store.done(run):
                found[who] = time.monotonic() - since
        time.sleep(0.02)
    for path in jobs.queue(store).iterdir():  # the rest of his runs need not be computed
        path.unlink(missing_ok=True)
    return found


def main() -> None:
    """One line for each case, one for the ratio."""
    worker._start, cluster._cluster = start, lanes_of_threads  # type: ignore[assignment]
    jobs.ensure = lambda store: None
    Store.done = marked  # type: ignore[method-assign]
    found = {}
    for many in (0, MANY):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found[many] = waited(Store(Path(folder) / "data" / "runs", None), many)
            times = sorted(found[many].values())
            print(
                json.dumps(
                    {
                        "beside him, runs": many,
                        "visitors": len(times),
                        "median s": round(statistics.median(times), 2),
                        "last s": round(times[-1], 2),
                    }
                )
            )
            time.sleep(IDLE + 2)  # the dispatcher leaves
    ratios = [found[MANY][who] / alone for who, alone in found[0].items()]
    line = {
        "what": "first result with him / without him, worst visitor",
        "ratio": round(max(ratios), 2),
        "median": round(statistics.median(ratios), 2),
    }
    print(
        json.dumps(line | {"limit": LIMIT, "holds": len(ratios) == OTHERS and max(ratios) <= LIMIT})
    )


if __name__ == "__main__":
    main()

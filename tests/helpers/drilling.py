"""Waiting for runs, and killing their processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdq.jobs import queue as jobs
from sdq.store import Store

NICE = 2  # of the shared cluster; the default of the tests is 0, that of the app 10


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def finished(run: str, store: Store) -> jobs.State:
    return until(lambda: (s := jobs.state(run, store)) and not s.active and s)


def killed(store: Store, path: Path) -> None:
    process = until(lambda: jobs.process_of(path))
    process.kill()
    process.wait(10)

"""An inspection is one computation; it is cancelled at once, and goes on after a kill."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspection_id, read
from sdq.jobs import queue as jobs
from sdq.store import Store
from tests.drills.deaths import World
from tests.helpers.drilling import finished, killed, until


def stored(store: Store, world: World) -> str:
    """The finished run that the tiny world starts with, in this store."""
    (run,) = Store(world.start / "runs", None).finished()
    shutil.copytree(world.start / "runs" / run.run, store.folder / run.run)
    return run.run


@pytest.mark.parametrize("scheduler", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_inspection_is_one_computation_and_after_a_kill_goes_on_with_what_is_missing(
    request: pytest.FixtureRequest, world: World, scheduler: bool
) -> None:
    store: Store = request.getfixturevalue("store" if scheduler else "shared")
    run = stored(store, world)
    kept, home = store.inspections(), inspection_id(run, Inspection())
    kept.begin(home, {})
    for name in {table for analysis in ANALYSES.values() for table in analysis.tables} - {
        "estimate",
        "floor",
    }:
        kept.keep(home, name, pd.DataFrame({"made": ["up"]}))  # as if computed before

    def told(event: str) -> list[str]:
        return [e["name"] for e in kept.events(home) if e["event"] == event]

    with ThreadPoolExecutor(30) as pool:
        assert set(
            pool.map(lambda i: jobs.look_into(run, store, who=f"student-{i}"), range(30))
        ) == {home}
    until(lambda: "estimate" in told("analysed"))
    if scheduler:
        killed(store, store.folder.parent / "cluster.pid")
    killed(store, kept.folder / home / "worker.pid")
    assert finished(home, kept).status == "done"  # looking at it is what restarts the scheduler
    assert told("analysed") == ["estimate", "floor"]
    assert told("stage").count("estimate") == 1
    assert not (
        read(run, store).keys()
        ^ {table for analysis in ANALYSES.values() for table in analysis.tables}
    )


@pytest.mark.slow
def test_an_inspection_is_cancelled_within_two_seconds(store: Store, world: World) -> None:
    run = stored(store, world)
    kept, home = store.inspections(), jobs.look_into(run, store, Inspection(sentences=3000))
    until(lambda: [e for e in kept.events(home) if e["event"] == "stage"])
    computing = jobs.process_of(kept.folder / home / "worker.pid")
    started = time.monotonic()
    assert jobs.cancel(home, kept)
    until(lambda: computing is not None and not computing.is_running(), 60)
    assert time.monotonic() - started < 2
    until(lambda: not (jobs.queue(store) / home).exists(), 10)
    assert "cancelled" in (jobs.state(home, kept).failure or "")

"""Drills: whatever happens to browser, server, worker or scheduler, a run ends as if nothing had
happened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sdq.jobs import questions
from sdq.jobs import queue as jobs
from sdq.jobs.processes import process_of
from sdq.recipe import PRESETS, Recipe
from sdq.settings import ROOT
from sdq.store import Store
from sdq.train.losses import KLD
from sdq.train.settings import Training
from tests.drills.deaths import World
from tests.helpers.drilling import NICE, finished, killed, until

TRAINED = Recipe(
    name="drill",
    rules=PRESETS["ptq-w4a8"].rules,
    training=Training(steps=40, check_every=10, batch_size=8, distillation=(KLD(),)),
)
HURRIED = TRAINED.model_copy(update={"training": Training(steps=20, check_every=10, batch_size=8)})
ENDLESS = Training(
    steps=100_000, check_every=10, batch_size=8, distillation=(KLD(),), patience=100_000
)


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of TRAINED, computed here in one go with as many threads as the train lane has."""
    import torch

    from sdq.jobs.worker import lanes
    from sdq.pipeline.run import run

    before = torch.get_num_threads()
    torch.set_num_threads(lanes(os.cpu_count() or 1)["train"][1])
    report = run(
        TRAINED,
        world.model,
        world.task,
        Store(tmp_path_factory.mktemp("undisturbed") / "runs", shipped=None),
    )
    torch.set_num_threads(before)
    return json.loads(report.model_dump_json())


def checks(run: str, store: Store) -> list[int]:
    return [e["step"] for e in store.events(run) if e.get("event") == "check"]


def assert_undisturbed(run: str, store: Store, undisturbed: Any) -> None:
    state = finished(run, store)
    assert state.status == "done", state.failure
    report = store.report(run)
    assert report.quantized.by_language == undisturbed["quantized"]["by_language"]
    assert report.history == undisturbed["history"]
    assert not store.checkpoint(run).exists()


def test_thirty_identical_requests_are_one_computation(shared: Store, world: World) -> None:
    recipe = PRESETS["ptq-int8-dynamic"].model_copy(update={"seed": 30})
    before = {p.name for p in shared.folder.iterdir()} if shared.folder.is_dir() else set()
    with ThreadPoolExecutor(30) as pool:
        runs = set(
            pool.map(
                lambda i: jobs.submit(recipe, world.model, world.task, shared, f"student-{i}"),
                range(30),
            )
        )
    assert len(runs) == 1
    (run,) = runs
    assert finished(run, shared).status == "done"
    assert [e["name"] for e in shared.events(run) if e.get("event") == "stage"].count("load") == 1
    assert {p.name for p in shared.folder.iterdir()} - before == {run}
    assert (
        jobs.submit(recipe, world.model, world.task, shared) == run
    )  # and a later one opens the result
    assert [e["name"] for e in shared.events(run) if e.get("event") == "stage"].count("load") == 1


@pytest.mark.slow
def test_the_web_server_dies(store: Store, world: World, undisturbed: Any) -> None:
    code = (
        "import sys, time\nfrom sdq.jobs import queue as jobs\n"
        "from sdq.recipe import Recipe\nfrom sdq.store import Store\n"
        "print(jobs.submit(Recipe.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3], "
        "Store.default()), flush=True)\ntime.sleep(60)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, TRAINED.model_dump_json(), world.model, world.task],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    run = server.stdout.readline().strip()  # type: ignore[union-attr]
    until(lambda: checks(run, store))
    server.kill()
    server.wait()
    assert_undisturbed(run, store, undisturbed)
    assert not [e for e in store.events(run) if e.get("event") == "resumed"]  # it never noticed


@pytest.mark.slow
def test_the_computing_process_dies(store: Store, world: World, undisturbed: Any) -> None:
    run = jobs.submit(TRAINED, world.model, world.task, store)
    until(lambda: len(checks(run, store)) >= 3)
    killed(store, store.folder / run / "worker.pid")
    assert_undisturbed(run, store, undisturbed)
    resumed = [e["step"] for e in store.events(run) if e.get("event") == "resumed"]
    assert len(resumed) == 1
    assert resumed[0] >= 20


@pytest.mark.slow
def test_the_dask_worker_dies(store: Store, world: World, undisturbed: Any) -> None:
    run = jobs.submit(TRAINED, world.model, world.task, store)
    until(lambda: checks(run, store))
    cluster = process_of(store.folder.parent / "cluster.pid")
    assert cluster is not None
    computing = process_of(store.folder / run / "worker.pid")
    assert computing is not None
    for child in cluster.children(recursive=True):
        if child != computing and "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    assert_undisturbed(run, store, undisturbed)
    assert [e["name"] for e in store.events(run) if e.get("event") == "stage"].count(
        "load"
    ) == 1  # adopted, not computed twice


def test_the_scheduler_dies_and_the_next_view_restarts_it(
    store: Store, world: World, undisturbed: Any
) -> None:
    run = jobs.submit(TRAINED, world.model, world.task, store)
    until(lambda: len(checks(run, store)) >= 2)  # the checkpoint of the first is written
    killed(store, store.folder.parent / "cluster.pid")
    killed(store, store.folder / run / "worker.pid")
    before = len(checks(run, store))
    time.sleep(1)
    assert len(checks(run, store)) == before  # nobody works
    assert_undisturbed(run, store, undisturbed)  # looking at it is what restarts it
    assert [e for e in store.events(run) if e.get("event") == "resumed"]


def test_a_computation_gives_way_to_the_pages_and_its_cancel_takes_effect_soon(
    shared: Store, world: World
) -> None:
    endless = TRAINED.model_copy(update={"training": ENDLESS})
    run = jobs.submit(endless, world.model, world.task, shared)
    computing = until(lambda: process_of(shared.folder / run / "worker.pid"))
    until(lambda: computing.nice() == NICE, 5)
    until(lambda: checks(run, shared))
    started = time.monotonic()
    assert jobs.cancel(run, shared)
    until(lambda: not computing.is_running(), 60)
    print(
        f"cancelled after {time.monotonic() - started:.2f} s"
    )  # under two seconds unless other tests take the cores
    assert "cancelled" in (jobs.state(run, shared).failure or "")
    until(lambda: not (jobs.queue(shared) / run).exists(), 60)
    again = jobs.submit(
        endless.model_copy(update={"seed": 1}), world.model, world.task, shared
    )  # the lane is free again
    until(lambda: checks(again, shared))
    jobs.cancel(again, shared)


@pytest.mark.slow
def test_cancel_before_it_began(store: Store, world: World) -> None:
    first = jobs.submit(TRAINED, world.model, world.task, store)
    second = jobs.submit(HURRIED, world.model, world.task, store)
    jobs.cancel(second, store)
    until(lambda: not (jobs.queue(store) / second).exists(), 120)
    assert not [e for e in store.events(second) if e.get("event") == "stage"]
    jobs.cancel(first, store)


@pytest.mark.slow
def test_full_disk_is_one_sentence_and_loses_nothing(store: Store, world: World) -> None:
    done = jobs.submit(PRESETS["ptq-int8-dynamic"], world.model, world.task, store)
    assert finished(done, store).status == "done"
    report = store.report(done)
    code = (
        "import resource, runpy, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (3_000, "
        "3_000))\nsys.argv = ['sdq', *sys.argv[1:]]\nrunpy.run_module('sdq', run_name='__main__')"
    )
    for recipe in ("ptq-w4a8", "qat-w4a8"):
        out = subprocess.run(
            [
                sys.executable,
                "-c",
                code,
                "run",
                recipe,
                "--model",
                world.model,
                "--task",
                world.task,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert out.returncode == 2, out.stderr
        assert "must fit into" in out.stderr.strip().splitlines()[-1]
        assert "earlier runs are intact" in out.stderr
        assert "Traceback" not in out.stderr
    assert store.report(done) == report
    assert [r.run for r in store.finished()] == [done]


def test_a_typed_sentence_is_answered_by_finished_runs(shared: Store, world: World) -> None:
    from sdq.pipeline.run import run

    runs = [
        run(recipe, world.model, world.task, shared).run
        for recipe in (PRESETS["fp32"], PRESETS["ptq-int8-dynamic"], HURRIED)
    ]
    key = questions.ask("  bitte  weck mich um sieben ", runs, shared)
    rows = until(lambda: questions.answered(key, shared))
    assert [row["run"] for row in rows] == runs
    assert all(0 < row["shares"][0] <= 1 for row in rows)
    assert questions.ask("bitte weck mich um sieben", runs, shared) == key
    (shared.folder / runs[2] / "model.safetensors").unlink()
    rows = until(lambda: questions.answered(questions.ask("wie spät ist es", runs, shared), shared))
    assert "missing" in rows[2] or rows[2]["answers"]  # kept in memory, or said to be gone


@pytest.mark.slow
def test_a_broken_model_is_one_sentence_in_the_state(
    store: Store, world: World, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(world.model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(
        json.dumps(config | {"id2label": None, "label2id": None, "num_labels": 3})
    )
    run = jobs.submit(PRESETS["ptq-int8-dynamic"], str(broken), world.task, store)
    state = finished(run, store)
    assert state.status == "failed"
    assert "one output per label" in (state.failure or "")

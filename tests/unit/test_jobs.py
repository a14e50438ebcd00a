"""Jobs: one worker per run, stale pids, failures in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sdq import jobs
from sdq.recipe import PRESETS, Recipe
from sdq.settings import UserError
from sdq.store import Store

RUN = "0123456789ab"
SLEEP = "import sys, pathlib, time\npathlib.Path(sys.argv[1]).parent.joinpath('started').open('a').write('x')\ntime.sleep(60)\n"
FAIL = "import sys\nprint('Traceback (most recent call last):', file=sys.stderr)\nprint('error: weights must be finite numbers, layer 3 holds NaN', file=sys.stderr)\nsys.exit(1)\n"
TELL = "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.environ['SDQ_DATA']]))\n"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: RUN)
    return Store(tmp_path / "data" / "runs")


def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    script = tmp_path / "worker.py"
    script.write_text(text)
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, str(script)))


def submit(store: Store, recipe: Recipe = PRESETS["ptq-w4a8"]) -> str:
    return jobs.submit(recipe, "mini", "intent", store)


def wait_for(condition, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_many_submits_make_one_worker(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, SLEEP)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: submit(store), range(8))) == {RUN}
    started = store.folder / RUN / "started"
    wait_for(started.exists)
    time.sleep(0.3)
    try:
        assert started.read_text() == "x"
        assert jobs.state(RUN, store).status == "queued"
        store.tell(RUN, {"event": "stage", "name": "train", "text": "Training"})
        assert jobs.state(RUN, store).status == "running"
    finally:
        jobs.cancel(RUN, store)
    state = jobs.state(RUN, store)
    assert state.status == "failed"
    assert "cancelled" in (state.failure or "")
    assert started.read_text() == "x"


def test_the_worker_gets_the_recipe_the_names_and_the_data_folder(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, TELL)
    recipe = PRESETS["sdq-kld-w4a8"].model_copy(update={"seed": 5})
    submit(store, recipe)
    wait_for(lambda: jobs.state(RUN, store).status == "failed")
    arguments, data = json.loads((store.folder / RUN / "stdout.txt").read_text())
    assert arguments[1:] == ["--model", "mini", "--task", "intent", "--json"]
    assert Recipe.model_validate_json(Path(arguments[0]).read_text()) == recipe
    assert Path(data) == tmp_path / "data"
    assert jobs.request(RUN, store) == (recipe, "mini", "intent")


@pytest.mark.parametrize("pid", ["999999 1.0", f"{os.getpid()} 1.0", "", "not a pid"], ids=["dead", "another process has the pid", "empty", "garbage"])
def test_a_stale_pid_is_replaced(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: str) -> None:
    worker(tmp_path, monkeypatch, SLEEP)
    folder = store.folder / RUN
    folder.mkdir(parents=True)
    (folder / "worker.pid").write_text(pid)
    assert jobs.state(RUN, store).status == "failed"
    submit(store)
    try:
        assert jobs.state(RUN, store).active
        assert int((folder / "worker.pid").read_text().split()[0]) != os.getpid()
    finally:
        jobs.cancel(RUN, store)


def test_a_dead_child_that_nobody_waited_for_is_not_a_worker(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    born = psutil.Process(child.pid).create_time()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    (tmp_path / "worker.pid").write_text(f"{child.pid} {born}")
    assert jobs._worker(tmp_path) is None
    child.wait()


def test_a_failure_is_the_sentence_the_worker_wrote(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, FAIL)
    submit(store)
    wait_for(lambda: jobs.state(RUN, store).status == "failed")
    assert jobs.state(RUN, store).failure == "weights must be finite numbers, layer 3 holds NaN"
    store.tell(RUN, {"event": "failed", "message": "the loss must stay finite, it did not"})
    assert jobs.state(RUN, store).failure == "the loss must stay finite, it did not"


def test_a_failed_run_can_be_started_again_and_forgets_its_failure(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, FAIL)
    submit(store)
    wait_for(lambda: jobs.state(RUN, store).status == "failed")
    store.tell(RUN, {"event": "failed", "message": "old"})
    worker(tmp_path, monkeypatch, SLEEP)
    submit(store)
    try:
        assert jobs.state(RUN, store) == jobs.State("queued", [])
    finally:
        jobs.cancel(RUN, store)


def test_a_silent_death_is_told_as_such(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(tmp_path, monkeypatch, "import os\nos.kill(os.getpid(), 9)\n")
    submit(store)
    wait_for(lambda: jobs.state(RUN, store).status == "failed")
    assert "memory" in (jobs.state(RUN, store).failure or "")


def test_a_finished_run_starts_no_worker(store: Store) -> None:
    folder = store.folder / RUN
    folder.mkdir(parents=True)
    (folder / "done").write_text("")
    assert submit(store) == RUN
    assert not (folder / "worker.pid").exists()
    assert jobs.state(RUN, store).status == "done"


def test_unknown_and_impossible_ids(store: Store) -> None:
    assert jobs.state("ffffffffffff", store).status == "unknown"
    jobs.cancel("ffffffffffff", store)
    with pytest.raises(UserError, match="12 hexadecimal"):
        jobs.state("../../etc", store)


def test_an_unwritable_data_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: RUN)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="data folder must be writable"):
        submit(Store(tmp_path / "file" / "runs"))

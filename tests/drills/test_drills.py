"""Drills: whatever happens to browser, server, worker or scheduler, a run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdq import jobs
from sdq.analysis_registry import ANALYSES
from sdq.inspection import inspection_id, read
from sdq.inspection_settings import Inspection
from sdq.recipe import PRESETS, Recipe
from sdq.settings import ASSETS, ROOT
from sdq.store import Store
from sdq.train.losses import KLD
from sdq.train.settings import Training
from tests import made_up

TRAINED = Recipe(name="drill", rules=PRESETS["ptq-w4a8"].rules, training=Training(steps=120, check_every=10, batch_size=8, distillation=(KLD(),)))
HURRIED = TRAINED.model_copy(update={"training": Training(steps=20, check_every=10, batch_size=8)})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random XLM-R with the embedded tokenizer, for the intent task."""
    import torch
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

    folder = tmp_path_factory.mktemp("model")
    config = json.loads((ASSETS / "mini" / "intent" / "config.json").read_text())
    torch.manual_seed(0)
    small = XLMRobertaConfig(
        vocab_size=config["vocab_size"], hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, max_position_embeddings=130,
        type_vocab_size=1, id2label=config["id2label"], label2id=config["label2id"], bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    XLMRobertaForSequenceClassification(small).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ASSETS / "mini" / "encoder").save_pretrained(folder)
    return str(folder)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setenv("SDQ_CLUSTER_IDLE", "30")
    store = Store(tmp_path / "data" / "runs", shipped=None)
    yield store
    jobs.stop(store)


@pytest.fixture(scope="module")
def undisturbed(model: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of TRAINED, computed by the command line in one go with as many threads as the train lane has."""
    from sdq.worker import lanes

    data = tmp_path_factory.mktemp("undisturbed")
    (data / "recipe.json").write_text(TRAINED.model_dump_json())
    env = {**os.environ, "SDQ_DATA": str(data), "SDQ_SHIPPED": "no", "OMP_NUM_THREADS": str(lanes(os.cpu_count() or 1)["train"][1])}
    command = [sys.executable, "-m", "sdq", "run", str(data / "recipe.json"), "--model", model, "--json"]
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


def finished(run: str, store: Store) -> jobs.State:
    return until(lambda: (s := jobs.state(run, store)) and not s.active and s)


def checks(run: str, store: Store) -> list[int]:
    return [e["step"] for e in store.events(run) if e.get("event") == "check"]


def assert_undisturbed(run: str, store: Store, undisturbed: Any) -> None:
    state = finished(run, store)
    assert state.status == "done", state.failure
    report = store.report(run)
    assert report.quantized.by_language == undisturbed["quantized"]["by_language"]
    assert report.history == undisturbed["history"]
    assert not store.checkpoint(run).exists()


def killed(store: Store, path: Path) -> None:
    process = until(lambda: jobs.process_of(path))
    process.kill()
    process.wait(10)


def test_thirty_identical_requests_are_one_computation(store: Store, model: str) -> None:
    with ThreadPoolExecutor(30) as pool:
        runs = set(pool.map(lambda i: jobs.submit(PRESETS["ptq-int8-dynamic"], model, "intent", store, f"student-{i}"), range(30)))
    assert len(runs) == 1
    (run,) = runs
    assert finished(run, store).status == "done"
    assert [e["name"] for e in store.events(run) if e.get("event") == "stage"].count("load") == 1
    assert [p.name for p in store.folder.iterdir()] == [run]
    assert jobs.submit(PRESETS["ptq-int8-dynamic"], model, "intent", store) == run  # and a later one opens the result
    assert [e["name"] for e in store.events(run) if e.get("event") == "stage"].count("load") == 1


@pytest.mark.slow
def test_the_web_server_dies(store: Store, model: str, undisturbed: Any) -> None:
    code = (
        "import sys, time\nfrom sdq import jobs\nfrom sdq.recipe import Recipe\nfrom sdq.store import Store\n"
        "print(jobs.submit(Recipe.model_validate_json(sys.argv[1]), sys.argv[2], 'intent', Store.default()), flush=True)\ntime.sleep(60)"
    )
    server = subprocess.Popen([sys.executable, "-c", code, TRAINED.model_dump_json(), model], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    run = server.stdout.readline().strip()  # type: ignore[union-attr]
    until(lambda: checks(run, store))
    server.kill()
    server.wait()
    assert_undisturbed(run, store, undisturbed)
    assert not [e for e in store.events(run) if e.get("event") == "resumed"]  # it never noticed


@pytest.mark.slow
def test_the_computing_process_dies(store: Store, model: str, undisturbed: Any) -> None:
    run = jobs.submit(TRAINED, model, "intent", store)
    until(lambda: len(checks(run, store)) >= 3)
    killed(store, store.folder / run / "worker.pid")
    assert_undisturbed(run, store, undisturbed)
    resumed = [e["step"] for e in store.events(run) if e.get("event") == "resumed"]
    assert len(resumed) == 1
    assert resumed[0] >= 20


@pytest.mark.slow
def test_the_dask_worker_dies(store: Store, model: str, undisturbed: Any) -> None:
    run = jobs.submit(TRAINED, model, "intent", store)
    until(lambda: checks(run, store))
    cluster = jobs.process_of(store.folder.parent / "cluster.pid")
    assert cluster is not None
    computing = jobs.process_of(store.folder / run / "worker.pid")
    assert computing is not None
    for child in cluster.children(recursive=True):
        if child != computing and "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    assert_undisturbed(run, store, undisturbed)
    assert [e["name"] for e in store.events(run) if e.get("event") == "stage"].count("load") == 1  # adopted, not computed twice


def test_the_scheduler_dies_and_the_next_view_restarts_it(store: Store, model: str, undisturbed: Any) -> None:
    run = jobs.submit(TRAINED, model, "intent", store)
    until(lambda: len(checks(run, store)) >= 2)  # the checkpoint of the first is written
    killed(store, store.folder.parent / "cluster.pid")
    killed(store, store.folder / run / "worker.pid")
    before = len(checks(run, store))
    time.sleep(1)
    assert len(checks(run, store)) == before  # nobody works
    assert_undisturbed(run, store, undisturbed)  # looking at it is what restarts it
    assert [e for e in store.events(run) if e.get("event") == "resumed"]


def test_a_computation_gives_way_to_the_pages(store: Store, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_NICE", "7")
    run = jobs.submit(PRESETS["ptq-int8-dynamic"], model, "intent", store)
    computing = until(lambda: jobs.process_of(store.folder / run / "worker.pid"))
    until(lambda: computing.nice() == 7, 5)
    assert finished(run, store).status == "done"


def test_cancel_takes_effect_soon(store: Store, model: str) -> None:
    run = jobs.submit(TRAINED, model, "intent", store)
    until(lambda: checks(run, store))
    computing = jobs.process_of(store.folder / run / "worker.pid")
    started = time.monotonic()
    assert jobs.cancel(run, store)
    until(lambda: computing is not None and not computing.is_running(), 60)
    print(f"cancelled after {time.monotonic() - started:.2f} s")  # under two seconds unless other tests take the cores
    assert "cancelled" in (jobs.state(run, store).failure or "")
    until(lambda: not (jobs.queue(store) / run).exists(), 60)
    again = jobs.submit(TRAINED.model_copy(update={"seed": 1}), model, "intent", store)  # the lane is free again
    until(lambda: checks(again, store))
    jobs.cancel(again, store)


@pytest.mark.slow
def test_cancel_before_it_began(store: Store, model: str) -> None:
    first = jobs.submit(TRAINED, model, "intent", store)
    second = jobs.submit(HURRIED, model, "intent", store)
    jobs.cancel(second, store)
    until(lambda: not (jobs.queue(store) / second).exists(), 120)
    assert not [e for e in store.events(second) if e.get("event") == "stage"]
    jobs.cancel(first, store)


@pytest.mark.slow
def test_full_disk_is_one_sentence_and_loses_nothing(store: Store, model: str) -> None:
    done = jobs.submit(PRESETS["ptq-int8-dynamic"], model, "intent", store)
    assert finished(done, store).status == "done"
    report = store.report(done)
    code = "import resource, runpy, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\nsys.argv = ['sdq', *sys.argv[1:]]\nrunpy.run_module('sdq', run_name='__main__')"
    for recipe in ("ptq-w4a8", "qat-w4a8"):
        out = subprocess.run([sys.executable, "-c", code, "run", recipe, "--model", model], cwd=ROOT, capture_output=True, text=True, check=False)
        assert out.returncode == 2, out.stderr
        assert "must fit into" in out.stderr.strip().splitlines()[-1]
        assert "earlier runs are intact" in out.stderr
        assert "Traceback" not in out.stderr
    assert store.report(done) == report
    assert [r.run for r in store.finished()] == [done]


def test_a_typed_sentence_is_answered_by_finished_runs(store: Store, model: str) -> None:
    runs = [jobs.submit(recipe, model, "intent", store) for recipe in (PRESETS["fp32"], PRESETS["ptq-int8-dynamic"], HURRIED)]
    for run in runs:
        assert finished(run, store).status == "done"
    key = jobs.ask("  bitte  weck mich um sieben ", runs, store)
    rows = until(lambda: jobs.answered(key, store))
    assert [row["run"] for row in rows] == runs
    assert all(0 < row["shares"][0] <= 1 for row in rows)
    assert jobs.ask("bitte weck mich um sieben", runs, store) == key
    (store.folder / runs[2] / "model.safetensors").unlink()
    rows = until(lambda: jobs.answered(jobs.ask("wie spät ist es", runs, store), store))
    assert "missing" in rows[2] or rows[2]["answers"]  # kept in memory, or said to be gone


@pytest.mark.slow
def test_a_broken_model_is_one_sentence_in_the_state(store: Store, model: str, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}))
    run = jobs.submit(PRESETS["ptq-int8-dynamic"], str(broken), "intent", store)
    state = finished(run, store)
    assert state.status == "failed"
    assert "one output per label" in (state.failure or "")


def stored(store: Store, model: str) -> str:
    """A finished run of the model, of made-up scores."""
    report = made_up.add(store, PRESETS["ptq-int8-dynamic"]).model_copy(update={"model": model})
    store.finish(report, store.sentences(report.run))
    return report.run


@pytest.mark.parametrize("scheduler", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_inspection_is_one_computation_and_after_a_kill_goes_on_with_what_is_missing(store: Store, model: str, scheduler: bool) -> None:
    run = stored(store, model)
    kept, home = store.inspections(), inspection_id(run, Inspection())
    kept.begin(home, {})
    for name in {table for analysis in ANALYSES.values() for table in analysis.tables} - {"sensitivity", "estimate"}:
        kept.keep(home, name, pd.DataFrame({"made": ["up"]}))  # as if computed before

    def told(event: str) -> list[str]:
        return [e["name"] for e in kept.events(home) if e["event"] == event]

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(lambda i: jobs.look_into(run, store, who=f"student-{i}"), range(30))) == {home}
    until(lambda: "sensitivity" in told("analysed"))
    if scheduler:
        killed(store, store.folder.parent / "cluster.pid")
    killed(store, kept.folder / home / "worker.pid")
    assert finished(home, kept).status == "done"  # looking at it is what restarts the scheduler
    assert told("analysed") == ["sensitivity", "estimate"]
    assert told("stage").count("sensitivity") == 1
    assert not (read(run, store).keys() ^ {table for analysis in ANALYSES.values() for table in analysis.tables})


@pytest.mark.slow
def test_an_inspection_is_cancelled_within_two_seconds(store: Store, model: str) -> None:
    run = stored(store, model)
    kept, home = store.inspections(), jobs.look_into(run, store, Inspection(sentences=3000))
    until(lambda: [e for e in kept.events(home) if e["event"] == "stage"])
    computing = jobs.process_of(kept.folder / home / "worker.pid")
    started = time.monotonic()
    assert jobs.cancel(home, kept)
    until(lambda: computing is not None and not computing.is_running(), 60)
    assert time.monotonic() - started < 2
    until(lambda: not (jobs.queue(store) / home).exists(), 10)
    assert "cancelled" in (jobs.state(home, kept).failure or "")

"""Jobs as files: who wants which run, how it stands, failures in one sentence. The cluster's side
is in tests/drills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from sdq.jobs import questions, worker
from sdq.jobs import queue as jobs
from sdq.jobs.processes import process_of, write_pid
from sdq.recipe import PRESETS, Recipe
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up

RUN = "0123456789ab"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: RUN)
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    return Store(tmp_path / "data" / "runs", shipped=None)


def submit(store: Store, recipe: Recipe = PRESETS["ptq-w4a8"], who: str = "local") -> str:
    return jobs.submit(recipe, "mini", "intent", store, who)


def queued(store: Store) -> list[str]:
    return sorted(p.name for p in jobs.queue(store).glob("*"))


def test_many_submits_are_one_wish(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda i: submit(store, who=f"student-{i}"), range(30))) == {RUN}
    assert queued(store) == [RUN]
    assert len(list((store.folder / RUN / "interest").iterdir())) == 30
    assert jobs.state(RUN, store).status == "queued"
    assert not list((store.folder / RUN).glob("*.part"))


def test_a_run_keeps_its_recipe_and_its_lane(store: Store) -> None:
    recipe = PRESETS["sdq-kld-w4a8"].model_copy(update={"seed": 5})
    submit(store, recipe)
    assert jobs.request(RUN, store) == (recipe, "mini", "intent")
    assert json.loads((store.folder / RUN / "job.json").read_text())["lane"] == "train"
    submit_again = PRESETS["ptq-w4a8"]
    (jobs.queue(store) / RUN).unlink()
    submit(store, submit_again)
    assert json.loads((store.folder / RUN / "job.json").read_text())["lane"] == "quick"


def test_a_finished_run_is_not_asked_for_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: report.run)
    assert submit(store) == report.run
    assert not queued(store)
    assert jobs.state(report.run, store).status == "done"


def test_from_queued_to_running_to_failed_and_asked_for_again(store: Store) -> None:
    assert jobs.state(RUN, store).status == "unknown"
    submit(store)
    store.tell(RUN, {"event": "stage", "name": "load", "text": "Reading"})
    assert jobs.state(RUN, store).status == "running"
    store.tell(
        RUN, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"}
    )
    assert jobs.state(RUN, store).failure == "weights must be finite numbers, layer 3 holds NaN"
    (jobs.queue(store) / RUN).unlink()
    submit(store)
    assert jobs.state(RUN, store).status == "queued"


def test_cancelling_takes_back_only_ones_own_wish(store: Store) -> None:
    for who in ("ada", "bo"):
        submit(store, who=who)
    assert jobs.cancel(RUN, store, "ada") is False
    assert jobs.state(RUN, store).status == "queued"
    assert jobs.cancel(RUN, store, "ada") is False  # twice is once
    assert jobs.cancel(RUN, store, "bo") is True
    state = jobs.state(RUN, store)
    assert state.status == "failed"
    assert "cancelled" in (state.failure or "")
    submit(store, who="ada")  # wanted again before anybody looked
    assert jobs.state(RUN, store).status == "queued"


def test_a_wish_of_a_closed_browser_is_forgotten_but_one_that_looks_is_not(store: Store) -> None:
    for who in ("closed", "looking"):
        submit(store, who=who)
        os.utime(store.folder / RUN / "interest" / who, (1, 1))
    jobs.state(RUN, store, "looking")
    jobs.state(RUN, store, "stranger")  # who never asked is not counted
    submit(store, who="me")
    assert jobs.cancel(RUN, store, "me") is False
    assert jobs.cancel(RUN, store, "looking") is True


@pytest.mark.parametrize("who", ["", "../x", "a/b", "x" * 65, "å"])
def test_who_asks_is_validated(store: Store, who: str) -> None:
    with pytest.raises(UserError, match="who asks must be"):
        submit(store, who=who)
    with pytest.raises(UserError, match="who asks must be"):
        jobs.cancel(RUN, store, who)


@pytest.mark.parametrize("run", ["..", "0123456789AB", "../../etc/passwd", "0123456789ab/..", ""])
def test_only_run_ids_reach_the_disk(store: Store, run: str) -> None:
    for call in (jobs.state, jobs.cancel, jobs.request, jobs.folder_of):
        with pytest.raises(UserError, match="run id must be"):
            call(run, store)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "ended without a word"),
        ("", "ended without a word"),
        ("Traceback\nerror: weights must be finite numbers\n", "weights must be finite numbers"),
        ("a\n  ValueError: bits\n\n", "ValueError: bits"),
    ],
)
def test_a_failure_is_one_sentence(store: Store, text: str | None, said: str) -> None:
    submit(store)
    (jobs.queue(store) / RUN).unlink()
    if text is not None:
        (store.folder / RUN / "stderr.txt").write_text(text)
    store.tell(RUN, {"event": "stage", "name": "load", "text": "Reading"})
    state = jobs.state(RUN, store)
    assert state.status == "failed"
    assert said in (state.failure or "")
    assert "\n" not in (state.failure or "")


def test_a_pid_file_of_an_earlier_process_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    assert process_of(path) is None
    me = psutil.Process(os.getpid())
    write_pid(path, me.pid)
    assert process_of(path) == me
    path.write_text(f"{me.pid} {me.create_time() - 100}")
    assert process_of(path) is None
    path.write_text("half")
    assert process_of(path) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    write_pid(path, child.pid)
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert process_of(path) is None  # dead, though nobody has reaped it
    child.wait()


def test_read_only_data_folder_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UserError, match="data folder must be writable") as error:
        submit(store)
    assert "Read-only file system" in str(error.value)


def test_full_disk_leaves_earlier_runs_intact(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        submit(store)
    monkeypatch.undo()
    assert store.report(report.run) == report


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2009", "\u202f"])
def test_a_typed_sentence_has_the_words_that_a_file_would_have(store: Store, space: str) -> None:
    from sdq.data.cells import words_of
    from sdq.jobs.prediction import _words

    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    key = questions.ask(f"  10{space}000\teuros ", [run], store)
    text = json.loads((store.folder.parent / "asked" / f"{key}.json").read_text("utf-8"))["text"]
    task: Any = SimpleNamespace(kind="token")
    assert _words(text, task) == words_of(text) == (f"10{space}000", "euros")
    assert _words(f"10{space}000{space}€uros", task) == (f"10{space}000{space}€uros",)
    with pytest.raises(UserError, match="got 0"):
        questions.ask(f" {space} ", [run], store)


@pytest.mark.parametrize("text", ["\ud83d", "wake \udc00 me"])
def test_half_a_character_is_refused_in_one_sentence(store: Store, text: str) -> None:
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    with pytest.raises(
        UserError, match="the sentence must be whole characters, it holds half of one \\(U\\+D"
    ):
        questions.ask(text, [run], store)
    assert questions.ask("wake \U0001f600 me", [run], store)


def test_only_scripts_without_spaces_are_parted_by_characters() -> None:
    from sdq.jobs.prediction import _words

    task: Any = SimpleNamespace(kind="token")
    assert _words("Überraschungen", task) == ("Überraschungen",)
    assert _words("東京\u3000大阪へ行きます", task) == tuple("東京大阪へ行きます")
    assert _words("東京 大阪", task) == ("東京", "大阪")


def test_a_question_that_came_to_nothing_is_said(store: Store) -> None:
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    key = questions.ask("wake me", [run], store)
    assert questions.answered(key, store) is None
    (store.folder.parent / "asked" / f"{key}.json").unlink()
    with pytest.raises(UserError, match="ask again"):
        questions.answered(key, store)
    assert questions.answered(questions.ask("wake me", [run], store), store) is None


def test_old_answers_go(store: Store) -> None:
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    asked = store.folder.parent / "asked"
    asked.mkdir()
    for age, name in ((25, "0" * 16), (23, "1" * 16)):
        (asked / f"{name}.answer.json").write_text("[]")
        os.utime(asked / f"{name}.answer.json", (time.time() - 3600 * age,) * 2)
    questions.ask("wake me", [run], store)
    assert [path.name for path in asked.glob("*.answer.json")] == ["1" * 16 + ".answer.json"]


def test_what_breaks_in_an_answer_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA\nTraceback")

    monkeypatch.setitem(sys.modules, "sdq.jobs.prediction", SimpleNamespace(answer=broken))
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    key = questions.ask("wake me", [run], store)
    worker.respond(key, str(store.folder))
    said = (questions.answered(key, store) or [{}])[0]["missing"]
    assert "\n" not in said
    assert said.startswith("this must not happen")


def test_thirty_requests_at_once_start_one_process_for_each_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: Any, **settings: Any) -> subprocess.Popen[bytes]:
        time.sleep(0.01)  # as long as a fork of a large process takes
        started.append(real([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return started[-1]

    real = subprocess.Popen
    monkeypatch.setattr(jobs, "_clusters", [])
    monkeypatch.setattr(jobs.subprocess, "Popen", start)
    stores = [Store(tmp_path / name / "runs", None) for name in ("one", "other")]
    try:
        for store in stores:
            store.folder.mkdir(parents=True)
        with ThreadPoolExecutor(30) as pool:
            list(pool.map(lambda i: jobs.ensure(stores[i % 2]), range(60)))
        assert len(started) == 2
        assert {folder for folder, _ in jobs._clusters} == {store.folder.parent for store in stores}
    finally:
        for child in started:
            child.kill()
            child.communicate()

"""The queue changes whole, is bounded for each visitor, and outlives damage and full disks."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sdq.io.limits import Limits
from sdq.jobs import dispatch, questions, trash, turns, worker
from sdq.jobs import queue as jobs
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers.queue import Client, id_of, submit


@pytest.fixture
def store(tmp_path: Path, idle_cluster: None) -> Store:
    return Store(tmp_path / "data" / "runs", shipped=None)


def limited(monkeypatch: pytest.MonkeyPatch, **most: Any) -> None:
    for module in (jobs, questions, dispatch, worker):
        monkeypatch.setattr(module, "limits", lambda: Limits(**most))


AT = "sdq.jobs.dispatch.locked_queue"


def before_the_lock(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Have something happen, once, after the dispatcher has made up its mind and before it has the
    queue to itself."""
    real, left = jobs.locked_queue, [happens]

    def late(store: Store) -> Any:
        if left:
            left.pop()()
        return real(store)

    monkeypatch.setattr(AT, late)


def test_a_wish_made_while_the_dispatcher_takes_a_cancelled_run_off_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, client = submit(store, 1, "ada"), Client()
    assert jobs.cancel(run, store, "ada")
    before_the_lock(monkeypatch, lambda: submit(store, 1, "bo"))
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    dispatcher.look()
    dispatcher.look()
    assert client.given == [run]
    assert jobs.state(run, store).status == "queued"
    assert (store.folder / run / "interest" / "bo").exists()


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_a_wish_made_after_a_job_ended_and_before_it_was_taken_off_is_kept(
    store: Store, ended: str
) -> None:
    run, client = submit(store, 1, "ada"), Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    dispatcher.look()
    if ended == "failed":
        store.tell(run, {"event": "failed", "message": "the loss must stay finite, it did not"})
    else:
        assert jobs.cancel(run, store, "ada")
    client.end(run)
    submit(store, 1, "ada")
    dispatcher.look()
    assert jobs.state(run, store).status == "queued"
    dispatcher.look()
    assert client.given == [run, run]
    client.end(run)
    dispatcher.look()
    assert not (jobs.queue(store) / run).exists()


@pytest.mark.parametrize("step", ["_want", "_leave", "cancel", "delete"])
def test_whatever_changes_the_queue_has_it_for_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run = submit(store, 1, "ada")
    assert step == "cancel" or jobs.cancel(run, store, "ada")
    held: list[bool] = []
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name in (run, "ada", "cancel"):
            with (store.folder.parent / "queue.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    held.append(False)
                except BlockingIOError:
                    held.append(True)
        real(path, missing_ok)

    if step == "delete":
        dispatch._leave(store, run)
    monkeypatch.setattr(Path, "unlink", unlink)
    if step == "_want":
        submit(store, 1, "ada")
    elif step == "_leave":
        dispatch._leave(store, run)
    elif step == "cancel":
        jobs.cancel(run, store, "ada")
    else:
        trash.delete(store, [run])
    assert held
    assert all(held)


def test_two_who_take_their_wish_back_at_once_meet_no_missing_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(store, 1, "ada")
    for who in ("bo", "cy"):
        submit(store, 1, who)
    real = Path.stat

    def stat(path: Path, **how: Any) -> os.stat_result:
        if path.parent.name == "interest" and path.name == "bo":
            path.unlink(missing_ok=True)
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    assert jobs.cancel(run, store, "ada") is False
    assert jobs.cancel(run, store, "cy") is True


def test_a_look_brings_no_wish_back_that_was_taken_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(store, 1, "ada")
    submit(store, 1, "bo")
    ada = store.folder / run / "interest" / "ada"
    real = os.path.exists

    def gone(path: Path) -> bool:
        there = real(path)
        if path == ada:
            path.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "exists", gone)
    jobs.state(run, store, "ada")
    assert not real(ada) or ada.read_text() != ""  # which would be a new wish


def test_a_visitor_may_not_fill_the_queue(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, queued_per_visitor=2, queued=4)
    runs = [submit(store, i, "greedy") for i in range(2)]
    with pytest.raises(UserError, match="at most 2 runs and inspections waiting, you have 2; wait"):
        submit(store, 5, "greedy")
    assert submit(store, 0, "greedy") == runs[0]  # asking for the same again is no further wish
    submit(store, 5, "ada")
    assert submit(store, 5, "greedy") == id_of(5)  # nor is one that another asked for
    assert jobs.cancel(runs[0], store, "greedy")
    assert (jobs.queue(store) / id_of(5)).exists()
    (jobs.queue(store) / runs[0]).unlink()
    for i in (7, 8):
        submit(store, i, f"student-{i}")
    with pytest.raises(UserError, match="at most 4 runs and inspections must be waiting"):
        submit(store, 9, "bo")


def test_typed_sentences_are_bounded_and_take_turns(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, asked_per_visitor=2, sentence_characters=9)
    run = id_of(1)
    monkeypatch.setattr(
        Store, "home", lambda self, run: self.folder / run
    )  # as if it were finished
    keys = [questions.ask(text, [run], store, "greedy") for text in ("one", "two")]
    with pytest.raises(UserError, match="at most 2 sentences waiting"):
        questions.ask("three", [run], store, "greedy")
    with pytest.raises(UserError, match="1 to 9 characters"):
        questions.ask("a" * 10, [run], store, "ada")
    assert questions.ask("one", [run], store, "greedy") == keys[0]
    theirs = questions.ask("three", [run], store, "ada")
    client = Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    dispatcher.look()
    client.end(f"ask-{keys[0]}")
    (store.folder.parent / "asked" / f"{keys[0]}.json").unlink()
    dispatcher.look()
    dispatcher.look()
    assert client.given == [f"ask-{keys[0]}", f"ask-{theirs}"]


@pytest.mark.parametrize(
    ("code", "most", "said"),
    [
        (
            "import time\ntime.sleep(60)",
            {"job_hours": 0.5 / 3600},
            "must be computed within 0.5 seconds",
        ),
        (
            "import time\nheld = b'x' * 120_000_000\ntime.sleep(60)",
            {"job_memory_mb": 100},
            "in 100 MB of memory",
        ),
        ("held = bytearray(2_000_000_000)", {"job_memory_mb": 100}, "in 100 MB of memory"),
        (
            "import time\ntime.sleep(0.3)\nprint('error: bits must be 2 to 8', file=sys.stderr)",
            {},
            "bits must be 2 to 8",
        ),
    ],
    ids=["time", "memory", "memory at once", "within its limits"],
)
def test_a_job_beyond_its_limits_is_ended_and_says_why(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: str, most: dict[str, Any], said: str
) -> None:
    limited(monkeypatch, **most)
    monkeypatch.setattr(worker, "LOOK", 0.02)
    monkeypatch.setattr(worker, "_words", lambda job, request: [])
    script = store.folder.parent / "sdq_stand_in.py"
    run = submit(store, 1, "ada")
    script.write_text(f"import sys\n{code}")
    monkeypatch.setattr(worker.sys, "executable", str(_python(script)))
    started = time.monotonic()
    assert worker.work(run, str(store.folder), 1) == "failed"
    assert time.monotonic() - started < 20
    failed = [event["message"] for event in store.events(run) if event["event"] == "failed"]
    assert len(failed) == 1
    assert said in failed[0]


def _python(script: Path) -> Path:
    """A program that runs a script whatever it is called with."""
    import sys

    path = script.with_suffix("")
    path.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    path.chmod(0o755)
    return path


def test_what_was_told_may_be_damaged(store: Store) -> None:
    store.folder.mkdir(parents=True)
    for text in ("", "{", "[]", json.dumps({"served": 1, "order": {}})):
        (store.folder.parent / "turns.json").write_text(text)
        assert turns.told(store) == {}
        assert jobs.position(id_of(1), store) is None


def test_a_full_disk_stops_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told now is told at the next look, in the queue and behind dask."""
    before, under_way = submit(store, 1, "ada"), submit(store, 2, "bert")
    client = Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    assert jobs.cancel(before, store, "ada")
    with monkeypatch.context() as full:

        def refused(*_: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr(Store, "tell", refused)
        dispatcher.look()
        assert client.given == [under_way]
        assert jobs.cancel(under_way, store, "bert")
        dispatcher.look()
        assert under_way in dispatcher.running
    dispatcher.look()
    assert not dispatcher.look()
    assert list(jobs.queue(store).iterdir()) == []
    assert all(store.events(run)[-1]["event"] == "failed" for run in (before, under_way))

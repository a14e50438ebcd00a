"""Whose turn it is: fair to newcomers, first come within one visitor, and bounded for each."""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from sdq.io.limits import Limits
from sdq.jobs import dispatch, history, turns, worker
from sdq.jobs import queue as jobs
from sdq.jobs.turns import Wish, order, turn
from sdq.recipe import PRESETS
from sdq.settings import UserError
from sdq.store import Store


def id_of(number: int) -> str:
    return f"{number:012x}"


def test_thirty_visitors_and_one_with_two_hundred_wishes_take_turns() -> None:
    greedy = [Wish(id_of(i), {"greedy": 100.0 + i}) for i in range(200)]
    others = [Wish(id_of(1000 + i), {f"student-{i}": 400.0 + i}) for i in range(29)]
    ahead = order([*greedy, *others], {})
    assert ahead[0] == id_of(0)  # he came first
    assert ahead[1:30] == [wish.run for wish in others]
    assert ahead[30:] == [wish.run for wish in greedy[1:]]  # first come within one


@pytest.mark.parametrize("seed", range(20))
def test_no_visitor_waits_for_two_turns_of_another(seed: int) -> None:
    draw = random.Random(seed)
    waiting = {
        id_of(i): Wish(id_of(i), {f"v{draw.randrange(6)}": draw.uniform(0, 50)}) for i in range(60)
    }
    served: dict[str, float] = {}
    clock, since = (
        100.0,
        {who: {} for who in (f"v{i}" for i in range(6))},
    )  # visitor -> turns of the others since his last
    while (found := turn(waiting.values(), served)) is not None:
        wish, who = found
        mine = [w for w in waiting.values() if who in w.asked]
        assert wish.asked[who] == min(w.asked[who] for w in mine)
        clock += 1
        served[who] = clock
        del waiting[wish.run]
        still = {w for left in waiting.values() for w in left.asked}
        for other in since:
            since[other] = (
                {}
                if other == who or other not in still
                else {**since[other], who: since[other].get(who, 0) + 1}
            )
            assert max(since[other].values(), default=0) <= 1


def test_a_newcomer_goes_before_who_had_a_turn_after_he_came_and_not_before_who_waits_longer() -> (
    None
):
    waiting = [Wish("old", {"a": 10.0}), Wish("new", {"b": 50.0})]
    assert turn(waiting, {}) == (waiting[0], "a")
    assert turn(waiting, {"a": 60.0}) == (waiting[1], "b")


def test_who_has_something_computed_stands_back_behind_who_has_nothing() -> None:
    greedy, newcomer = Wish("g", {"greedy": 1.0}), Wish("n", {"b": 90.0})
    assert turn([greedy, newcomer], {"greedy": 5.0}, ["greedy"], 2) == (newcomer, "b")
    assert turn([greedy, newcomer], {"greedy": 95.0}) == (
        newcomer,
        "b",
    )  # it ended after the other had come
    assert turn([greedy, newcomer], {"greedy": 85.0}) == (greedy, "greedy")


def test_a_run_that_several_want_has_the_first_of_their_turns() -> None:
    shared = Wish("shared", {"greedy": 30.0, "b": 40.0})
    waiting = [Wish("first", {"greedy": 10.0}), Wish("second", {"greedy": 20.0}), shared]
    assert turn(waiting, {"greedy": 45.0}) == (shared, "b")


def test_who_has_enough_computed_stands_back_only_while_others_wait() -> None:
    greedy, other = Wish("g", {"greedy": 1.0}), Wish("o", {"b": 2.0})
    assert turn([greedy, other], {}, ["greedy", "greedy"], 2) == (other, "b")
    assert turn([greedy], {}, ["greedy", "greedy"], 2) == (greedy, "greedy")
    assert turn([greedy, other], {}, ["greedy", "b"], 1) == (
        greedy,
        "greedy",
    )  # both have: first come
    assert turn([greedy, other], {}, ["greedy", "greedy", "b"], 2) == (other, "b")
    assert turn([], {}) is None


@pytest.mark.parametrize(
    ("computing", "elsewhere"), [(["a"], []), (["c", "a"], []), (["c"], ["a"])]
)
def test_who_has_something_computed_is_told_that_he_stands_back(
    computing: list[str], elsewhere: list[str]
) -> None:
    waiting, had = [Wish("old", {"a": 50.0}), Wish("new", {"b": 150.0})], {"a": 100.0}
    assert turn(waiting, had, [*computing, *elsewhere]) == (waiting[1], "b")
    assert order(waiting, had, computing, elsewhere) == ["new", "old"]


class Client:
    """Stands for dask: what was submitted, and finishes when told."""

    def __init__(self, resources: dict[str, int] | None = None) -> None:
        self.given: list[str] = []
        self.futures: dict[str, Any] = {}
        self.resources = resources or {}

    def submit(
        self, function: Any, *args: Any, key: str, resources: dict[str, int], pure: bool
    ) -> Any:
        self.given.append(key)
        self.futures[key] = type(
            "Future",
            (),
            {
                "status": "finished",
                "done": lambda _: False,
                "result": lambda _: "done",
                "cancel": lambda _: None,
            },
        )()
        return self.futures[key]

    def scheduler_info(self) -> dict[str, Any]:
        return {
            "workers": {
                name: {"resources": {name.split("-")[0]: count}}
                for name, count in self.resources.items()
            }
        }

    def end(self, key: str) -> None:
        type(self.futures[key]).done = lambda _: True


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: id_of(recipe.seed))
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    monkeypatch.setattr(
        os, "cpu_count", lambda: 4
    )  # two workers in the quick lane, one in the others
    return Store(tmp_path / "data" / "runs", shipped=None)


def limited(monkeypatch: pytest.MonkeyPatch, **most: Any) -> None:
    for module in (jobs, dispatch, worker):
        monkeypatch.setattr(module, "limits", lambda: Limits(**most))


def submit(store: Store, number: int, who: str, preset: str = "ptq-w4a8") -> str:
    return jobs.submit(
        PRESETS[preset].model_copy(update={"seed": number}), "mini", "intent", store, who
    )


def test_dask_gets_as_many_as_there_are_workers_and_the_next_by_turn(store: Store) -> None:
    greedy = [submit(store, i, "greedy") for i in range(6)]
    others = [submit(store, 10 + i, f"student-{i}") for i in range(2)]
    trained = submit(store, 20, "greedy", "qat-w4a8")
    client = Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    assert dispatcher.look()
    assert client.given == [greedy[0], others[0], trained]
    assert jobs.position(greedy[0], store) is None
    assert jobs.position(others[1], store) == (0, 6)
    assert jobs.position(greedy[1], store) == (1, 6)
    client.end(others[0])
    dispatcher.look()
    dispatcher.look()
    assert client.given[3:] == [others[1]]
    client.end(others[1])
    again = dispatch.Dispatcher(
        store, Client(), here=True
    )  # the process of the cluster dies and another takes over
    assert again.served["quick"].keys() == {"greedy", "student-0", "student-1"}


@pytest.mark.parametrize("seed", range(8))
def test_the_order_that_is_told_is_the_one_in_which_it_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Jobs of the quick lane end one by one, as they began; a training goes on all the while."""
    draw, clock = random.Random(seed), [time.time() - 5000]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    client = Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    submit(store, 99, "a", "qat-w4a8")
    for i in range(12):
        clock[0] += draw.uniform(1, 9)
        submit(store, i, draw.choice("aabbcd"))
        if draw.random() < 0.5:
            dispatcher.look()
    dispatcher.look()
    told = turns.told(store)["order"]["quick"]
    quick = [run for run in client.given if run != id_of(99)]
    assert len(quick) + len(told) == 12
    for run in quick:
        clock[0] += 1
        client.end(run)
        dispatcher.look()
        clock[0] += 1
        dispatcher.look()
        quick[len(quick) :] = [new for new in client.given if new not in (*quick, id_of(99))]
    assert quick[12 - len(told) :] == told


@pytest.mark.parametrize("bad", [b"x", b"\xff", b"nan", b"inf", None], ids=repr)
def test_one_bad_file_costs_nobody_else_his_turn(store: Store, bad: bytes | None) -> None:
    run = submit(store, 1, "ada")
    submit(store, 1, "bo")
    interest = store.folder / run / "interest"
    asked = turns.asked_by(store.folder / run, jobs.queue(store) / run)
    (interest / "aaa").mkdir() if bad is None else (interest / "aaa").write_bytes(bad)
    (interest / "zzz").symlink_to("gone")
    found = turns.asked_by(store.folder / run, jobs.queue(store) / run)
    own = {} if bad is None else {"aaa": (interest / "aaa").stat().st_mtime}
    assert found == {**asked, **own}
    (jobs.queue(store) / run).write_text('{"who": "ada", "time": NaN}')
    assert turns.wish_of(jobs.queue(store) / run) == {
        "who": "ada",
        "time": (jobs.queue(store) / run).stat().st_mtime,
    }


def test_workers_of_another_scheduler_are_counted(store: Store) -> None:
    runs = [submit(store, i, f"student-{i}") for i in range(5)]
    client = Client({"quick-a": 1, "quick-b": 2, "train-a": 1})
    dispatch.Dispatcher(store, client, here=False).look()
    assert client.given == runs[:3]
    nothing = Client()
    dispatch.Dispatcher(store, nothing, here=False).look()
    assert nothing.given == []


def test_an_empty_file_of_an_earlier_version_is_still_a_wish(store: Store) -> None:
    run = submit(store, 1, "ada")
    (jobs.queue(store) / run).write_text("")
    (store.folder / run / "interest" / "ada").write_text("")
    (jobs.queue(store) / f"{id_of(2)}.123-456.part").write_text(
        "{"
    )  # somebody is writing this moment
    client = Client()
    dispatch.Dispatcher(store, client, here=True).look()
    assert client.given == [run]
    for text in ("", "{", "[]", '{"time": "x"}'):
        (jobs.queue(store) / run).write_text(text)
        assert turns.wish_of(jobs.queue(store) / run)["who"] == ""  # type: ignore[index]


def test_a_run_cancelled_before_its_turn_leaves_the_queue(store: Store) -> None:
    run = submit(store, 1, "ada")
    assert jobs.cancel(run, store, "ada")
    client = Client()
    assert not dispatch.Dispatcher(store, client, here=True).look()
    assert not (jobs.queue(store) / run).exists()
    assert client.given == []
    assert "cancelled" in (jobs.state(run, store).failure or "")


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
        history.delete(store, [run])
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
    keys = [jobs.ask(text, [run], store, "greedy") for text in ("one", "two")]
    with pytest.raises(UserError, match="at most 2 sentences waiting"):
        jobs.ask("three", [run], store, "greedy")
    with pytest.raises(UserError, match="1 to 9 characters"):
        jobs.ask("a" * 10, [run], store, "ada")
    assert jobs.ask("one", [run], store, "greedy") == keys[0]
    theirs = jobs.ask("three", [run], store, "ada")
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

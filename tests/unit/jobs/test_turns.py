"""Whose turn it is: fair to newcomers, first come within one visitor, and bounded for each."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sdq.jobs import dispatch, turns
from sdq.jobs import queue as jobs
from sdq.jobs.turns import Wish, order, turn
from sdq.store import Store
from tests.helpers.queue import Client, id_of, submit


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


@pytest.fixture
def store(tmp_path: Path, idle_cluster: None) -> Store:
    return Store(tmp_path / "data" / "runs", shipped=None)


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


def test_what_nobody_asked_for_is_set_aside_and_the_next_has_his_turn(store: Store) -> None:
    (jobs.queue(store) / id_of(1)).mkdir(parents=True)  # a folder is no wish
    (jobs.queue(store) / id_of(2)).symlink_to("gone")  # deleted since the folder was listed
    client = Client()
    dispatcher = dispatch.Dispatcher(store, client, here=True)
    assert not dispatcher.look()
    run = submit(store, 3, "ada")
    assert dispatcher.look()
    assert client.given == [run]

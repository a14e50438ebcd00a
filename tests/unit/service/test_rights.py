"""What each visitor may change, stop and bring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdq.data.kept import home
from sdq.intake.own_tasks import Incoming, keep
from sdq.jobs import history, trash
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.service.visitors import OWNER, Visitor, askers
from sdq.settings import UserError
from sdq.store import Store, run_id
from tests.helpers import made_up
from tests.helpers.visiting import ANNA, BEN, TEACHER

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    monkeypatch.setattr(
        jobs, "identify", lambda recipe, model, task: run_id(recipe, "made-up", task)
    )
    return Store(tmp_path / "data" / "runs", None)


def started(store: Store, name: str, *by: Visitor) -> str:
    """A finished run that these visitors asked for; nobody: from the command line."""
    for who in by:
        jobs.submit(PRESETS[name], "mini", "intent", store, who.name)
    run = made_up.add(store, PRESETS[name]).run
    (jobs.queue(store) / run).unlink(missing_ok=True)
    return run


@pytest.mark.parametrize(
    ("by", "may"),
    [
        ((), (OWNER, TEACHER)),
        ((ANNA,), (OWNER, TEACHER, ANNA)),
        ((ANNA, BEN), (OWNER, TEACHER)),
        ((OWNER, ANNA), (OWNER, TEACHER)),
    ],
    ids=["command line", "one", "two", "owner and one"],
)
def test_a_run_is_deleted_and_brought_back_by_who_alone_asked_for_it(
    store: Store, by: tuple[Visitor, ...], may: tuple[Visitor, ...]
) -> None:
    run = started(store, "ptq-w3a8", *by)
    for who in (ANNA, BEN, TEACHER, OWNER):
        assert trash.may_delete(store, run, who) is (who in may)
        if who not in may:
            with pytest.raises(UserError, match="must be one that you alone started to be deleted"):
                trash.delete(store, [run], who)
            trash.delete(store, [run])
            assert trash.in_trash(store, who) == {}
            with pytest.raises(
                UserError, match="must be one that you alone started to be brought back"
            ):
                trash.restore(store, [run], who)
            trash.restore(store, [run])
        else:
            trash.delete(store, [run], who)
            assert list(trash.in_trash(store, who)) == [run]
            trash.restore(store, [run], who)
        assert store.done(run)


def test_one_foreign_run_among_own_ones_and_none_is_deleted(store: Store) -> None:
    mine, others = started(store, "ptq-w3a8", ANNA), started(store, "fp32", BEN)
    with pytest.raises(UserError, match=others):
        trash.delete(store, [mine, others], ANNA)
    assert store.done(mine)
    assert store.done(others)


def test_only_who_leads_empties_the_trash_and_pins(store: Store) -> None:
    run = started(store, "ptq-w3a8", ANNA)
    with pytest.raises(UserError, match="only the teacher"):
        history.pin(store, [run], who=ANNA)
    trash.delete(store, [run], ANNA)
    with pytest.raises(
        UserError, match="only the teacher or the owner of this machine can empty the trash"
    ):
        trash.empty_trash(store, ANNA)
    assert list(trash.in_trash(store)) == [run]
    assert trash.empty_trash(store, TEACHER) > 0


def test_whoever_asks_for_a_finished_run_relies_on_it(store: Store) -> None:
    run = started(store, "ptq-w3a8", ANNA)
    jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, BEN.name)
    assert askers(store.folder / run) == {ANNA.name, BEN.name}
    plain = started(store, "fp32")
    jobs.submit(PRESETS["fp32"], "mini", "intent", store, BEN.name)
    assert askers(store.folder / plain) == {OWNER.name, BEN.name}  # it does not become his


def test_a_stranger_stops_no_run(store: Store) -> None:
    run = jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, ANNA.name)
    for path in (store.folder / run / "interest").iterdir():
        os.utime(path, (1, 1))  # her browser is closed
    assert jobs.cancel(run, store, BEN.name, BEN.role) is False
    assert jobs.state(run, store).status == "queued"
    assert jobs.cancel(run, store, TEACHER.name, TEACHER.role) is True


def test_a_teacher_stops_what_others_still_look_at(store: Store) -> None:
    run = jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, ANNA.name)
    assert jobs.cancel(run, store, TEACHER.name, TEACHER.role) is True


def test_a_task_is_replaced_by_who_brought_it_or_leads(store: Store, tmp_path: Path) -> None:
    rows = "".join(
        f"{split},{code},text {i} {split} {code},{'ab'[i % 2]}\n"
        for split in ("train", "dev", "test")
        for code in ("en", "de")
        for i in range(4)
    )
    file = tmp_path / "all.csv"
    file.write_text("split,language,text,label\n" + rows)
    fields = {
        "name": "topics",
        "kind": "sentence",
        "training_language": "en",
        "columns": {n: n for n in ("split", "language", "text", "label")},
    }
    incoming = [Incoming("all.csv", file, "all", None)]
    keep(fields, incoming, who=ANNA)
    assert askers(home() / "topics") == {ANNA.name}
    with pytest.raises(UserError, match="is another's"):
        keep(fields, incoming, True, BEN)
    keep(fields, incoming, True, ANNA)
    keep(fields, incoming, True, TEACHER)
    with pytest.raises(UserError, match="is another's"):
        keep(fields, incoming, True, ANNA)

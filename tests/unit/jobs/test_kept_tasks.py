"""Deleting a task that is kept in the data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.data.kept import home, kept
from sdq.jobs import kept_tasks
from sdq.jobs.kept_tasks import delete_task
from sdq.jobs.trash import empty_trash
from sdq.jobs.unfinished import Unfinished
from sdq.jobs.wanted import Wanted
from sdq.recipe import PRESETS
from sdq.service.visitors import Visitor
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers.commands import refused, run


def keep(name: str) -> None:
    (home() / name / "all").mkdir(parents=True)
    (home() / name / "all" / "all-en.csv").write_text("text,label\na,b\n")
    (home() / name / "task.json").write_text("{}")


@pytest.fixture
def store(data: Path) -> Store:
    for name in ("films", "news"):
        keep(name)
    return Store.default()


def test_a_deleted_task_is_in_the_trash_until_that_is_emptied(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "task", "delete", "films")
    place = store.folder.parent / "trash" / "tasks" / "films"
    assert (code, out) == (0, f"films is in the trash now: {place}\n")
    assert kept() == ("news",)
    assert (place / "all" / "all-en.csv").is_file()
    keep("films")
    assert delete_task(store, "films") == place.with_name("films.2")
    assert empty_trash(store) > 0
    assert not place.parent.exists()
    assert kept() == ("news",)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("intent", "came with the project"),
        ("../tasks/news", "is not there"),
        ("x", "name one of films, news"),
    ],
)
def test_only_a_task_that_is_kept_here_can_be_deleted(
    store: Store, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert why in refused(capsys, "task", "delete", name)
    assert kept() == ("films", "news")


@pytest.mark.parametrize("status", ["queued", "running", "elsewhere"])
def test_a_task_stays_while_runs_of_it_are_computed(
    store: Store, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    wanted = Wanted(PRESETS["ptq-w4a8"], "mini", "films")
    under_way = Unfinished("0123456789ab", wanted, status, 1.0, None)  # type: ignore[arg-type]
    monkeypatch.setattr(kept_tasks, "unfinished", lambda store: [under_way])
    with pytest.raises(UserError, match="0123456789ab is under way or waits"):
        delete_task(store, "films")
    assert kept() == ("films", "news")
    delete_task(store, "news")  # another's runs do not matter


def test_a_visitor_never_deletes_a_task(store: Store) -> None:
    with pytest.raises(UserError, match="only the teacher or the owner"):
        delete_task(store, "films", Visitor("a" * 32))
    assert kept() == ("films", "news")

"""What is deleted, brought back, and may never be touched."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspection_id
from sdq.jobs import history
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from tests import made_up, made_up_inspection

OTHER = "0123456789ab"


def begun(
    store: Store, run: str = OTHER, silent: float = 0, event: dict[str, object] | None = None
) -> Path:
    """A run folder without a result, last changed `silent` seconds ago."""
    folder = store.begin(
        run,
        {"recipe": PRESETS["ptq-w3a8"].model_dump(mode="json"), "model": "mini", "task": "intent"},
    )
    if event:
        store.tell(run, event)
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - silent, time.time() - silent))
    return folder


def everything(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.lstat().st_size for p in folder.rglob("*") if p.is_file()}


def test_delete_and_undo_leave_every_byte_as_it_was(store: Store, reports: list[Report]) -> None:
    before = everything(store.folder)
    runs = [reports[0].run, reports[1].run]
    history.pin(store, runs[:1])
    history.delete(store, runs)
    assert [r.run for r in store.finished()] == [reports[2].run]
    assert (store.folder.parent / "trash" / runs[0] / "done").is_file()
    assert set(history.in_trash(store)) == set(runs)
    assert history.in_trash(store)[runs[0]] == "SDQ W3A8 on intent, seed 0"
    history.restore(store, runs)
    assert everything(store.folder) == before
    assert history.in_trash(store) == {}
    assert history.pinned(store) == (runs[0],)


def test_a_run_made_again_is_not_overwritten_by_undo(store: Store, reports: list[Report]) -> None:
    run = reports[0].run
    history.delete(store, [run])
    made_up.add(store, PRESETS["sdq-att-kld-w3a8"])
    with pytest.raises(UserError, match="made again since"):
        history.restore(store, [run])
    history.delete(store, [run])
    trash = store.folder.parent / "trash"
    assert sorted(p.name for p in trash.iterdir()) == [run, f"{run}.2"]
    history.restore(store, [run])
    assert sorted(p.name for p in trash.iterdir()) == [f"{run}.2"]


def test_the_trash_is_emptied_only_on_request_and_says_how_much(
    store: Store, reports: list[Report]
) -> None:
    size = history.disk(store).own
    history.delete(store, [reports[0].run])
    (store.folder.parent / "trash" / "notes.txt").write_text("mine")
    used = history.disk(store)
    assert used.trash > 0
    assert used.own + used.trash == size
    assert history.empty_trash(store) == used.trash
    assert history.disk(store).trash == 0
    assert (store.folder.parent / "trash" / "notes.txt").is_file()
    with pytest.raises(UserError, match="must be in the trash"):
        history.restore(store, [reports[0].run])


def test_the_trash_may_be_emptied_while_another_looks(
    store: Store, reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    history.delete(store, [report.run for report in reports[:2]])
    real = Path.is_symlink

    def gone(path: Path) -> bool:
        linked = real(path)
        if path.name == reports[0].run:
            shutil.rmtree(path, ignore_errors=True)
        return linked

    monkeypatch.setattr(Path, "is_symlink", gone)
    assert list(history.in_trash(store)) == [reports[1].run]


def test_shipped_runs_stay(store: Store, reports: list[Report], shipped: Report) -> None:
    assert store.shipped is not None
    before = everything(store.shipped)
    with pytest.raises(UserError, match="came with the project"):
        history.delete(store, [reports[0].run, shipped.run])
    assert everything(store.shipped) == before
    assert store.done(reports[0].run)  # none is moved if one must stay
    assert (history.own(store, reports[0].run), history.own(store, shipped.run)) == (True, False)


@pytest.mark.parametrize(
    "run", ["../runs", "", ".", "0123456789AB", "0123456789ab/..", "/etc/passwd00"]
)
def test_what_is_no_run_id_is_refused(store: Store, run: str) -> None:
    for change in (history.delete, history.restore):
        with pytest.raises(UserError, match="12 hexadecimal"):
            change(store, [run])
    assert not history.own(store, run)


def test_links_are_not_followed(store: Store, reports: list[Report], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "done").write_text("")
    (outside / "dear.txt").write_text("dear")
    (store.folder / OTHER).symlink_to(outside)
    with pytest.raises(UserError, match="link to another place"):
        history.delete(store, [OTHER])
    history.delete(store, [reports[0].run])
    trash = store.folder.parent / "trash"
    (trash / reports[0].run / "link").symlink_to(outside)
    (trash / "abcdefabcdef").symlink_to(outside)
    assert history.disk(store).own < 10_000_000
    history.empty_trash(store)
    assert (outside / "dear.txt").read_text() == "dear"
    (trash / "abcdefabcdef").unlink()
    trash.rmdir()
    trash.symlink_to(outside)
    with pytest.raises(UserError, match="link to another place"):
        history.delete(store, [reports[1].run])
    with pytest.raises(UserError, match="link to another place"):
        history.empty_trash(store)
    assert sorted(p.name for p in outside.iterdir()) == ["dear.txt", "done"]


def test_a_run_under_way_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(store, event={"event": "queued"})
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    jobs.queue(store).mkdir()
    (jobs.queue(store) / OTHER).touch()
    assert [(u.run, u.status, u.active, u.what) for u in history.unfinished(store)] == [
        (OTHER, "queued", True, "PTQ W3A8 on intent, seed 0")
    ]
    store.tell(OTHER, {"event": "stage", "name": "load", "text": "Reading"})
    assert history.unfinished(store)[0].status == "running"
    with pytest.raises(UserError, match="under way; cancel it"):
        history.delete(store, [OTHER])
    store.tell(OTHER, {"event": "failed", "message": "cancelled"})
    with pytest.raises(UserError, match="wait a moment"):  # not yet taken off the queue
        history.delete(store, [OTHER])
    (jobs.queue(store) / OTHER).unlink()
    history.delete(store, [OTHER])


def test_a_run_in_a_terminal_stays_until_it_is_silent(store: Store) -> None:
    folder = begun(store, silent=30)
    assert [(u.status, u.active) for u in history.unfinished(store)] == [("elsewhere", True)]
    with pytest.raises(UserError, match="may be under way in a terminal"):
        history.delete(store, [OTHER])
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert [(u.status, u.active) for u in history.unfinished(store)] == [("stopped", False)]
    history.delete(store, [OTHER])
    assert history.in_trash(store) == {OTHER: "a run without a result"}


def test_a_failed_run_says_why_and_can_go_at_once(store: Store) -> None:
    begun(store, event={"event": "failed", "message": "the loss must stay finite, it did not"})
    found = history.unfinished(store)
    assert [(u.status, u.failure, u.active) for u in found] == [
        ("failed", "the loss must stay finite, it did not", False)
    ]
    history.delete(store, [OTHER])
    assert history.unfinished(store) == []
    history.restore(store, [OTHER])
    assert history.unfinished(store)[0].status == "failed"


def test_an_unreadable_request_is_listed_too(store: Store) -> None:
    (begun(store) / "spec.json").write_text("[]")
    assert history.unfinished(store)[0].what == "a run whose request cannot be read"


def test_an_unwritable_data_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "runs", shipped=None)
    for change in (
        history.delete,
        history.restore,
        lambda s, r: history.empty_trash(s),
        lambda s, r: history.pin(s, r, False),
    ):
        with pytest.raises(UserError, match="data folder must be writable"):
            change(store, [OTHER])


def test_runs_side_by_side_are_of_one_task_and_few(store: Store) -> None:
    intent = [
        made_up.add(store, PRESETS["ptq-w3a8"].model_copy(update={"seed": seed}))
        for seed in range(6)
    ]
    slots = made_up.add(store, PRESETS["ptq-w3a8"], "slots")
    assert history.comparable([intent[0], slots, *intent[1:]]) == [r.run for r in intent[:5]]
    assert history.comparable([slots, *intent]) == [slots.run]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (1.25e9, "1.2 GB")]
)
def test_bytes_for_people(size: float, text: str) -> None:
    assert history.in_bytes(size) == text


def test_an_inspection_counts_and_goes_for_good_with_its_run(
    store: Store, reports: list[Report]
) -> None:
    before = history.disk(store).own
    gone, back, kept = (inspection_id(r.run, Inspection()) for r in reports)
    for report in reports:
        made_up_inspection.write(store, report.run)
    used = history.disk(store)
    assert used.own > before
    history.delete(store, [reports[0].run, reports[1].run])
    assert {p.name for p in store.inspections().folder.iterdir()} == {gone, back, kept}, (
        "a run that comes back has its inspection"
    )
    store.begin(reports[1].run, {})
    store.finish(reports[1], made_up.outcomes(1.0, "intent"))
    (store.inspections().folder / "0123456789ab").mkdir()  # not ours to judge
    trash, inside = (
        history.disk(store).trash,
        sum(p.stat().st_size for p in (store.inspections().folder / gone).iterdir()),
    )
    assert history.empty_trash(store) == trash + inside
    assert {p.name for p in store.inspections().folder.iterdir()} == {back, kept, "0123456789ab"}


def test_a_run_that_computes_in_silence_stays(store: Store) -> None:
    folder = begun(store, silent=5000)
    with store.alone(OTHER):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (0, 0))
        assert [(u.status, u.active) for u in history.unfinished(store)] == [("elsewhere", True)]
        with pytest.raises(UserError, match="a process computes it"):
            history.delete(store, [OTHER])
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert [(u.status, u.active) for u in history.unfinished(store)] == [("stopped", False)]
    history.delete(store, [OTHER])


@pytest.mark.parametrize("rules", [[1], "all", {"a": 1}])
def test_a_report_in_the_trash_is_read_as_one_in_the_store(
    store: Store, reports: list[Report], rules: object
) -> None:
    history.delete(store, [reports[0].run])
    path = store.folder.parent / "trash" / reports[0].run / "report.json"
    said = json.loads(path.read_text())
    said["recipe"]["rules"] = rules
    path.write_text(json.dumps(said))
    assert history.in_trash(store) == {reports[0].run: "a run without a result"}

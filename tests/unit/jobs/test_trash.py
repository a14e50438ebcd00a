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
from sdq.jobs import data_folder, history, trash
from sdq.jobs import queue as jobs
from sdq.jobs.unfinished import unfinished
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection

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
    trash.delete(store, runs)
    assert [r.run for r in store.finished()] == [reports[2].run]
    assert (store.folder.parent / "trash" / runs[0] / "done").is_file()
    assert set(trash.in_trash(store)) == set(runs)
    assert trash.in_trash(store)[runs[0]] == "SDQ W3A8 on intent, seed 0"
    trash.restore(store, runs)
    assert everything(store.folder) == before
    assert trash.in_trash(store) == {}
    assert history.pinned(store) == (runs[0],)


def test_a_run_made_again_is_not_overwritten_by_undo(store: Store, reports: list[Report]) -> None:
    run = reports[0].run
    trash.delete(store, [run])
    made_up.add(store, PRESETS["sdq-att-kld-w3a8"])
    with pytest.raises(UserError, match="made again since"):
        trash.restore(store, [run])
    trash.delete(store, [run])
    bin_folder = store.folder.parent / "trash"
    assert sorted(p.name for p in bin_folder.iterdir()) == [run, f"{run}.2"]
    trash.restore(store, [run])
    assert sorted(p.name for p in bin_folder.iterdir()) == [f"{run}.2"]


def test_the_trash_is_emptied_only_on_request_and_says_how_much(
    store: Store, reports: list[Report]
) -> None:
    size = data_folder.disk(store).own
    trash.delete(store, [reports[0].run])
    (store.folder.parent / "trash" / "notes.txt").write_text("mine")
    used = data_folder.disk(store)
    assert used.trash > 0
    assert used.own + used.trash == size
    assert trash.empty_trash(store) == used.trash
    assert data_folder.disk(store).trash == 0
    assert (store.folder.parent / "trash" / "notes.txt").is_file()
    with pytest.raises(UserError, match="must be in the trash"):
        trash.restore(store, [reports[0].run])


def test_the_trash_may_be_emptied_while_another_looks(
    store: Store, reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    trash.delete(store, [report.run for report in reports[:2]])
    real = Path.is_symlink

    def gone(path: Path) -> bool:
        linked = real(path)
        if path.name == reports[0].run:
            shutil.rmtree(path, ignore_errors=True)
        return linked

    monkeypatch.setattr(Path, "is_symlink", gone)
    assert list(trash.in_trash(store)) == [reports[1].run]


def test_shipped_runs_stay(store: Store, reports: list[Report], shipped: Report) -> None:
    assert store.shipped is not None
    before = everything(store.shipped)
    with pytest.raises(UserError, match="came with the project"):
        trash.delete(store, [reports[0].run, shipped.run])
    assert everything(store.shipped) == before
    assert store.done(reports[0].run)  # none is moved if one must stay
    assert (history.own(store, reports[0].run), history.own(store, shipped.run)) == (True, False)


@pytest.mark.parametrize(
    "run", ["../runs", "", ".", "0123456789AB", "0123456789ab/..", "/etc/passwd00"]
)
def test_what_is_no_run_id_is_refused(store: Store, run: str) -> None:
    for change in (trash.delete, trash.restore):
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
        trash.delete(store, [OTHER])
    trash.delete(store, [reports[0].run])
    bin_folder = store.folder.parent / "trash"
    (bin_folder / reports[0].run / "link").symlink_to(outside)
    (bin_folder / "abcdefabcdef").symlink_to(outside)
    assert data_folder.disk(store).own < 10_000_000
    trash.empty_trash(store)
    assert (outside / "dear.txt").read_text() == "dear"
    (bin_folder / "abcdefabcdef").unlink()
    bin_folder.rmdir()
    bin_folder.symlink_to(outside)
    with pytest.raises(UserError, match="link to another place"):
        trash.delete(store, [reports[1].run])
    with pytest.raises(UserError, match="link to another place"):
        trash.empty_trash(store)
    assert sorted(p.name for p in outside.iterdir()) == ["dear.txt", "done"]


def test_a_run_under_way_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(store, event={"event": "queued"})
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    jobs.queue(store).mkdir()
    (jobs.queue(store) / OTHER).touch()
    assert [(u.run, u.status, u.active, u.what) for u in unfinished(store)] == [
        (OTHER, "queued", True, "PTQ W3A8 on intent, seed 0")
    ]
    store.tell(OTHER, {"event": "stage", "name": "load", "text": "Reading"})
    assert unfinished(store)[0].status == "running"
    with pytest.raises(UserError, match="under way; cancel it"):
        trash.delete(store, [OTHER])
    store.tell(OTHER, {"event": "failed", "message": "cancelled"})
    with pytest.raises(UserError, match="wait a moment"):  # not yet taken off the queue
        trash.delete(store, [OTHER])
    (jobs.queue(store) / OTHER).unlink()
    trash.delete(store, [OTHER])


def test_a_run_in_a_terminal_stays_until_it_is_silent(store: Store) -> None:
    folder = begun(store, silent=30)
    assert [(u.status, u.active) for u in unfinished(store)] == [("elsewhere", True)]
    with pytest.raises(UserError, match="may be under way in a terminal"):
        trash.delete(store, [OTHER])
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert [(u.status, u.active) for u in unfinished(store)] == [("stopped", False)]
    trash.delete(store, [OTHER])
    assert trash.in_trash(store) == {OTHER: "a run without a result"}


def test_a_failed_run_says_why_and_can_go_at_once(store: Store) -> None:
    begun(store, event={"event": "failed", "message": "the loss must stay finite, it did not"})
    found = unfinished(store)
    assert [(u.status, u.failure, u.active) for u in found] == [
        ("failed", "the loss must stay finite, it did not", False)
    ]
    trash.delete(store, [OTHER])
    assert unfinished(store) == []
    trash.restore(store, [OTHER])
    assert unfinished(store)[0].status == "failed"


def test_an_unreadable_request_is_listed_too(store: Store) -> None:
    (begun(store) / "spec.json").write_text("[]")
    assert unfinished(store)[0].what == "a run whose request cannot be read"


def test_an_unwritable_data_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "runs", shipped=None)
    for change in (
        trash.delete,
        trash.restore,
        lambda s, r: trash.empty_trash(s),
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
    assert data_folder.in_bytes(size) == text


def test_an_inspection_counts_and_goes_for_good_with_its_run(
    store: Store, reports: list[Report]
) -> None:
    before = data_folder.disk(store).own
    gone, back, kept = (inspection_id(r.run, Inspection()) for r in reports)
    for report in reports:
        made_up_inspection.write(store, report.run)
    used = data_folder.disk(store)
    assert used.own > before
    trash.delete(store, [reports[0].run, reports[1].run])
    assert {p.name for p in store.inspections().folder.iterdir()} == {gone, back, kept}, (
        "a run that comes back has its inspection"
    )
    store.begin(reports[1].run, {})
    store.finish(reports[1], made_up.outcomes(1.0, "intent"))
    (store.inspections().folder / "0123456789ab").mkdir()  # not ours to judge
    freed, inside = (
        data_folder.disk(store).trash,
        sum(p.stat().st_size for p in (store.inspections().folder / gone).iterdir()),
    )
    assert trash.empty_trash(store) == freed + inside
    assert {p.name for p in store.inspections().folder.iterdir()} == {back, kept, "0123456789ab"}


def test_a_run_that_computes_in_silence_stays(store: Store) -> None:
    folder = begun(store, silent=5000)
    with store.alone(OTHER):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (0, 0))
        assert [(u.status, u.active) for u in unfinished(store)] == [("elsewhere", True)]
        with pytest.raises(UserError, match="a process computes it"):
            trash.delete(store, [OTHER])
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert [(u.status, u.active) for u in unfinished(store)] == [("stopped", False)]
    trash.delete(store, [OTHER])


@pytest.mark.parametrize("rules", [[1], "all", {"a": 1}])
def test_a_report_in_the_trash_is_read_as_one_in_the_store(
    store: Store, reports: list[Report], rules: object
) -> None:
    trash.delete(store, [reports[0].run])
    path = store.folder.parent / "trash" / reports[0].run / "report.json"
    said = json.loads(path.read_text())
    said["recipe"]["rules"] = rules
    path.write_text(json.dumps(said))
    assert trash.in_trash(store) == {reports[0].run: "a run without a result"}

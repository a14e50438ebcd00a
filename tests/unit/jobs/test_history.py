"""The list of runs: order, search, pins, the trash, and what may never be touched."""

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

NAMES = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")
OTHER = "0123456789ab"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "runs", shipped=tmp_path / "shipped")


@pytest.fixture
def reports(store: Store) -> list[Report]:
    """Three own runs, the last of NAMES the newest."""
    made = [made_up.add(store, PRESETS[name]) for name in NAMES]
    for age, report in enumerate(reversed(made)):
        os.utime(store.folder / report.run / "done", (1e9 - age, 1e9 - age))
    return store.finished()


@pytest.fixture
def shipped(store: Store) -> Report:
    assert store.shipped is not None
    return made_up.add(Store(store.shipped, None), PRESETS["qat-w3a8"], "slots")


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


def test_rows_say_what_the_reports_say_newest_first(
    store: Store, reports: list[Report], shipped: Report
) -> None:
    table = history.rows(store.finished(), store)
    assert set(table["state"]) == {"whole"}
    assert list(table["recipe"]) == ["sdq-att-kld-w3a8", "ptq-w3a8", "fp32", "qat-w3a8"]
    assert list(table["origin"]) == ["own"] * 3 + ["shipped"]
    assert table["made"].isna().tolist() == [False] * 3 + [True]
    for row, report in zip(table.itertuples(), [*reports, shipped], strict=True):
        assert (row.run, row.method, row.score) == (
            report.run,
            report.method,
            pytest.approx(100 * report.quantized.zero_shot_mean),
        )
        assert row.seconds == sum(report.seconds.values())
        assert (
            row.size_mb
            == report.size_bytes["quantized_simulated" if report.recipe["rules"] else "fp32"] / 1e6
        )
    assert str(table["made"][0])[:10] == "2001-09-09"
    text = history.reading(table)
    assert "4 finished runs: 3 of your own, 1 that came" in text
    assert f"SDQ W3A8 on intent, {100 * reports[0].quantized.zero_shot_mean:.1f} %" in text


def test_without_runs_there_is_an_empty_table(store: Store) -> None:
    table = history.rows([], store)
    assert table.empty
    assert history.reading(table) == "No run is finished yet."
    assert history.unfinished(store) == []
    assert history.disk(store).own == history.disk(store).trash == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 4),
        ("sdq", 1),
        ("SDQ Intent", 1),
        ("w3a8", 3),
        ("w3a8 slots", 1),
        ("sdq slots", 0),
        ("shipped", 1),
        ("seed 0", 4),
        ("2001-09-09 ptq", 1),
        ("  ", 4),
    ],
)
def test_every_word_of_a_search_must_occur(
    store: Store, reports: list[Report], shipped: Report, text: str, expected: int
) -> None:
    table = history.rows(store.finished(), store)
    found = history.matching(table, text)
    assert len(found) == expected
    assert list(found.columns) == list(table.columns)


def test_filters_and_search_hold_together(
    store: Store, reports: list[Report], shipped: Report
) -> None:
    table = history.rows(store.finished(), store)
    assert set(history.matching(table, tasks=["slots"])["method"]) == {"QAT"}
    assert set(history.matching(table, "w3a8", methods=["PTQ", "QAT"])["method"]) == {"PTQ", "QAT"}
    assert history.matching(table, tasks=["slots"], methods=["PTQ"]).empty


def test_pins_stand_first_and_stay(store: Store, reports: list[Report]) -> None:
    oldest = reports[-1].run
    history.pin(store, [oldest])
    table = history.rows(store.finished(), store)
    assert (table["run"][0], bool(table["pinned"][0])) == (oldest, True)
    assert "pinned" not in table["run"].tolist()
    assert len(history.matching(table, "pinned")) == 1
    history.pin(store, [oldest, reports[0].run])
    assert json.loads((store.folder.parent / "pins.json").read_text()) == [oldest, reports[0].run]
    history.pin(store, [oldest], on=False)
    assert history.pinned(store) == (reports[0].run,)
    assert sorted(p.name for p in store.folder.parent.iterdir()) == [
        "history.lock",
        "pins.json",
        "runs",
    ]


@pytest.mark.parametrize("text", ["", "{", "3", '{"a": 1}', '["../../x", 5, null]', "\xff"])
def test_a_broken_file_of_pins_is_no_pins(store: Store, reports: list[Report], text: str) -> None:
    (store.folder.parent / "pins.json").write_text(text, "latin-1")
    assert history.pinned(store) == ()
    history.pin(store, [reports[0].run])
    assert history.pinned(store) == (reports[0].run,)


def test_only_finished_runs_can_be_pinned(store: Store) -> None:
    with pytest.raises(UserError, match="must be finished to be pinned"):
        history.pin(store, [OTHER])
    with pytest.raises(UserError, match="12 hexadecimal"):
        history.pin(store, ["../../etc"])


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

"""A store that survives: lines, reports and tables that cannot be read cost themselves alone,
and are named with the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdq.inspection.settings import Inspection
from sdq.inspection.storage import damage, damaged, inspection_id, missing, paths, read
from sdq.io import events
from sdq.jobs import history, questions, trash
from sdq.jobs import queue as jobs
from sdq.jobs.unfinished import unfinished
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import ASSETS, UserError
from sdq.store import SHIPPED, Store

pytestmark = pytest.mark.usefixtures("nobody_works")
RUN = "0e16b6a1c9d9"  # a shipped one
LOOKED = "08eac5c0be6e"  # a shipped one with an inspection
NEW = "0123456789ab"
BAD = {
    "half": b'{"time": 1.0, "event": "st',
    "zeros": b"\0" * 40,
    "no text": b"\xff\xfe\x80",
    "no object": b"[1, 2]",
    "a number": b"7",
    "no event": b'{"time": 1.0}',
    "event is no text": b'{"event": 3}',
    "step without its step": b'{"event": "step", "of": 10}',
    "not finite": b'{"event": "check", "step": 1, "of": 2, "dev": NaN}',
    "failed without why": b'{"event": "failed"}',
    "deep": b"[" * 100_000,
    "a huge number": b'{"event": "step", "step": 1e999, "of": 1}',
    "settings that are none": b'{"event": "analysed", "name": "a", "seconds": 1, "settings": [], '
    b'"model": "m", "task": "t"}',
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("last", [False, True], ids=["within", "at the end"])
def test_a_bad_line_costs_itself_and_blocks_nothing(store: Store, line: bytes, last: bool) -> None:
    folder = store.begin(
        NEW,
        {"recipe": PRESETS["ptq-w3a8"].model_dump(mode="json"), "model": "mini", "task": "intent"},
    )
    store.tell(NEW, {"event": "stage", "name": "load", "text": "Reading"})
    with (folder / "events.jsonl").open("ab") as log:
        log.write(line + (b"" if last else b"\n"))
    store.tell(NEW, {"event": "failed", "message": "the disk was full"})
    assert [e["event"] for e in store.events(NEW)] == ["stage", "failed"], (
        "what comes after it is not glued to it"
    )
    assert store.lost(NEW) == 1
    assert jobs.state(NEW, store).status == "failed"
    assert [u.failure for u in unfinished(store)] == ["the disk was full"]
    store.begin(NEW, {})  # a new try starts a new log
    assert store.lost(NEW) == 0
    store.tell(NEW, {"event": "failed", "message": "again"})
    trash.delete(store, [NEW])


def test_a_log_that_is_being_written_lacks_nothing(store: Store) -> None:
    folder = store.begin(NEW, {})
    (folder / "events.jsonl").write_bytes(b'{"event": "queued"}\n{"event": "st')
    assert [e["event"] for e in store.events(NEW)] == ["queued"]
    assert store.lost(NEW) == 0
    assert events.read(folder / "none.jsonl") == events.read(folder) == []


def changed(**changes: Any) -> dict[str, Any]:
    return json.loads((SHIPPED / RUN / "report.json").read_text()) | changes


def of_an_earlier_version(home: Path) -> None:
    """Make a finished run as it was before `done` held sums: that is empty, the engine older."""
    report = json.loads((home / "report.json").read_text())
    report["provenance"].pop("engine", None)
    (home / "report.json").write_text(json.dumps(report))
    (home / "done").write_text("")


SCORES = json.loads((SHIPPED / RUN / "report.json").read_text())["quantized"]
WRONG: dict[str, dict[str, Any]] = {
    "recipe": {"recipe": {}},
    "another recipe": {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json")},
    "recipe with a field more": {"recipe": changed()["recipe"] | {"x": 1}},
    "sizes": {"size_bytes": {}},
    "a negative size": {"size_bytes": {"fp32": -1, "quantized_simulated": 5}},
    "no size": {"size_bytes": {"fp32": 9, "quantized_simulated": 0}},
    "metric": {"metric": "bleu"},
    "metric beside": {"beside": {"bleu": [SCORES, SCORES]}},
    "above one": {"quantized": SCORES | {"mean": 1.2}},
    "below zero": {"quantized": SCORES | {"zero_shot_mean": -0.1}},
    "no number": {"quantized": SCORES | {"mean": "NaN"}},
    "a language": {"quantized": SCORES | {"by_language": SCORES["by_language"] | {"en": 7.0}}},
    "languages": {"reference": SCORES | {"by_language": {"en": 0.5}}},
    "no languages": {"quantized": SCORES | {"by_language": {}}},
    "seconds": {"seconds": {"load": -3.0}},
    "history": {"history": {"steps": [{"loss": 1.0}], "checks": [], "kept": 0}},
    "another run": {"run": NEW},
    "method": {"method": "SDQ"},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_a_report_out_of_its_bounds_is_left_out_and_counted(
    store: Store, changes: dict[str, Any]
) -> None:
    """Also where an earlier version wrote the marker, so that no sum tells."""
    (store.folder / RUN / "report.json").write_text(json.dumps(changed(**changes)))
    for older in (False, True):
        if older:
            of_an_earlier_version(store.folder / RUN)
        assert store.finished() == []
        assert list(store.damaged()) == [RUN]
        assert "report.json" in store.damaged()[RUN]
        with pytest.raises(
            UserError, match=r"report\.json of run .* damaged.*run its recipe again"
        ):
            store.report(RUN)
    trash.delete(store, [RUN])
    assert trash.in_trash(store).keys() == {RUN}


def test_every_shipped_report_is_in_its_bounds() -> None:
    shipped = Store(Path("/nowhere/runs"), SHIPPED)
    assert len(shipped.finished()) == len(shipped.listing())
    assert shipped.damaged(weights=True) == {}
    assert (
        Report.model_validate_json(shipped.finished()[0].model_dump_json()) == shipped.finished()[0]
    )


@pytest.mark.parametrize("marker", [True, False], ids=["sealed", "of an earlier version"])
@pytest.mark.parametrize("spoil", [b"", b"garbage" * 9, None, "half", "columns"], ids=str)
def test_a_table_that_is_none_is_one_sentence(
    store: Store, spoil: bytes | str | None, marker: bool
) -> None:
    path = store.folder / RUN / "sentences.parquet"
    if not marker:
        of_an_earlier_version(store.folder / RUN)
    if spoil is None:
        path.unlink()
    elif spoil == "columns":
        pd.DataFrame({"id": ["a"]}).to_parquet(path)
    else:
        path.write_bytes(path.read_bytes()[:2000] if isinstance(spoil, str) else spoil)
    with pytest.raises(UserError, match=r"sentences\.parquet of run .*; run its recipe again"):
        store.sentences(RUN)
    assert [r.run for r in store.finished()] == [RUN], "the scores are whole"


def test_a_damaged_run_is_computed_anew_and_set_aside(store: Store) -> None:
    home = store.folder / RUN
    (home / "job.json").write_text("{}")
    (home / "depth.parquet").write_bytes(b"x")
    assert not store.done(RUN)
    assert jobs.state(RUN, store).status == "failed"
    assert "depth.parquet" in (jobs.state(RUN, store).failure or "")
    assert "depth.parquet" in (store.set_aside(RUN) or "")
    assert [p.name for p in home.iterdir()] == ["job.json"], "what the job needs stays"
    assert {"done", "report.json", "depth.parquet"} <= {
        p.name for p in (store.folder.parent / "damaged" / RUN).iterdir()
    }
    assert store.set_aside(RUN) is None
    assert store.listing() == ()


IN_THE_WAY = ["done", "report.json", "events.jsonl", "spec.json", "sentences.parquet"]


@pytest.mark.parametrize("name", IN_THE_WAY)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "not begun"])
def test_a_folder_in_the_place_of_a_file_blocks_no_run(
    store: Store, name: str, finished: bool
) -> None:
    report, sentences = store.report(RUN), store.sentences(RUN)
    home = store.folder / RUN
    if not finished:
        shutil.rmtree(home)
    (home / name).unlink(missing_ok=True)
    (home / name / "x").mkdir(parents=True)
    if name != "events.jsonl":  # a log is no result
        assert not store.done(RUN)
    assert [u.run for u in unfinished(store)] == ([RUN] if name == "done" or not finished else [])
    said = store.set_aside(RUN)
    assert said is not None
    assert f"{name} of run {RUN}" in said
    assert "it is a folder; run its recipe again" in said
    assert (store.folder.parent / "damaged" / RUN / name / "x").is_dir()
    store.begin(RUN, {})
    store.tell(RUN, {"event": "queued"})
    store.finish(report, sentences)
    assert store.done(RUN)


def test_a_run_can_be_asked_for_where_its_log_is_a_folder(store: Store) -> None:
    (store.folder / NEW / "events.jsonl").mkdir(parents=True)
    jobs._want(NEW, PRESETS["fp32"], {"model": "mini", "task": "intent"}, store, "local")
    assert jobs.state(NEW, store).status == "queued"


def test_a_shipped_copy_takes_the_place_of_a_damaged_one(store: Store) -> None:
    both = Store(store.folder, SHIPPED)
    for name in ("report.json", "sentences.parquet"):
        (store.folder / RUN / name).write_bytes(b"x")
    assert both.report(RUN).run == RUN
    assert len(both.sentences(RUN)) > 1000
    assert both.done(RUN)


def test_a_shipped_run_without_sums_is_damaged(store: Store, tmp_path: Path) -> None:
    of_an_earlier_version(store.folder / RUN)
    assert store.done(RUN), "an earlier version of ours wrote no sums"
    shipped = Store(tmp_path / "none", store.folder)
    with pytest.raises(UserError, match=r"done of run .* damaged"):
        shipped.report(RUN)


@pytest.mark.parametrize("engine", [2, 99, None, "1"])
def test_an_emptied_marker_is_damage_and_not_an_earlier_version(
    store: Store, engine: object
) -> None:
    """Runs of this engine have sums in theirs: without them no flip in a score would be known."""
    home = store.folder / RUN
    report = json.loads((home / "report.json").read_text())
    report["provenance"]["engine"] = engine
    (home / "report.json").write_text(json.dumps(report))
    (home / "done").write_text("")
    assert not store.done(RUN)
    assert "done of run" in (store.damage(RUN) or "")
    with pytest.raises(UserError, match=r"done of run .* it does not say what was written"):
        store.report(RUN)
    assert "done of run" in (store.set_aside(RUN) or "")
    assert not (home / "report.json").exists()


def test_an_emptied_seal_of_an_inspection_is_damage(store: Store) -> None:
    home = store.inspections().folder / inspection_id(LOOKED, Inspection())
    shutil.copytree(ASSETS / "inspections" / home.name, home)
    (home / "sealed.json").write_text("")
    assert paths(LOOKED, store) == {}
    assert "sealed.json" in damage(LOOKED, store)["words"]
    assert home.name in damaged(store)


def test_damaged_tables_of_an_inspection_are_missing_and_told(store: Store) -> None:
    home = store.inspections().folder / inspection_id(LOOKED, Inspection())
    shutil.copytree(ASSETS / "inspections" / home.name, home)
    assert (damage(LOOKED, store), missing(LOOKED, store)) == ({}, [])
    whole = (home / "words.parquet").read_bytes()
    (home / "words.parquet").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert missing(LOOKED, store) == ["attribution"]
    assert "words" not in paths(LOOKED, store)
    with pytest.raises(
        UserError, match=r"words\.parquet of the inspection of run .*look into the run again"
    ):
        read(LOOKED, store)
    assert [*damage(LOOKED, store)] == ["words"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"runs": 3}', "\0\0\0", "7"])
def test_other_files_that_cannot_be_read_block_nothing(store: Store, text: str) -> None:
    data, folder = store.folder.parent, store.begin(NEW, {})
    for path in (
        folder / "job.json",
        folder / "request.json",
        folder / "spec.json",
        data / "pins.json",
        data / "moves.json",
    ):
        path.write_text(text)
    assert jobs.request(NEW, store) is None
    assert history.pinned(store) == ()
    assert [u.what for u in unfinished(store)] == ["a run whose request cannot be read"]
    key = "0123456789abcdef"
    (data / "asked").mkdir()
    (data / "asked" / f"{key}.answer.json").write_text(text)
    if text != "[]":
        with pytest.raises(UserError, match="ask again"):
            questions.answered(key, store)
        with pytest.raises(UserError, match="gone without one; ask again"):  # it is not met again
            questions.answered(key, store)
    store.tell(NEW, {"event": "failed", "message": "it was"})
    trash.delete(store, [NEW])
    assert trash.in_trash(store).keys() == {NEW}

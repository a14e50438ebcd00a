"""Moves that were cut off, processes that share a store, and the order of runs."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sdq.io import files, sealed
from sdq.jobs import history, trash
from sdq.models.checkpoint import tuned
from sdq.store import SHIPPED, Store

pytestmark = pytest.mark.usefixtures("nobody_works")
RUN = "0e16b6a1c9d9"  # a shipped one
NEW = "0123456789ab"


def test_moves_that_a_kill_cut_off_are_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store.folder / NEW
    store.begin(NEW, {})
    store.tell(NEW, {"event": "failed", "message": "it was"})
    real, moved = Path.rename, []

    def once(self: Path, target: Any) -> Path:
        if moved and "trash" in str(target):
            raise KeyboardInterrupt
        moved.append(self)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(KeyboardInterrupt):
        trash.delete(store, [RUN, NEW])
    monkeypatch.setattr(Path, "rename", real)
    assert (store.folder / RUN).exists() != other.exists(), "one of two was moved"
    history.pin(store, [], on=False)  # any change
    assert trash.in_trash(store).keys() == {RUN, NEW}
    assert not (store.folder.parent / "moves.json").exists()


def test_moves_lead_nowhere_else(store: Store, tmp_path: Path) -> None:
    (tmp_path / "dear").mkdir()
    (store.folder.parent / "moves.json").write_text(
        json.dumps(
            [
                ["../dear", "trash/0123456789ab"],
                ["runs/" + RUN, "../gone"],
                ["runs/" + RUN, "../0123456789ab"],
            ]
        )
    )
    history.pin(store, [], on=False)
    assert (tmp_path / "dear").is_dir()
    assert (store.folder / RUN).is_dir()


def test_one_process_computes_and_the_next_waits(tmp_path: Path) -> None:
    """The lock goes with whoever has it; part files of the dead are taken away, what others write
    is not."""
    folder, told = tmp_path / "run", []
    folder.mkdir()
    for name in ("weights.parquet.1-1.part", "request.json.1-1.part"):
        (folder / name).write_text("")

    def second() -> None:
        with files.alone(folder, lambda: told.append("waits")):
            told.append("second")

    with files.alone(folder):
        assert sorted(p.name for p in folder.iterdir()) == [".lock", "request.json.1-1.part"]
        other = threading.Thread(target=second)
        other.start()
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            time.sleep(0.01)
        told.append("first")
    other.join(10)
    assert told == ["waits", "first", "second"]
    assert [p.name for p in folder.iterdir()] == ["request.json.1-1.part"]


def test_a_seal_tells_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    sealed.write(tmp_path / "seal", ["a"])
    sums = sealed.read(tmp_path / "seal")
    assert sealed.fault(tmp_path / "a", sums) is None
    assert sealed.fault(tmp_path / "b", sums) == "it is not there"
    os.utime(tmp_path / "a", (0, 0))
    (tmp_path / "a").write_text("two")
    assert "SHA-256" in (sealed.fault(tmp_path / "a", sums) or "")
    (tmp_path / "a").write_text("three")
    assert sealed.fault(tmp_path / "a", sums) == "it has 5 bytes, 3 were written"
    for text in ("x", "[]", "[" * 100_000, "{}", '{"format": 2, "files": {}, "sha256": ""}', "\0"):
        (tmp_path / "seal").write_text(text)
        with pytest.raises(ValueError):
            sealed.read(tmp_path / "seal")


def test_a_card_without_base_and_task_is_no_model_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path))
    for name, card in {
        "a": {},
        "b": {"base": "mini"},
        "c": {"base": 1, "task": "intent"},
        "d": {"base": "mini", "task": "intent"},
    }.items():
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "finetuning.json").write_text(json.dumps(card))
    assert [folder.name for folder, _ in tuned()] == ["d"]


def test_runs_of_one_time_stand_by_task_width_method_and_seed(tmp_path: Path) -> None:
    """Shipped runs have the times of a checkout, which say nothing."""
    found = Store(tmp_path / "data" / "runs").finished()
    assert len(found) == len(list(SHIPPED.glob("*/done")))
    plain = [
        (
            r.on,
            r.recipe["rules"][0]["weight"]["bits"] if r.recipe["rules"] else 32,
            r.method,
            r.recipe["seed"],
        )
        for r in found
        if r.model == "mini"  # of midi one width has several schemes
    ]
    assert plain == sorted(plain, key=lambda row: (row[0], -row[1], *row[2:]))
    shutil.copytree(SHIPPED / RUN, tmp_path / "data" / "runs" / RUN)
    assert Store(tmp_path / "data" / "runs").finished()[0].run == RUN, "an own one is newer"

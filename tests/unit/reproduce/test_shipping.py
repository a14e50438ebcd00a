"""What ships is written small without changing a number, and inspections come along with the runs
they are of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from sdq.inspection import storage as inspection
from sdq.inspection.registry import Analysis
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspect, inspection_id, missing, read
from sdq.jobs.estimate import analyses
from sdq.recipe import PRESETS
from sdq.reproduce import plan, shipping
from sdq.results import Report
from sdq.settings import ASSETS
from sdq.store import Store, seal, write
from tests.helpers import made_up


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """Shipped runs as other versions wrote them, and the encoder's tokenizer."""
    assets = tmp_path / "assets"
    shutil.copytree(
        ASSETS / "mini" / "encoder",
        assets / "mini" / "encoder",
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    tokenizer = assets / "mini" / "encoder" / "tokenizer.json"
    tokenizer.write_text(
        json.dumps(json.loads(tokenizer.read_text()), indent=2, ensure_ascii=False)
    )
    store = Store(assets / "runs", shipped=None)
    for preset in ("fp32", "ptq-w3a8"):
        made_up.add(store, PRESETS[preset])
    for path in assets.rglob("*.parquet"):
        pd.read_parquet(path).to_parquet(path, compression="zstd", index=False)
    for home in (assets / "runs").iterdir():
        seal(home)
    return assets


def test_tables_become_smaller_and_stay_the_same(assets: Path) -> None:
    paths = sorted(assets.rglob("*.parquet"))
    before = {path: (path.stat().st_size, pd.read_parquet(path)) for path in paths}
    others = {p: p.read_bytes() for p in assets.rglob("*.json") if p.name != "tokenizer.json"}
    saved = shipping.compact(assets)
    after = {path: path.stat().st_size for path in paths}
    assert all(after[path] <= before[path][0] for path in paths)
    tables = sum(before[path][0] - after[path] for path in paths)
    assert tables > 0.1 * sum(size for size, _ in before.values())
    assert saved > tables, "the tokenizer as well"
    for path in paths:
        pd.testing.assert_frame_equal(pd.read_parquet(path), before[path][1], check_exact=True)
    assert sorted(assets.rglob("*.parquet")) == paths
    assert not list(assets.rglob("*.smaller"))
    assert {p: p.read_bytes() for p in others} == others
    assert shipping.compact(assets) == 0, "twice is once"


def test_a_disk_that_refuses_leaves_what_shipped_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, assets = Store(tmp_path / "data" / "runs", None), tmp_path / "assets"
    monkeypatch.setattr(shipping, "SHIPPED", assets)
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    shipping.ship(store, {run: True})
    before = {path: path.read_bytes() for path in (assets / run).iterdir()}

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        shipping.ship(store, {run: True})
    assert {path: path.read_bytes() for path in (assets / run).iterdir()} == before


def test_what_a_look_inside_showed_is_taken_out_where_it_does_not_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, assets = Store(tmp_path / "data" / "runs", None), tmp_path / "assets"
    monkeypatch.setattr(shipping, "SHIPPED", assets)
    run = made_up.add(store, PRESETS["ptq-w3a8"]).run
    shipping.ship(store, {run: True})
    assert (assets / run / "weights.parquet").is_file()
    for shipped in (store, Store(tmp_path / "other" / "runs", assets)):  # as it is made, and later
        shipping.ship(shipped, {run: False})
        names = {path.name for path in (assets / run).iterdir()}
        assert names == {"spec.json", "report.json", "sentences.parquet", "done"}
        assert Store(tmp_path / "other" / "runs", assets).damage(run) is None


def test_the_tokenizer_stays_the_same(assets: Path) -> None:
    shipping.compact(assets)
    text = "wecke mich um sieben ปลุกฉันตอนเจ็ดโมง"
    small, full = (
        AutoTokenizer.from_pretrained(folder / "mini" / "encoder") for folder in (assets, ASSETS)
    )
    assert small(text)["input_ids"] == full(text)["input_ids"]


def test_a_table_that_would_change_is_left_alone(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "write", lambda table, path: write(table.head(1), path))
    before = {path: path.read_bytes() for path in assets.rglob("*.parquet")}
    with pytest.raises(AssertionError):
        shipping.compact(assets)
    assert {path: path.read_bytes() for path in before} == before


def test_what_the_store_writes_is_what_it_was_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "a": [1, 2],
            "b": [0.1, np.nan],
            "c": ["x", None],
            "d": [True, False],
            "e": [rng.normal(size=3).astype("float32"), None],
            "f": [np.array([1, 2], "int32"), np.array([], "int32")],
            "g": [["p", "q"], []],
            "h": np.array([1, 2], "float32"),
        }
    )
    write(table, tmp_path / "t.parquet")
    table.to_parquet(tmp_path / "plain.parquet", index=False)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "t.parquet"),
        pd.read_parquet(tmp_path / "plain.parquet"),
        check_exact=True,
    )
    write(table.head(0), tmp_path / "none.parquet")
    assert len(pd.read_parquet(tmp_path / "none.parquet")) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"t.parquet", "plain.parquet", "none.parquet"}


def test_inspections_ship_with_their_times_and_replace_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "data" / "runs", tmp_path / "assets" / "runs")
    reports: dict[str, Report] = {
        name: made_up.add(store, PRESETS[name]) for name in ("ptq-w3a8", "ptq-int8-dynamic")
    }
    monkeypatch.setattr(shipping, "MINI", replace(plan.MINI, inspected=tuple(reports)))
    monkeypatch.setattr(plan, "identify", lambda recipe, model, task: reports[recipe.name].run)
    done: list[str] = []

    def compute(subject: Any, how: Inspection) -> dict[str, pd.DataFrame]:
        done.append("a")
        return {"a": pd.DataFrame({"value": [len(done)]})}

    found = {"first": Analysis("First", ("a",), compute)}
    for module in (inspection, shipping):
        monkeypatch.setattr(module, "ANALYSES", found)
    monkeypatch.setattr(
        "sdq.inspection.subject.Subject.of_run",
        lambda report, store, sentences: SimpleNamespace(tables={}),
    )
    place = tmp_path / "assets" / "inspections"
    (place / "0123456789ab").mkdir(parents=True)
    shipping.ship_inspections(store, place)
    assert {p.name for p in place.iterdir()} == {
        inspection_id(r.run, Inspection()) for r in reports.values()
    }
    assert all(
        {p.name for p in home.iterdir()}
        == {"a.parquet", "spec.json", "events.jsonl", "sealed.json"}
        for home in place.iterdir()
    )
    shipping.ship_inspections(store, place)
    assert done == ["a", "a"], "what was found is not computed again"
    shutil.rmtree(store.inspections().folder)
    run = reports["ptq-w3a8"].run
    assert read(run, store)["a"]["value"].tolist() == [1]
    assert not missing(run, store)
    assert analyses(["first"], reports["ptq-w3a8"], store, Inspection()) is not None
    shipping.ship_inspections(store, place)
    assert read(run, store)["a"]["value"].tolist() == [1], "what ships can be shipped again"
    assert all(
        json.loads((home / "spec.json").read_text())["inspects"]
        in {r.run for r in reports.values()}
        for home in place.iterdir()
    )
    found["second"] = Analysis("Second", ("b",), lambda subject, how: {"b": subject.tables["a"]})
    inspect(run, store)
    assert set(read(run, store)) == {"a", "b"}, (
        "an analysis added later is computed for a shipped run"
    )

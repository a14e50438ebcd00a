"""What was found is given out with the numbers of the stored tables: as JSON, CSV, and web pages
that need no network."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sdq.inspection.diagnosis import diagnose
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import read
from sdq.recipe import PRESETS
from sdq.reporting import export as findings
from sdq.reporting import inspected
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import TABLES, Store
from tests.helpers import made_up, made_up_inspection, made_up_sensitivity

OPENS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "use": "href",
}  # what a browser loads by itself


class Links(HTMLParser):
    """Links, what is loaded, headings and the number of table rows of a page; complains about tags
    that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.order: list[str] = []
        self.rows = 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values["href"] or "")
        if values.get(OPENS.get(tag, "")):
            self.loaded.append(str(values[OPENS[tag]]))
        self.rows += tag == "tr"
        if tag in ("table", "figure"):
            self.order.append(tag)
        if tag in ("html", "body", "table", "details", "figure", "ul", "p", "h1", "h2"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("html", "body", "table", "details", "figure", "ul", "p", "h1", "h2"):
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("data") / "runs", shipped=None)


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    made_up.add(store, PRESETS["fp32"])
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up_inspection.write(store, report.run)
    return report


@pytest.fixture(scope="module")
def found(store: Store, report: Report) -> dict[str, Any]:
    """What the JSON of the run says."""
    return dict(json.loads(json.dumps(findings.everything(report, store), allow_nan=False)))


@pytest.fixture(scope="module")
def folder(store: Store, report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    assert findings.write(folder, report, store) == folder / "index.html"
    return folder


def same(found: list[dict[str, object]], table: pd.DataFrame) -> None:
    """The rows of the JSON are the table, number by number; null stands for what is no number."""
    assert len(found) == len(table)
    assert all(row.keys() == set(table.columns) for row in found)
    for name in table:
        for got, cell in zip((row[name] for row in found), table[name], strict=True):
            if isinstance(cell, np.ndarray | list):
                numbers = [
                    None if isinstance(v, float | np.floating) and not math.isfinite(v) else v
                    for v in cell
                ]
                assert got == numbers, name
            elif pd.isna(cell) or (isinstance(cell, float) and math.isinf(cell)):
                assert got is None, name
            else:
                assert got == cell, name


def test_json_has_every_number_of_every_table(
    store: Store, report: Report, found: dict[str, Any]
) -> None:
    assert found["run"] == report.run
    assert Report.model_validate(found["report"]) == report
    assert Inspection.model_validate(found["settings"]) == Inspection()
    assert set(found["tables"]) == {*TABLES, "sentences", "reference", *made_up_inspection.MADE}
    for name, table in read(report.run, store).items():
        same(found["tables"][name], table)
    for name in TABLES:
        same(found["tables"][name], store.table(report.run, name))
    same(found["tables"]["sentences"], store.sentences(report.run))
    assert len(found["tables"]["weights"][0]["fp32"]) == 128, "histograms included"


def test_json_has_the_diagnosis_and_what_stands_behind_every_picture(
    store: Store, report: Report, found: dict[str, Any]
) -> None:
    tables = findings.tables(report, store)
    said = diagnose(report, tables)
    assert found["diagnosis"]["paragraph"] == said.paragraph
    assert [f["module"] for f in found["diagnosis"]["findings"]] == [
        f.module for f in said.findings
    ]
    assert found["pictures"].keys() == inspected.PICTURES.keys()
    for name, drawn in found["pictures"].items():
        for (_, table, text), shown in zip(
            inspected.pictures(name, tables, report), drawn, strict=True
        ):
            assert shown["reading"] == text
            same(shown["table"], table)


def test_what_json_cannot_say_is_null() -> None:
    table = pd.DataFrame(
        {
            "a": [1, 2, 3],
            "b": [math.nan, -math.inf, 0.5],
            "c": [np.array([1.5, math.nan], "float32"), None, ["x"]],
            "d": ["é", None, "y"],
            "e": [True, False, None],
        }
    )
    text = json.dumps(findings.rows(table), allow_nan=False)
    assert json.loads(text) == [
        {"a": 1, "b": None, "c": [1.5, None], "d": "é", "e": True},
        {"a": 2, "b": None, "c": None, "d": None, "e": False},
        {"a": 3, "b": 0.5, "c": ["x"], "d": "y", "e": None},
    ]


def test_fp32_has_its_own_tables_only(store: Store, report: Report) -> None:
    found = findings.everything(next(r for r in store.finished() if r.method == "FP32"), store)
    assert set(found["tables"]) == {"weights", "activations", "profiles", "sample", "sentences"}
    assert found["diagnosis"] is None


def test_the_folder_has_a_file_of_every_kind(folder: Path, store: Store, report: Report) -> None:
    tables = findings.tables(report, store)
    chapters = {name for name, a in ANALYSES.items() if set(a.tables) & tables.keys()} | {
        *TABLES,
        "sentences",
        "reference",
    }
    names = (
        {"index.html"}
        | {f"{t}.csv" for t in tables}
        | {f"{c}.{kind}" for c in chapters for kind in ("html", "json")}
    )
    assert {p.name for p in folder.iterdir()} == names
    for table in ("sensitivity", "depth"):
        read_back = pd.read_csv(folder / f"{table}.csv", keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(
            read_back, tables[table].reset_index(drop=True), check_dtype=False, check_exact=True
        )
        same(json.loads((folder / f"{table}.json").read_text("utf-8"))[table], tables[table])
    counts = pd.read_csv(folder / "weights.csv")["fp32"].map(json.loads)
    assert [list(c) for c in counts] == [list(c) for c in tables["weights"]["fp32"]]


def test_another_format_is_written_and_linked(
    store: Store, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lengths(chapter: findings.Chapter) -> Iterator[tuple[str, str]]:
        yield (
            f"{chapter.name}.txt",
            "\n".join(f"{t}: {len(rows)}" for t, rows in chapter.own.items()),
        )

    monkeypatch.setattr(findings, "FORMATS", {"csv": findings.FORMATS["csv"], "txt": lengths})
    index = findings.write(tmp_path, report, store).read_text("utf-8")
    assert (tmp_path / "depth.txt").read_text("utf-8").startswith("depth: ")
    assert 'href="depth.txt"' in index


@pytest.mark.parametrize("name", findings.FORMATS)
def test_every_format_has_files_of_its_own(store: Store, report: Report, name: str) -> None:
    listed = list(findings.chapters(report, findings.tables(report, store)))[:4]
    made = [file for chapter in listed for file in findings.FORMATS[name](chapter)]
    assert len({file for file, _ in made}) == len(made) >= len(listed)
    assert all(file.endswith(f".{name}") and text for file, text in made)


def test_pages_open_on_their_own(folder: Path, store: Store, report: Report) -> None:
    pages = sorted(folder.glob("*.html"))
    assert len(pages) > 5
    for path in pages:
        page = Links(path.read_text("utf-8"))
        assert not page.loaded, path.name
        assert page.open == [], path.name
        assert all((folder / link).is_file() for link in page.links), path.name
        if path.name != "index.html":
            assert "index.html" in page.links
            assert page.order[0] == "table", "the table first, then the picture"
    index = Links((folder / "index.html").read_text("utf-8"))
    assert set(index.links) == {p.name for p in folder.iterdir()} - {"index.html"}
    paragraph = diagnose(report, findings.tables(report, store)).paragraph
    assert paragraph in unescape((folder / "index.html").read_text("utf-8"))


def test_a_table_with_languages_is_shown_by_language(
    folder: Path, store: Store, report: Report
) -> None:
    text = (folder / "depth.html").read_text("utf-8")
    table = store.table(report.run, "depth")
    assert text.count("<details") == table["language"].nunique() == 16
    assert "<summary>All languages" in text
    assert "<summary>Swahili, " in text
    assert Links(text).rows == len(table) + 16, "every row, and a heading per language"
    assert Links(text).order.count("figure") == 3


def test_long_tables_are_cut_in_pages_only(folder: Path, store: Store, report: Report) -> None:
    text = (folder / "tokens.html").read_text("utf-8")
    tokens = store.table(report.run, "tokens")
    assert len(tokens) > findings.ROWS
    assert Links(text).rows == findings.ROWS + 1
    assert f"The first {findings.ROWS} of {len(tokens)} rows; the file has all" in text
    assert len(pd.read_csv(folder / "tokens.csv")) == len(tokens)


def test_columns_of_many_numbers_are_named_in_pages(folder: Path) -> None:
    text = (folder / "weights.html").read_text("utf-8")
    assert (
        "Its columns fp32, channel, channel_low, channel_high, quantized, grid hold many numbers "
        "per row" in text
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(
    store: Store, report: Report, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file stands here")
    for folder in (blocked, blocked / "below"):
        with pytest.raises(UserError, match="must be writable") as error:
            findings.write(folder, report, store)
        assert "\n" not in str(error.value)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:  # nothing is read-only for root
        with pytest.raises(UserError, match="must be writable"):
            findings.writable(locked)


def test_a_full_disk_is_one_sentence(
    store: Store, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        findings.write(tmp_path, report, store)


def test_words_say_what_there_is(store: Store, report: Report) -> None:
    text = findings.words(report, store, index=Path("out/index.html"))
    assert diagnose(report, findings.tables(report, store)).paragraph in text.splitlines()
    assert text.splitlines()[0] == f"Run {report.run}: ptq-w3a8 (PTQ) on mini, task intent, seed 0."
    rows = len(made_up_sensitivity.sensitivity())
    assert f"sensitivity    {rows} rows of module, role, block" in text
    assert text.endswith("All of it: out/index.html")


@pytest.mark.parametrize("name", inspected.PICTURES)
def test_every_picture_is_drawn_from_its_tables(store: Store, report: Report, name: str) -> None:
    found = inspected.pictures(name, findings.tables(report, store), report)
    assert len(found) == len(inspected.PICTURES[name])
    assert all(len(rows) and text.endswith(".") for _, rows, text in found)


def test_a_picture_whose_tables_are_missing_is_left_out(report: Report) -> None:
    assert all(
        inspected.pictures(name, {}, report) == [] for name in (*inspected.PICTURES, "nothing")
    )

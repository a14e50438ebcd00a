"""What is taken away: one page without a network, and a zip with everything behind it."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import types
import zipfile
from html import escape, unescape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

import sdq
from sdq.figures import languages
from sdq.recipe import PRESETS, Calibration, Recipe, load_recipe
from sdq.reporting import archive
from sdq.reporting import html as document
from sdq.reporting.sections import FIGURES, Part, parts
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection

NAMES = ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8")
TEXT = "Diagnosis: what breaks the answers, why, and what helps"  # the one part without a picture
WORDS = {"SDQ": "It imitates <itself>.", "QNAT": "Not in these runs."}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("data") / "runs", shipped=None)
    for report in made_up.fill(store, NAMES, ("intent",)):
        if report.recipe["name"] == "qat-w3a8":
            made_up_inspection.write(store, report.run)
    made_up.add(
        store,
        Recipe(
            name="mine",
            rules=PRESETS["ptq-int8-static"].rules,
            calibration=Calibration(sentences=3),
            seed=7,
        ),
    )
    made_up.add(store, PRESETS["ptq-w3a8"], "slots")
    return store


@pytest.fixture(scope="module")
def reports(store: Store) -> list[Report]:
    by_name = {r.recipe["name"]: r for r in store.finished() if r.task == "intent"}
    return [by_name[name] for name in NAMES]


@pytest.fixture(scope="module")
def found(store: Store, reports: list[Report]) -> list[Part]:
    return parts(reports, store)


@pytest.fixture(scope="module")
def html(reports: list[Report], found: list[Part]) -> str:
    return document.page("Taken <b>away</b> & kept", reports, found, WORDS)


def without_library(html: str) -> str:
    """The page less plotly.js, which has addresses in it that it does not ask for."""
    return html.replace(get_plotlyjs(), "")


@pytest.mark.parametrize("ending", archive.EXPORTS)
def test_every_format_is_made_for_the_page_and_for_python(
    ending: str,
    reports: list[Report],
    found: list[Part],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # a Chrome draws in a test of its own
    export = archive.EXPORTS[ending]
    assert export.label
    assert re.fullmatch(r"[a-z]+/[a-z.+-]+", export.media)
    made = export.made("A title", reports[:1], found[:1], None)
    assert "A title" in made if isinstance(made, str) else b"A title" in made or len(made) > 10_000
    path = sdq.report(reports[:1], tmp_path / f"taken.{ending.upper()}", store=store)
    start = {"html": b"<!doctype html>", "zip": b"PK"}.get(ending)
    assert start is None or path.read_bytes().startswith(start)
    assert path.stat().st_size > 10_000


def test_a_path_of_another_ending_gets_the_web_page(
    reports: list[Report], store: Store, tmp_path: Path
) -> None:
    path = sdq.report(reports[:1], tmp_path / "taken.txt", store=store)
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_every_figure_is_drawn_or_says_why_not(found: list[Part]) -> None:
    assert [p.title for p in found] == [title for title, _ in FIGURES]
    assert [p.title for p in found if p.figure is None] == [TEXT]
    assert all(len(p.table) and p.text for p in found)
    assert len({p.slug for p in found}) == len(found)


def test_the_page_is_one_file_that_asks_nothing_of_the_network(html: str) -> None:
    assert len(html.encode()) < document.LIMIT
    assert html.count("plotly.js v") == 1
    rest = without_library(html)
    assert len(rest) < len(html) - 1_000_000
    assert not re.search(r"https?://|<link|<img|<iframe|@import|url\(|\ssrc=", rest)
    assert html.count('class="plotly-graph-div"') == len(FIGURES) - 1
    assert "@media print" in rest


def test_the_page_says_the_numbers_seeds_versions_recipes_and_commands(
    html: str, reports: list[Report], found: list[Part]
) -> None:
    rest = without_library(html)
    assert f"<p>{escape(languages.reading(reports))}</p>" in rest
    for report in reports:
        assert f"<td>{round(100 * report.quantized.zero_shot_mean, 1):.4g}</td>" in rest
        assert (
            f"python -m sdq run {report.recipe['name']} --model mini --task intent --seed 0" in rest
        )
        assert f"run {report.run}</h3>" in rest
    assert "<td>2.13.0</td>" in rest
    assert '"seed": 0' in unescape(rest)
    assert "simulated" in rest


def test_all_text_is_escaped(html: str) -> None:
    rest = without_library(html)
    assert "Taken &lt;b&gt;away&lt;/b&gt; &amp; kept" in rest
    assert "<b>away" not in rest
    assert "It imitates &lt;itself&gt;." in rest
    assert "Not in these runs" not in rest


def test_a_run_that_was_looked_into_shows_it_and_the_others_say_how(
    store: Store, reports: list[Report], found: list[Part]
) -> None:
    title = next(title for title, draw in FIGURES if "_inspected" in draw.__qualname__)
    (part,) = (p for p in found if p.title == title)
    assert part.text.startswith("Of the run QAT")
    assert part.table is not None
    alone = next(
        p for p in parts([r for r in reports if r.method != "QAT"], store) if p.title == title
    )
    assert alone.figure is None
    assert f"sdq inspect {reports[1].run}" in alone.text
    only = next(
        p for p in parts([r for r in reports if r.method == "QAT"], store) if p.title == title
    )
    assert not only.text.startswith("Of the run")


def test_hostile_names_stay_text(reports: list[Report], found: list[Part]) -> None:
    evil = "</script><script>alert(1)</script>; rm -rf /"
    hostile = [r.model_copy(update={"model": evil, "provenance": {"torch": evil}}) for r in reports]
    text = without_library(document.page("", hostile, [Part(evil, evil)]))
    assert "<script>alert" not in text
    assert shlex.split(document.command(hostile[0]))[6] == evil


def test_a_picture_too_large_is_left_out_and_its_numbers_stay(
    reports: list[Report], found: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LIMIT", len(get_plotlyjs().encode()) + 220_000)
    html = document.page("", reports, found)
    assert len(html.encode()) < document.LIMIT
    assert "would make this page too large" in html
    assert "Swahili" in without_library(html)


def test_fp32_alone_has_its_scores_and_says_what_is_missing(
    store: Store, reports: list[Report]
) -> None:
    found = parts(reports[:1], store)
    assert found[0].figure is not None
    assert [p.title for p in found if p.figure is None] == [title for title, _ in FIGURES[1:]]
    assert "Left out: a trained run" in document.page("", reports[:1], found)


def test_long_tables_are_cut_on_the_page_only(
    reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    part = Part(
        "Long", "Many rows.", go.Figure(), pd.DataFrame({"name": ["x" * 80] * 100, "n": range(100)})
    )
    html = document.page("", reports, [part])
    assert f"The first {document.ROWS} of 100 rows" in html
    assert "x" * 80 in html
    with zipfile.ZipFile(io.BytesIO(archive.archive("", reports, [part]))) as package:
        assert (
            len(list(csv.DictReader(io.StringIO(package.read("tables/long.csv").decode())))) == 100
        )


def test_the_zip_holds_tables_recipes_and_page_under_names_that_stay(
    reports: list[Report], found: list[Part], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # as if it were not installed
    packed = archive.archive("Title", reports, found)
    assert packed == archive.archive("Title", reports, found)
    with zipfile.ZipFile(io.BytesIO(packed)) as package:
        names = package.namelist()
        assert names[0] == "README.txt"
        assert {
            "report.html",
            "tables/runs.csv",
            "tables/versions.csv",
            "tables/scores-per-language.csv",
        } < set(names)
        assert not any(name.startswith("/") or ".." in name for name in names)
        readme = package.read("README.txt").decode()
        assert "left out: the Python package kaleido is not installed" in readme
        assert "pip install kaleido" in readme
        scores = list(
            csv.DictReader(io.StringIO(package.read("tables/scores-per-language.csv").decode()))
        )
        assert {row["code"]: pytest.approx(float(row["SDQ"]) / 100) for row in scores} == reports[
            3
        ].quantized.by_language
        package.extractall(tmp_path)
    for report in reports:
        recipe = load_recipe(str(tmp_path / "recipes" / f"{report.run}.json"))
        assert recipe.canonical() == Recipe.model_validate(report.recipe).canonical()
    listed = set(archive.contents(reports, found)["file"])
    assert {name for name in listed if not name.endswith(".svg")} == set(names)


@pytest.mark.skipif(
    not shutil.which("chromium") and not shutil.which("google-chrome"),
    reason="no Chromium and no Chrome here to draw with",
)
def test_pictures_come_along_where_there_is_a_chrome(
    reports: list[Report], found: list[Part]
) -> None:
    with zipfile.ZipFile(io.BytesIO(archive.archive("", reports, found[:2]))) as package:
        assert "left out" not in package.read("README.txt").decode()
        for part in found[:2]:
            svg = package.read(f"figures/{part.slug}.svg").decode()
            assert svg.startswith("<svg")
            assert "Chinese" in svg


def test_a_chrome_that_fails_costs_the_pictures_only(
    reports: list[Report], found: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("Chrome must be there\nand more")

    monkeypatch.setitem(sys.modules, "kaleido", types.SimpleNamespace(Kaleido=fail))
    assert archive.pictures(found) == (
        {},
        "kaleido found no Chrome or Chromium that works here (RuntimeError: Chrome must be there)",
    )


def test_commands_name_the_preset_with_its_seed_or_the_recipe_file(store: Store) -> None:
    seeded = made_up.add(
        store, PRESETS["sdq-att-kld-int8"].model_copy(update={"seed": 4, "name": "renamed"})
    )
    assert (
        document.command(seeded)
        == "python -m sdq run sdq-att-kld-int8 --model mini --task intent --seed 4"
    )
    mine = next(r for r in store.finished() if r.recipe["name"] == "mine")
    assert (
        document.command(mine)
        == f"python -m sdq run recipes/{mine.run}.json --model mini --task intent --seed 7"
    )
    assert json.loads(document.recipe_json(mine)) == mine.recipe
    text = document.commands([seeded, mine])
    assert text.splitlines()[-1] == f"python -m sdq compare {seeded.run} {mine.run}"
    assert f"makes run {seeded.run}" in text


def test_too_many_or_unlike_runs_are_refused(store: Store, reports: list[Report]) -> None:
    slots = next(r for r in store.finished() if r.task == "slots")
    for wrong in ([], reports * 2, [reports[0], slots]):
        with pytest.raises(UserError, match="one to 5 runs of one model and task"):
            parts(wrong, store)
        with pytest.raises(UserError, match="one to 5 runs of one model and task"):
            document.page("", wrong, [])


def test_it_needs_neither_streamlit_nor_torch() -> None:
    code = (
        "import sys, sdq.reporting.html; sys.exit(bool({'streamlit', 'torch', 'transformers'} & "
        "set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False
        ).returncode
        == 0
    )

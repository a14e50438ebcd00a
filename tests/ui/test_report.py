"""The page Report: what it says will be in the files is what the runs hold."""

from __future__ import annotations

import pytest

from sdq.figures import languages
from sdq.recipe import PRESETS
from sdq.reporting import html as document
from sdq.reporting.sections import FIGURES
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of

PAGE = "pages/compare/report.py"
NAMES = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No finished run" in app.info[0].value
    assert not app.get("download_button")


def test_it_says_what_will_be_in_the_files(store: Store) -> None:
    reports = [made_up.add(store, PRESETS[name]) for name in NAMES]
    app = opened(PAGE, runs=",".join(r.run for r in reports))
    buttons = app.get("download_button")
    assert [b.label.split(" (")[0] for b in buttons] == ["One web page", "Everything"]
    shown = text_of(app)
    summary, files = app.dataframe[0].value, app.dataframe[1].value
    assert dict(zip(summary["id"], summary["Accuracy, zero-shot, %"], strict=True)) == {
        r.run: pytest.approx(100 * r.quantized.zero_shot_mean, abs=0.05) for r in reports
    }
    assert languages.reading(reports).split(" costs ")[1][:12] in shown
    for report in reports:
        assert document.command(report) in shown
        assert f"recipes/{report.run}.json" in set(files["file"])
    assert "tables/scores-per-language.csv" in set(files["file"])


def test_a_figure_without_numbers_says_why(store: Store) -> None:
    report = made_up.add(store, PRESETS["fp32"])
    shown = text_of(opened(PAGE, runs=report.run))
    assert shown.count("must be among the runs for this figure") == len(FIGURES) - 1

"""The pages "Why do layers break?" and the diagnosis: their numbers are those of the stored
tables."""

from __future__ import annotations

import re
from html import unescape

import pytest
from streamlit.testing.v1 import AppTest

from sdq.figures.mismatch import mismatch_reading
from sdq.figures.why import causes_table
from sdq.figures.why import reading as why_reading
from sdq.inspection.diagnosis import diagnose
from sdq.recipe import PRESETS
from sdq.reporting.export import tables
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_reasons, made_up_sensitivity
from tests.helpers.pages import opened, text_of

WHY, DIAGNOSIS = "pages/inspect/why.py", "pages/inspect/diagnosis.py"
WORST = max(made_up_sensitivity.KL, key=made_up_sensitivity.KL.__getitem__)


def looked_into(store: Store) -> Report:
    made_up.add(store, PRESETS["fp32"])
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up_inspection.write(store, report.run)
    return report


def plain(app: AppTest) -> str:
    """What is written on the page, without marks."""
    return unescape(re.sub(r"<[^>]+>", "", text_of(app))).replace("\xa0", " ")


@pytest.mark.parametrize("page", [WHY, DIAGNOSIS])
def test_a_run_that_was_not_looked_into_is_offered(store: Store, page: str) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(page, runs=report.run)
    assert "has not been inspected yet" in app.info[0].value
    assert app.button(key="look-into")


@pytest.mark.parametrize("page", [WHY, DIAGNOSIS])
def test_without_runs_it_says_what_to_do(store: Store, page: str) -> None:
    assert "No finished run is stored yet." in text_of(opened(page))


def test_why_starts_at_the_worst_module_and_shows_its_causes(store: Store) -> None:
    report = looked_into(store)
    app = opened(WHY, runs=report.run)
    assert app.selectbox(key="pick-layer").value == WORST
    table = made_up_reasons.why()
    assert why_reading(table, WORST) in plain(app)
    expected = causes_table(table, WORST)
    assert any(
        list(frame.value.columns) == list(expected.columns) and len(frame.value) == len(expected)
        for frame in app.dataframe
    )
    assert len(app.get("plotly_chart")) == 3


def test_why_without_static_ranges_says_so(store: Store) -> None:
    report = looked_into(store)
    kept = store.inspections()
    (home,) = {folder.name for folder in kept.folder.iterdir()}
    kept.keep(home, "mismatch", made_up_reasons.mismatch()[:0])
    app = opened(WHY, runs=report.run)
    assert len(app.get("plotly_chart")) == 2
    assert mismatch_reading(made_up_reasons.mismatch()[:0]) in text_of(app)


def test_the_diagnosis_is_the_one_of_the_engine_and_links_its_findings(store: Store) -> None:
    report = looked_into(store)
    made_up_inspection.write(store, report.run)
    app = opened(DIAGNOSIS, runs=report.run)
    expected = diagnose(report, tables(report, store))
    shown = plain(app)
    assert expected.paragraph in shown
    assert len(expected.findings) == 4
    findings, sources = (frame.value for frame in app.dataframe)
    assert list(findings["cost, nats"]) == pytest.approx([f.cost for f in expected.findings])
    assert list(sources["sentence"]) == [s.text for s in expected.sentences]
    links = [link for link in app.get("page_link") if link.label == "Show it"]
    assert len(links) == 4

"""What a page shows instead of an inspection's tables: the offer, how far it is, why it failed; and
the tables once they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from pages.components.progress import inspection_progress
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspection_id
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up

ROWS = pd.DataFrame({"module": ["a", "b"], "kl": [0.5, 0.25]})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    return Store.default()


@pytest.fixture
def report(store: Store) -> Report:
    return made_up.add(store, PRESETS["ptq-w3a8"])


def opened(report: Report) -> AppTest:
    """A page that needs the tables "sensitivity" and "estimate" of a run."""

    def page(run: str) -> None:
        import streamlit as st

        from pages.components.inspection_tables import tables
        from sdq.store import Store

        store = Store.default()
        for name, rows in tables(store, store.report(run), "sensitivity", "estimate").items():
            st.dataframe(rows, key=name)

    return AppTest.from_function(page, args=(report.run,), default_timeout=30).run()


def text_of(app: AppTest) -> str:
    assert not app.exception, [e.message for e in app.exception]
    return " ".join(
        str(e.value) for kind in ("info", "error", "markdown", "caption") for e in app.get(kind)
    )


def keep(store: Store, report: Report, *names: str) -> str:
    """Tables of an inspection with the default settings."""
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    kept.begin(home, {}, goes_on=True)
    for name in names:
        kept.keep(home, name, ROWS)
    return home


def analysed(store: Store, report: Report, name: str, seconds: float, task: str = "intent") -> None:
    home = "f" * 12
    store.inspections().begin(home, {}, goes_on=True)
    store.inspections().tell(
        home,
        {
            "event": "analysed",
            "name": name,
            "seconds": seconds,
            "settings": {"sentences": 60},
            "model": report.model,
            "task": task,
        },
    )


def test_tables_that_are_there_are_drawn(store: Store, report: Report) -> None:
    home = keep(store, report, "sensitivity", "estimate")
    app = opened(report)
    assert [d.value.equals(ROWS) for d in app.dataframe] == [True, True]
    assert not app.button
    path = store.inspections().folder / home / "estimate.parquet"
    ROWS.assign(kl=9.0).to_parquet(path)
    os.utime(path, ns=(1, 1))
    assert opened(report).dataframe[1].value["kl"].tolist() == [9.0, 9.0], (
        "a table made anew must be read anew"
    )


def test_a_missing_one_is_offered_and_asked_for_once(store: Store, report: Report) -> None:
    keep(store, report, "sensitivity")
    app = opened(report)
    assert "has not been inspected yet" in text_of(app)
    assert "How long it takes is unknown" in text_of(app)
    assert not app.dataframe
    app = app.button(key="look-into").click().run()
    home = inspection_id(report.run, Inspection())
    assert [p.name for p in jobs.queue(store).iterdir()] == [home]
    assert jobs.state(home, store.inspections()).status == "queued"
    assert "Queued" in app.get("progress")[0].proto.text
    assert not [b for b in app.button if b.key == "look-into"]


def test_the_time_it_takes_is_judged_by_earlier_ones(store: Store, report: Report) -> None:
    for name in ANALYSES:
        analysed(store, report, name, 900.0, "slots")
        for seconds in (10.0, 60.0, 61.0):
            analysed(store, report, name, seconds)
    minutes = len(ANALYSES) * 2  # twice the sentences, the median
    assert f"It should take about {minutes} min." in text_of(opened(report))


def test_progress_says_which_analysis_and_how_long(store: Store, report: Report) -> None:
    home = jobs.look_into(report.run, store)
    kept = store.inspections()
    kept.tell(
        home,
        {"event": "stage", "name": "estimate", "text": "The same, estimated", "number": 2, "of": 2},
    )
    app = opened(report)
    bar = app.get("progress")[0].proto
    assert (bar.text, bar.value) == ("Analysis 2 of 2: the same, estimated", 50)
    app = app.button(key="cancel-inspection").click().run()
    assert "It continues: somebody else" in text_of(app)
    (kept.folder / home / "interest" / "local").unlink()
    app = app.button(key="cancel-inspection").click().run()
    assert "failed: it was cancelled" in text_of(app)
    assert app.button(key="look-into").label == "Inspect this run"


def test_time_left_is_what_the_missing_ones_take_less_what_was_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: 130.0)
    stage = {"event": "stage", "name": "x", "text": "Look", "number": 3, "of": 4, "time": 100.0}
    assert inspection_progress([{"event": "queued"}, stage], 100.0) == (
        "Analysis 3 of 4: look, about 70 s left",
        0.5,
    )
    assert inspection_progress([stage, {"event": "failed"}, {"event": "queued"}]) == (
        "Queued",
        0.0,
    )


def test_a_page_draws_when_its_own_tables_are_there_though_others_are_under_way(
    store: Store, report: Report
) -> None:
    home = jobs.look_into(report.run, store)
    store.inspections().tell(
        home, {"event": "stage", "name": "later", "text": "Later", "number": 3, "of": 9}
    )
    keep(store, report, "sensitivity", "estimate")
    app = opened(report)
    assert len(app.dataframe) == 2
    assert not app.get("progress")


def test_a_failure_is_one_sentence_and_can_be_tried_again(store: Store, report: Report) -> None:
    home = jobs.look_into(report.run, store)
    store.inspections().tell(
        home,
        {
            "event": "failed",
            "message": "the analysis estimate failed: weights must be finite numbers",
        },
    )
    (jobs.queue(store) / home).unlink()
    app = opened(report)
    assert "failed: the analysis estimate failed: weights must be finite numbers" in text_of(app)
    app.button(key="look-into").click().run()
    assert (jobs.queue(store) / home).exists()


def test_fp32_says_so_and_names_the_runs_there_are(store: Store, report: Report) -> None:
    fp32 = made_up.add(store, PRESETS["fp32"])
    app = opened(fp32)
    assert "is FP32" in text_of(app)
    assert [b.key for b in app.button] == [f"look-at-{report.run}"]


def test_without_the_weights_of_a_trained_run_it_says_so(store: Store, report: Report) -> None:
    made_up.add(store, PRESETS["sdq-kld-w3a8"])
    app = opened(made_up.add(store, PRESETS["qat-w3a8"]))
    assert "weights of this run are not on this machine" in text_of(app)
    assert [b.key for b in app.button] == [f"look-at-{report.run}"], (
        "only what can be inspected is offered"
    )

"""The page "Remedies": its numbers are those of the tables, and what it gives away is a recipe that
runs."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from sdq.jobs import queue as jobs
from sdq.labels import signed
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_remedies
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/remedies.py"


@pytest.fixture
def report(store: Store) -> Report:
    made = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up_inspection.write(store, made.run)
    return made


def saved(app: AppTest, key: str) -> str:
    """The label of the file a download button gives."""
    return next(e.proto for e in app.get("download_button") if e.proto.id.endswith(key)).label


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No finished run" in app.info[0].value


def test_a_run_without_an_inspection_offers_to_make_one(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE)
    assert "not been inspected yet" in text_of(app)
    assert not app.get("plotly_chart")


def test_the_numbers_are_those_of_the_tables(report: Report) -> None:
    app = opened(PAGE, runs=report.run)
    table, found = app.dataframe[0].value, made_up_remedies.remedies().set_index("what")
    for what, row in found.iterrows():
        shown = table[table["remedy"].str.startswith(what)].iloc[0]
        assert shown["against this run, points [95 %]"].startswith(f"{signed(row['change'])} [")
        assert shown["size, MB"] == f"{row['bytes'] / 1e6:.2f} simulated"
    assert "Keep the worst module in FP32: " in "".join(table["remedy"])
    assert "4.2 points</b> [+3.3, +5.1]" in text_of(app)
    assert len(app.get("plotly_chart")) == 2


def test_the_slider_moves_the_map_and_the_recipe(report: Report) -> None:
    front = made_up_remedies.pareto()
    app = opened(PAGE, runs=report.run)
    assert app.select_slider(key="pick-size").value == "6.76 MB"  # nearest to the run's 6.4
    for row in front.itertuples():
        app.select_slider(key="pick-size").set_value(f"{row.bytes / 1e6:.2f} MB").run()
        assert not app.exception
        bits = app.dataframe[2].value["bits"]
        assert dict(zip(app.dataframe[2].value["module"], bits, strict=True)) == json.loads(
            row.widths
        )
        assert app.query_params["size"] == f"{row.bytes / 1e6:.2f} MB"
    app = opened(PAGE, runs=report.run, size="nonsense")
    assert app.select_slider(key="pick-size").value == "6.76 MB"


def test_a_recipe_is_run(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Recipe, str, str]] = []
    monkeypatch.setattr(
        jobs,
        "submit",
        lambda recipe, model, task, where, who: asked.append((recipe, model, task)) or report.run,
    )
    app = opened(PAGE, runs=report.run, size="5.31 MB")
    app.button(key="front-run").click().run()
    app = opened(PAGE, runs=report.run)
    app.selectbox(key=f"remedy-{report.run}").select_index(2).run()
    app.button(key="remedy-run").click().run()
    assert not app.exception
    (front, *of), (moved, *_) = asked
    assert of == ["mini", "intent"]
    assert {rule.weight.bits for rule in front.rules[2:] if rule.weight} == {4}
    assert moved.migration == 0.5
    assert moved.rules == PRESETS["ptq-w3a8"].rules

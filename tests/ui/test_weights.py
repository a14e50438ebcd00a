"""The page of weights: its numbers are those of the stored table."""

from __future__ import annotations

import re

from streamlit.testing.v1 import AppTest

from sdq.figures.weights import headline, reading
from sdq.recipe import PRESETS
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/weights.py"
QUERY = "roberta.encoder.layer.3.attention.self.query"


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    assert "No finished run is stored yet." in text_of(opened(PAGE))


def test_it_shows_the_first_quantized_run_and_its_worst_layer(store: Store) -> None:
    reports = {r.recipe["name"]: r for r in made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))}
    weights = store.table(reports["ptq-w3a8"].run, "weights")
    app = opened(PAGE)
    assert app.selectbox(key="pick-shown").value == reports["ptq-w3a8"].run
    assert reading(weights, "W3A8 by PTQ") in re.sub("<[^>]+>", "", text_of(app)).replace(
        "&nbsp;", " "
    )
    worst = weights.loc[weights["sqnr_db"].idxmin(), "module"]
    assert app.selectbox(key="pick-layer").value == worst
    assert {m.label: m.value for m in app.metric} == {
        label: value for label, value, _ in headline(weights, worst)
    }
    assert app.query_params["layer"] == worst
    assert len(app.get("plotly_chart")) == 3


def test_a_link_chooses_run_and_layer(store: Store) -> None:
    reports = {r.recipe["name"]: r for r in made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))}
    both = ",".join(r.run for r in reports.values())
    app = opened(PAGE, runs=both, shown=reports["ptq-w3a8"].run, layer="roberta.encoder.layer.3")
    weights = store.table(reports["ptq-w3a8"].run, "weights")
    assert {m.label: m.value for m in app.metric} == {
        label: value for label, value, _ in headline(weights, QUERY)
    }
    assert "block 3 · query" in text_of(app)
    app.segmented_control(key="cells").set_value("MSE")
    app.toggle(key="log").set_value(True)
    app.toggle(key="sorted").set_value(True)
    app.selectbox(key="pick-layer").set_value("classifier.dense")
    app.run()
    assert not app.exception
    assert app.query_params["layer"] == "classifier.dense"
    assert {m.label: m.value for m in app.metric} == {
        label: value for label, value, _ in headline(weights, "classifier.dense")
    }


def test_fp32_alone(store: Store) -> None:
    report = made_up.add(store, PRESETS["fp32"])
    app = opened(PAGE, runs=report.run)
    assert "Nothing is rounded in this" in text_of(app)
    assert [m.label for m in app.metric] == ["Bits", "Largest weight"]
    assert len(app.get("plotly_chart")) == 3


def test_a_run_without_tables_is_explained(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up.without(store, report, "weights")
    app = opened(PAGE)
    assert "must have the table 'weights'" in app.error[0].value


def test_a_click_on_a_cell_selects_its_layer() -> None:
    def page() -> None:
        import streamlit as st

        from pages.components import selection
        from pages.components.layer_picker import follow_layer

        follow_layer([{"point_index": 3, "customdata": ["classifier.dense"]}])
        follow_layer([{"point_index": 3}])
        st.write(selection.get("layer"))

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert app.markdown[0].value == app.query_params["layer"] == "classifier.dense"


def test_onward_links_carry_the_layer(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    links = [e.proto for e in opened(PAGE, layer=QUERY).get("page_link")]
    onward = [
        "Why it breaks",
        "Inputs",
        "Error through depth",
        "Effect on the answers",
    ]
    assert [link.label for link in links][-4:] == onward
    assert all(f"layer={QUERY}" in link.query_string for link in links[-4:])

"""The page of activations: its numbers are those of the stored tables."""

from __future__ import annotations

from sdq.figures.activations import reading
from sdq.figures.dimensions import outlier_units
from sdq.recipe import PRESETS
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/activations.py"
QUERY = "roberta.encoder.layer.3.attention.self.query"


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    assert "No finished run is stored yet." in text_of(opened(PAGE))


def test_it_shows_the_numbers_of_the_tables(store: Store) -> None:
    reports = {r.recipe["name"]: r for r in made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))}
    run = reports["ptq-w3a8"].run
    app = opened(PAGE, layer=QUERY)
    shown = text_of(app).replace("&nbsp;", " ")
    assert reading(store.table(run, "activations"), QUERY, "en") in shown
    assert "26.0 dB in Swahili to 40.0 dB in English" in shown
    assert app.multiselect(key="pick-languages").value[0] == "sw"
    assert len(app.get("plotly_chart")) == 4
    units = outlier_units(store.table(run, "profiles"))
    assert any(
        list(frame.value.columns) == list(units.columns) and len(frame.value) == len(units)
        for frame in app.dataframe
    )
    app.multiselect(key="pick-languages").set_value(["de", "th"])
    app.toggle(key="linear").set_value(True)
    app.run()
    assert not app.exception
    assert app.query_params["languages"] == "de,th"
    assert {"English", "German", "Thai"} <= set(app.dataframe[0].value.columns)


def test_the_embedding_has_no_input_so_the_first_linear_is_shown(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, layer="roberta.embeddings.word_embeddings")
    assert app.selectbox(key="pick-layer").value == "roberta.encoder.layer.0.attention.self.query"


def test_fp32_has_no_rounding_to_show(store: Store) -> None:
    report = made_up.add(store, PRESETS["fp32"])
    app = opened(PAGE, runs=report.run, layer=QUERY)
    assert "These inputs are not rounded in this run." in text_of(app)
    assert "Choose a quantized run above." in text_of(app)
    assert len(app.get("plotly_chart")) == 3

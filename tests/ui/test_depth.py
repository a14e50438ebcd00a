"""The page "Error through depth": its numbers are those of the stored tables."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from sdq.figures import depth
from sdq.labels import ROLE_LABELS
from sdq.models.families import SITE_ROLES
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_sensitivity
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/depth.py"
FOUR = ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8")


def filled(store: Store) -> dict[str, Report]:
    return {r.recipe["name"]: r for r in made_up.fill(store, FOUR, ("intent",))}


def link_to_weights(app: AppTest) -> tuple[str, str]:
    link = next(e.proto for e in app.get("page_link") if "Weights of" in e.proto.label)
    return link.label, link.query_string


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No finished run" in app.info[0].value
    assert not app.get("plotly_chart")


def test_blocks_shows_the_stored_numbers_and_the_gap_apart(store: Store) -> None:
    reports = filled(store)
    app = opened(PAGE)
    table = store.table(reports["ptq-w3a8"].run, "depth")
    stored = table[
        (table["measure"] == "accumulated")
        & (table["role"] == "block")
        & (table["language"] == "all")
    ]["relative_l2"].tolist()
    shown, gap = app.dataframe[0].value, app.dataframe[1].value
    assert shown[shown["run"] == "PTQ"].iloc[:, 6].tolist() == pytest.approx(stored)
    assert f"from {stored[0]:.3g} at block 0 to {stored[-1]:.3g} at block 5" in text_of(app)
    assert set(gap["run"]) == {"QAT", "SDQ"}
    assert len(app.get("plotly_chart")) == 2
    assert "must not be compared" in text_of(app)


def test_a_layer_leads_to_its_weights(store: Store) -> None:
    reports = filled(store)
    label, query = link_to_weights(
        opened(
            PAGE, layer="roberta.encoder.layer.3.attention.self.query", runs=reports["ptq-w3a8"].run
        )
    )
    assert label == "Weights of block 3 · query"
    assert "layer=roberta.encoder.layer.3.attention.self.query" in query
    assert reports["ptq-w3a8"].run in query


def test_activations_are_shown_of_runs_that_round_them(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    assert "Activations" not in opened(PAGE).segmented_control(key="view").options
    full = made_up.add(store, PRESETS["ptq-int8-full"])
    app = opened(PAGE, view="Activations", runs=full.run)
    assert set(app.dataframe[0].value["type"]) == {ROLE_LABELS[role] for role in SITE_ROLES}


@pytest.mark.parametrize("view", [view for view in depth.VIEWS if view != "Activations"])
def test_every_view_opens(store: Store, view: str) -> None:
    reports = filled(store)
    app = opened(
        PAGE, view=view, language="sw", runs=",".join(reports[name].run for name in FOUR[1:])
    )
    assert app.segmented_control(key="view").value == view
    shown = app.dataframe[0].value
    assert len(shown)
    if view == "Paper: self-attention":
        assert set(shown["type"]) == {"self-attention"}
        assert set(shown["language"]) == {"sw"}
    if view == "Tokens":
        assert app.selectbox(key="language-of-tokens").value == "sw"
        assert list(shown["token"][:3]) == list(
            store.table(reports["ptq-w3a8"].run, "sample")
            .query("language == 'sw'")
            .iloc[0]["tokens"][:3]
        )
    if view == "Languages":
        assert set(shown["run"]) == {"PTQ"}


def test_an_untrained_run_has_no_teacher_gap(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, view="nonsense", measure="nonsense", language="xx", layer="nowhere")
    assert len(app.get("plotly_chart")) == 1
    assert "Teacher gap" not in text_of(app)


def test_runs_without_tables_are_named(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up.without(store, report, "depth")
    app = opened(PAGE)
    assert "older version" in app.warning[0].value
    assert "None of the chosen runs" in app.info[0].value


def test_the_picture_follows_measure_error_and_view(store: Store) -> None:
    ptq = filled(store)["ptq-w3a8"]
    app = opened(PAGE, view="Roles", measure="SQNR", runs=ptq.run)
    table = store.table(ptq.run, "depth")
    every = table[(table["language"] == "all") & table["role"].isin(depth.INSIDE)]
    for error in ("local", "accumulated"):
        app.segmented_control(key="error").set_value(error.capitalize()).run()
        assert not app.exception
        shown = app.dataframe[0].value
        assert sorted(shown["SQNR, dB (higher is better)"]) == pytest.approx(
            sorted(every[every["measure"] == error]["sqnr_db"])
        )
    for view in ("Paper: error by layer type", "Tokens", "Blocks"):
        app.segmented_control(key="view").set_value(view).run()
        assert not app.exception
    assert app.selectbox(key="pick-language").value == "all"
    assert set(app.dataframe[0].value["language"]) == {"all"}


def test_the_noise_floor_is_drawn_where_it_was_measured(store: Store) -> None:
    reports = filled(store)
    ptq, sdq = reports["ptq-w3a8"].run, reports["sdq-att-kld-w3a8"].run
    app = opened(PAGE, runs=f"{ptq},{sdq}")
    assert "No noise floor has been measured for PTQ, SDQ yet" in text_of(app)
    assert "noise floor" not in app.dataframe[0].value
    made_up_inspection.write(store, ptq)
    app = opened(PAGE, runs=f"{ptq},{sdq}")
    assert "No noise floor has been measured for SDQ yet" in text_of(app)
    floor = made_up_sensitivity.floor()
    stored = (
        floor[
            (floor["kind"] == "site")
            & (floor["role"] == "block")
            & (floor["measure"] == "relative_l2")
        ]
        .groupby("block")["high"]
        .max()
    )
    shown = app.dataframe[0].value
    assert shown[shown["run"] == "PTQ"]["noise floor"].tolist() == pytest.approx(stored.tolist())
    assert "comes closest to the error with PTQ at" in text_of(app)
    app = opened(PAGE, runs=ptq)
    assert "No noise floor" not in text_of(app)
    app.segmented_control(key="view").set_value("Tokens").run()
    assert "comes closest to the error" not in text_of(app)

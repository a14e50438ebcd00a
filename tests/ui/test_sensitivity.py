"""The page "Which layers break the answers": its numbers are those of the stored tables."""

from __future__ import annotations

import pytest

from sdq.figures.sensitivity import METRICS
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_sensitivity, made_up_tables
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/sensitivity.py"
WORST = max(made_up_sensitivity.KL, key=made_up_sensitivity.KL.__getitem__)


def looked_into(store: Store, name: str = "ptq-w3a8") -> Report:
    report = made_up.add(store, PRESETS[name])
    made_up_inspection.write(store, report.run)
    return report


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    assert "No finished run" in opened(PAGE).info[0].value


def test_a_run_that_was_not_looked_into_is_offered(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=report.run)
    assert "has not been inspected yet" in app.info[0].value
    assert app.button(key="look-into")
    assert not app.get("plotly_chart")


def test_it_shows_the_stored_numbers(store: Store) -> None:
    report = looked_into(store)
    app = opened(PAGE, runs=report.run)
    modules, parts, ranking = (frame.value for frame in app.dataframe)
    assert list(modules["module"]) == [name for name, _, _ in made_up_tables.MODULES]
    assert dict(zip(modules["module"], modules[METRICS["KL"].axis], strict=True)) == pytest.approx(
        made_up_sensitivity.KL
    )
    stored = made_up_sensitivity.parts()
    assert list(parts[METRICS["KL"].axis]) == pytest.approx(list(stored["kl"]))
    assert ranking["module"].iloc[0] == WORST
    shown = text_of(app)
    assert "does the most harm: a KL divergence of 0.4 nats" in shown
    assert "1 of 39 modules stays within the noise floor" in shown
    assert "ρ = 0.9" in shown
    assert len(app.get("plotly_chart")) == 3
    assert app.selectbox(key="pick-layer").value == WORST


@pytest.mark.parametrize("metric", list(METRICS)[1:])
def test_metric_view_and_language_are_followed(store: Store, metric: str) -> None:
    report = looked_into(store)
    app = opened(PAGE, runs=report.run, metric=metric, view="All but one", language="th")
    known, stored = METRICS[metric], made_up_sensitivity.sensitivity()
    mine = stored[(stored["measure"] == "added") & (stored["language"] == "th")]
    modules = app.dataframe[0].value
    assert list(modules[known.axis]) == pytest.approx(list(known.times * mine[known.column]))
    assert "There are 8 sentences in Thai, so only large effects show." in text_of(app)
    app.segmented_control(key="view").set_value("One at a time").run()
    assert not app.exception
    one = stored[(stored["measure"] == "one") & (stored["language"] == "th")]
    assert list(app.dataframe[0].value[known.axis]) == pytest.approx(
        list(known.times * one[known.column])
    )


def test_the_layer_selected_elsewhere_is_kept_and_leads_on(store: Store) -> None:
    report = looked_into(store)
    app = opened(PAGE, runs=report.run, layer="roberta.encoder.layer.2.output.dense")
    assert app.selectbox(key="pick-layer").value == "roberta.encoder.layer.2.output.dense"
    links = {link.proto.label: link.proto.query_string for link in app.get("page_link")}
    assert "layer=roberta.encoder.layer.2.output.dense" in links["Weights"]
    assert report.run in links["Error through depth"]
    assert "Effect on the answers" not in links

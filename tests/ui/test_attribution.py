"""The page "What the model looks at": its numbers are those of the tables, its words stand in the
direction of their script."""

from __future__ import annotations

import re

import pytest

from sdq.figures import attribution, conductance
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_reasons
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/attribution.py"


def as_shown(text: str) -> str:
    return text.replace(" %", "&nbsp;%")


def looked_into(store: Store, name: str = "ptq-w3a8") -> Report:
    report = made_up.add(store, PRESETS[name])
    made_up_inspection.write(store, report.run)
    return report


def test_without_an_inspection_it_offers_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ensure", lambda store: pytest.fail("a worker was started"))
    assert "No finished run" in text_of(opened(PAGE))
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=report.run)
    assert "has not been inspected yet" in text_of(app)
    assert [b.label for b in app.button] == ["Inspect this run"]
    assert not app.get("plotly_chart")


@pytest.mark.parametrize("language", ["ur", "sw"])
def test_it_shows_one_sentence_word_by_word(store: Store, language: str) -> None:
    report = looked_into(store)
    table = made_up_reasons.words()
    example = table[table["language"] == language]["id"].unique()[2]
    rows = attribution.sentence(table, language, example)
    app = opened(PAGE, runs=report.run, language=language, example=example)
    shown = text_of(app)
    assert as_shown(attribution.reading(rows, "PTQ")) in shown
    lines = re.findall(r'<p class="words" lang="(\w+)" dir="(\w+)"', shown)
    assert lines == [(language, "rtl" if language == "ur" else "ltr")] * 2
    for word in rows["word"]:
        assert shown.count(f">{word}</bdi>") >= 2
    numbers = app.dataframe[0].value
    assert list(numbers["word"]) == list(rows["word"])
    assert list(numbers["FP32, logits"]) == pytest.approx(list(rows["fp32"]))
    assert app.selectbox(key="pick-example").value == example
    link = next(e.proto for e in app.get("page_link") if "All answers" in e.proto.label)
    assert f"example={example}" in link.query_string
    assert f"language={language}" in link.query_string


def test_drift_and_conductance_are_those_of_the_tables(store: Store) -> None:
    report = looked_into(store)
    app = opened(PAGE, runs=report.run, language="all")
    shown = text_of(app)
    drift = app.dataframe[1].value
    assert len(drift) == 16
    wanted = made_up_reasons.drift().set_index("language")["rank_correlation"]
    assert dict(zip(drift["code"], drift["rank correlation"], strict=True)) == pytest.approx(
        wanted.to_dict()
    )
    assert (
        as_shown(attribution.drift_reading(attribution.drift_table(made_up_reasons.drift()), "PTQ"))
        in shown
    )
    flows = app.dataframe[2].value
    rows = conductance.rows(made_up_reasons.conductance())
    assert list(flows["value"]) == pytest.approx(list(rows["value"]))
    assert (
        "English" in app.selectbox(key="pick-example").label
    )  # all languages are chosen: the sentence is one of the trained-on language
    app.segmented_control(key="level").set_value("Modules")
    app.segmented_control(key="damage").set_value("Loss").run()
    assert not app.exception
    rows = conductance.rows(made_up_reasons.conductance(), "loss", "all", "module")
    assert list(app.dataframe[2].value["value"]) == pytest.approx(list(rows["value"]))
    assert as_shown(conductance.reading(rows)) in text_of(app)


def test_a_language_chosen_here_is_chosen_for_all_three(store: Store) -> None:
    report = looked_into(store)
    app = opened(PAGE, runs=report.run, example="nowhere")
    app.selectbox(key="pick-language").set_value("th").run()
    assert not app.exception
    assert 'lang="th" dir="ltr"' in text_of(app)
    assert set(app.dataframe[2].value["language"]) == {"th"}
    assert "in Thai" in text_of(app)

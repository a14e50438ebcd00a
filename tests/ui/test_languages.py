"""The page on languages: its numbers are those of the reports."""

from __future__ import annotations

import pytest

from sdq.evaluate.significance import paired_tests
from sdq.labels import language_name
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of

PAGE = "pages/compare/languages.py"
THREE = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


def filled(store: Store, task: str = "intent") -> dict[str, Report]:
    return {r.recipe["name"]: r for r in made_up.fill(store, THREE, (task,))}


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No finished run is stored yet" in app.info[0].value
    assert not app.get("plotly_chart")


def test_fp32_alone_has_no_drop(store: Store) -> None:
    report = made_up.add(store, PRESETS["fp32"])
    assert "Only FP32 is selected" in text_of(opened(PAGE, runs=report.run))


@pytest.mark.parametrize("task", ["intent", "slots"])
def test_it_shows_the_drops_of_the_reports(store: Store, task: str) -> None:
    reports = filled(store, task)
    ptq = reports["ptq-w3a8"]
    app = opened(PAGE, runs=",".join(r.run for r in reports.values()))
    assert len(app.get("plotly_chart")) == 3
    table = app.dataframe[0].value
    assert len(table) == 2 * 15
    mine = table[table["run"] == ptq.run].set_index("code")
    for code, score in ptq.quantized.by_language.items():
        assert mine.loc[code, "drop"] == pytest.approx(
            100 * (ptq.reference.by_language[code] - score)
        )
    worst = mine.index[0]
    tested = paired_tests(
        store.sentences(reports["fp32"].run), store.sentences(ptq.run), list(mine.index), ("en",)
    ).set_index("language")
    exact = tested.loc[worst]
    assert mine["p_holm"].tolist() == tested.loc[mine.index, "p_holm"].tolist()
    shown = text_of(app)
    assert f"costs {language_name(worst)} most: <b>{-exact['change']:.1f} points</b>" in shown
    assert f"{-exact['high']:.1f} to {-exact['low']:.1f}" in shown
    assert f"n = {exact['n']} test sentences per language" in shown
    assert "n = 14" in shown
    wide = app.dataframe[2].value.set_index("language")
    assert wide.loc[language_name(worst), "PTQ"] == pytest.approx(-exact["change"])


def test_without_fp32_it_says_what_the_intervals_need(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=report.run)
    assert "to compare sentence by sentence" in text_of(app)
    assert app.dataframe[0].value["low"].isna().all()


def test_it_follows_its_controls(store: Store) -> None:
    reports = filled(store)
    app = opened(
        PAGE,
        runs=",".join(r.run for r in reports.values()),
        language="th",
        against="subwords",
        cells="score",
        by="SDQ",
    )
    assert app.selectbox(key="pick-language").value == "th"
    shown = text_of(app)
    assert "Thai" in shown
    assert "they are left out of this figure" in shown
    assert "too few, or too similar" in shown  # every made-up word is one subword
    numbers = app.dataframe[1].value
    assert set(numbers["run"]) == {reports["sdq-att-kld-w3a8"].run}
    assert not {"th", "zh"} & set(numbers["code"])
    wide = app.dataframe[2].value.set_index("language")
    assert wide.loc["Thai", "FP32"] == pytest.approx(
        100 * reports["fp32"].quantized.by_language["th"]
    )
    app.selectbox(key="pick-language").set_value("sw").run()
    assert not app.exception
    assert app.query_params["language"] in ("sw", ["sw"])

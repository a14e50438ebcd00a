"""The page on flipped answers: its counts are those of the stored runs."""

from __future__ import annotations

import pytest

from sdq.evaluate.statistics import flips
from sdq.labels import signed
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_tables
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/examples.py"
THREE = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


def filled(store: Store, task: str = "intent") -> dict[str, Report]:
    return {r.recipe["name"]: r for r in made_up.fill(store, THREE, (task,))}


def ids(reports: dict[str, Report]) -> str:
    return ",".join(r.run for r in reports.values())


def test_without_fp32_it_says_what_to_do(store: Store) -> None:
    assert "No finished run" in text_of(opened(PAGE))
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=report.run)
    assert "is stored yet. Run FP32 once." in app.info[0].value
    assert not app.get("plotly_chart")


@pytest.mark.parametrize(("task", "language"), [("intent", "sw"), ("slots", "ar")])
def test_it_counts_what_flips_and_lists_it(store: Store, task: str, language: str) -> None:
    reports = filled(store, task)
    full, mine = (
        t[t["language"] == language]
        for t in (store.sentences(reports[name].run) for name in THREE[:2])
    )
    lost, gained = (int(n) for n in flips(full, mine).loc[language])
    app = opened(PAGE, runs=ids(reports), language=language)
    shown = text_of(app)
    assert (
        f"loses {lost:,} right answers and gains {gained:,} that were wrong before: net "
        f"{signed(gained - lost, 0)} of {len(full):,} sentences" in shown
    )
    counted = app.dataframe[0].value
    assert (counted["lost"].item(), counted["gained"].item(), counted["sentences"].item()) == (
        lost,
        gained,
        len(full),
    )
    assert len(app.dataframe[1].value) == lost + gained
    app.segmented_control(key="flips").set_value("lost").run()
    assert not app.exception
    assert set(app.dataframe[1].value["flip"]) == {"lost"}
    assert len(app.dataframe[1].value) == lost
    if task == "slots":
        assert "<table" in shown
        assert "every phrase is found" in shown
    assert ('dir="rtl"' in shown) == (language == "ar")


def test_a_link_shows_one_sentence_with_the_answers_of_all_runs(store: Store) -> None:
    reports = filled(store)
    row = store.sentences(reports["ptq-w3a8"].run).query("language == 'ur'").iloc[3]
    example = next(
        e for e in made_up_tables.loaded("intent").examples("test", ("ur",)) if e.id == row["id"]
    )
    app = opened(PAGE, runs=ids(reports), language="ur", example=row["id"], of="SDQ")
    shown = text_of(app)
    sentence = next(part for part in shown.split("\n") if 'class="sentence"' in part)
    assert 'lang="ur" dir="rtl"' in sentence
    assert example.targets[0] in shown
    for report in reports.values():
        assert f"<small>{report.method}</small>" in shown
    assert row["answer"] in shown
    assert app.segmented_control(key="of").value == "SDQ"
    assert len(app.dataframe[2].value) == 15  # the same sentence in every language


def test_over_all_languages_a_sentence_is_one_cluster(store: Store) -> None:
    reports = filled(store)
    app = opened(PAGE, runs=ids(reports), language="all")
    shown = text_of(app)
    drawn = {i.rpartition(".")[0] for i in store.sentences(reports["ptq-w3a8"].run)["id"]}
    assert f"randomisation test over {len(drawn)} clusters of sentences" in shown
    assert len(app.dataframe[0].value) == 15
    assert app.dataframe[0].value["sentences"].sum() == len(
        store.sentences(reports["ptq-w3a8"].run)
    )

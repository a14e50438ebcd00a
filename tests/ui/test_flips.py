"""The page on changed answers: its counts are those of the stored runs, and what is pressed
selects."""

from __future__ import annotations

import pandas as pd
import pytest

from pages.components import sentences
from sdq.figures.odds import POOLED
from sdq.io.quoting import quoted
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_sensitivity
from tests.helpers.flips import THREE, filled, ids
from tests.helpers.pages import opened, text_of

PAGE = "pages/inspect/flips.py"


def both(store: Store, reports: dict[str, Report], language: str | None = None) -> pd.DataFrame:
    sides = [store.sentences(reports[name].run) for name in THREE[:2]]
    found = sides[0].merge(sides[1], on=["id", "language"], suffixes=("_fp32", ""))
    return found if language is None else found[found["language"] == language]


def test_without_fp32_it_says_what_to_do(store: Store) -> None:
    assert "No finished run" in text_of(opened(PAGE))
    report = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=report.run)
    assert "is stored yet. Run FP32 once." in app.info[0].value


def test_it_counts_the_changes_of_every_language(store: Store) -> None:
    reports = filled(store)
    pairs = both(store, reports)
    app = opened(PAGE, runs=ids(reports))
    other = pairs["answer"] != pairs["answer_fp32"]
    rows = app.dataframe[0].value
    assert rows["changed"].sum() == other.sum()
    assert rows["lost"].sum() == (other & (pairs["tp_fp32"] == 1)).sum()
    assert rows["gained"].sum() == (other & (pairs["tp"] == 1)).sum()
    cells = app.dataframe[1].value
    assert cells["count"].sum() == len(pairs)
    assert cells[cells["FP32"] != cells["now"]]["count"].sum() == other.sum()
    assert len(app.get("plotly_chart")) == 3
    odds = app.dataframe[3].value
    assert set(odds["run"]) == {"PTQ", "SDQ", POOLED}
    assert odds[odds["run"] == "PTQ"]["changed"].sum() == other.sum()
    assert odds[odds["run"] == POOLED]["sentences"].sum() == 2 * len(pairs)


def test_a_language_and_a_cell_narrow_the_sentences(store: Store) -> None:
    reports = filled(store)
    pairs = both(store, reports, "sw")
    mine = pairs[pairs["answer"] != pairs["answer_fp32"]]
    before, now = mine[["answer_fp32", "answer"]].value_counts().index[0]
    app = opened(PAGE, runs=ids(reports), language="sw")
    assert len(app.dataframe[2].value) == len(mine)
    app = opened(PAGE, runs=ids(reports), language="sw", was=before, now=now)
    rows = app.dataframe[2].value
    assert len(rows) == ((mine["answer_fp32"] == before) & (mine["answer"] == now)).sum()
    assert set(rows["FP32"]) == {before}
    assert set(rows["PTQ"]) == {now}
    assert any(f"{quoted(before)} → {quoted(now)}" in s.value for s in app.subheader)
    app.button(key="forget").click().run()
    assert not app.exception
    assert len(app.dataframe[2].value) == len(mine)
    assert len(
        opened(PAGE, runs=ids(reports), language="sw", was="nothing", now="this").dataframe[2].value
    ) == len(mine)


def test_tags_are_compared_word_by_word(store: Store) -> None:
    reports = {r.recipe["name"]: r for r in made_up.fill(store, THREE[:2], ("slots",))}
    pairs = both(store, reports, "ar")
    words = [
        (a, b)
        for before, after in zip(pairs["answer_fp32"], pairs["answer"], strict=True)
        for a, b in zip(before.split(), after.split(), strict=False)
    ]
    app = opened(PAGE, runs=ids(reports), language="ar")
    cells = app.dataframe[1].value
    assert cells["count"].sum() == len(words)
    assert cells[cells["FP32"] != cells["now"]]["count"].sum() == sum(a != b for a, b in words)
    assert 'dir="rtl"' in text_of(app)


def test_which_module_alone_changes_a_sentence(store: Store) -> None:
    reports = filled(store)
    run = ids({name: reports[name] for name in THREE[:2]})
    app = opened(PAGE, runs=run, language="sw")
    assert "Inspect this run to see which module" in text_of(app)
    made_up_inspection.write(store, reports["ptq-w3a8"].run)
    table = made_up_sensitivity.alone()
    sw = table[table["language"] == "sw"]
    mine = both(store, reports, "sw")
    changed = mine[(mine["answer"] != mine["answer_fp32"])]["id"]
    looked, flipping = set(sw["id"]), set(sw[sw["flips"] > 0]["id"])
    seen = next(i for i in changed if i in looked)
    app = opened(PAGE, runs=run, language="sw", example=seen)
    rows = app.dataframe[3].value
    assert list(rows["kl"]) == pytest.approx(sorted(sw[sw["id"] == seen]["kl"], reverse=True))
    said = (
        "One module alone changes the answer"
        if seen in flipping
        else "No module alone changes the answer"
    )
    assert said in text_of(app)
    unseen = next(i for i in changed if i not in looked)
    assert "covers 120 other sentences" in text_of(
        opened(PAGE, runs=run, language="sw", example=unseen)
    )


@pytest.mark.parametrize("words", ["<i>a</i>\tb", ""], ids=["words", "sentence"])
def test_what_a_task_says_stays_text(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sentences.st, "html", shown.append)
    bad = '<i>x</i>" onmouseover="alert(1)'
    sentence = pd.Series({"language": bad, "text": bad, "gold": "O <b>", "words": words})
    given = pd.DataFrame([("1", "O <b>", True, 0.5)], columns=["run", "answer", "right", "margin"])
    sentences.show_sentence(sentence)
    sentences.side_by_side(sentence, given, {"1": bad})
    for html in shown:
        assert '" onmouseover' not in html
        assert "<i>" not in html
        assert "<b>" not in html
    assert len(shown) == 2

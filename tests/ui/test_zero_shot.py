"""The page on unseen languages: its numbers are those of the interaction and of the drops."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from sdq.evaluate.drops import drop_table
from sdq.evaluate.significance import interaction
from sdq.figures import sample_size, zero_shot
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_tables
from tests.helpers.pages import opened, text_of

PAGE = "pages/compare/zero_shot.py"
THREE = ("fp32", "ptq-w3a8", "sdq-att-kld-multi-w3a8")


def filled(store: Store, task: str = "intent") -> list[Report]:
    return made_up.fill(store, THREE, (task,))


def test_without_runs_or_fp32_it_says_what_to_do(store: Store) -> None:
    assert "No finished run is stored yet" in opened(PAGE).info[0].value
    ptq = made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE, runs=ptq.run)
    assert "Run FP32 once" in app.info[0].value
    assert not app.get("plotly_chart")
    assert "Only FP32 is selected" in text_of(
        opened(PAGE, runs=made_up.add(store, PRESETS["fp32"]).run)
    )


def said(app: AppTest) -> str:
    """The line above the picture of the number of sentences."""
    return str(
        json.loads(app.get("plotly_chart")[1].proto.spec)["layout"]["annotations"][0]["text"]
    )


@pytest.mark.parametrize("task", ["intent", pytest.param("slots", marks=pytest.mark.slow)])
def test_it_shows_the_interaction_and_what_was_seen(store: Store, task: str) -> None:
    full, ptq, multi = filled(store, task)
    app = opened(PAGE, runs=",".join(r.run for r in (full, ptq, multi)))
    shown, zero = text_of(app), [code for code in made_up_tables.LANGUAGES if code != "en"]
    exact = interaction(
        store.sentences(full.run), store.sentences(ptq.run), {"zero-shot": zero}, ["en"]
    ).set_index("group")
    assert (
        f"costs English, which it was trained on, {exact.loc['trained on', 'drop']:.1f} points"
        in shown.replace("<b>", "").replace("</b>", "")
    )
    assert f"a difference of {exact.loc['zero-shot', 'extra']:+.1f} points" in shown.replace(
        "<b>", ""
    ).replace("</b>", "")
    rows = app.dataframe[0].value
    assert rows.loc[rows["label"] == "PTQ", "group"].tolist() == ["trained on", "zero-shot"]
    assert rows["extra"].iloc[1] == pytest.approx(exact.loc["zero-shot", "extra"])
    needed = sample_size.needed(
        drop_table([ptq], {ptq.run: store.sentences(ptq.run)}, store.sentences(full.run))
    )
    assert app.dataframe[1].value["needed"].tolist() == needed["needed"].tolist()
    assert len(app.get("plotly_chart")) == 2
    assert zero_shot.exposures(multi)["sw"] == "text in distillation"
    if task == "slots":
        return
    app.segmented_control(key="groups").set_value("Script")
    app.segmented_control(key="by").set_value("SDQ multi")
    app.run()
    assert not app.exception
    assert "Cyrillic" in set(app.dataframe[0].value["group"])
    assert "Of the 7 scripts" in text_of(app)
    assert set(app.dataframe[1].value["label"]) == {"SDQ multi"}
    assert "(as tested)" in said(app)
    app.select_slider(key="sentences").set_value(100).run()
    assert "n = 100<" in said(app)
    assert "n = 2,000<" in said(opened(PAGE, runs=f"{full.run},{ptq.run}", sentences="2,000"))


def test_a_link_shows_the_same_groups_and_run(store: Store) -> None:
    full, ptq = (made_up.add(store, PRESETS[name]) for name in THREE[:2])
    app = opened(PAGE, runs=f"{full.run},{ptq.run}", groups="Family")
    assert app.segmented_control(key="groups").value == "Family"
    assert "Of the 7 families" in text_of(app)

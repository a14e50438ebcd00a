"""Attribution: which words does the model look at, and does quantization change them?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.figure import drawn, figure_tools, show, theme
from pages.components.glossary import say
from pages.components.inspection_tables import tables
from pages.components.layer_picker import follow_layer
from pages.components.selection import choose, get, put, query, runs
from pages.components.sentences import one_of
from pages.components.session import readable
from sdq.figures import attribution, conductance
from sdq.labels import language_name, run_names, width
from sdq.results import METRICS, Report
from sdq.settings import UserError
from sdq.store import Store

EVERY = attribution.EVERY
HOW = (
    "Integrated gradients: how much each word raises (+) or lowers (−) the logit of FP32's answer "
    "along the path from a sentence of mask tokens to this one. Both models explain the same "
    "answer, so that their numbers can be compared."
)
STRAIGHT_THROUGH = (
    "Rounding is a step function, and its slope is zero: the gradients of the quantized model "
    "treat each rounding as a straight line (straight-through). Its attributions therefore need "
    "not add up to its gain, however fine the path; the completeness error says by how much they "
    "do not."
)
CONDUCTANCE = (
    "Conductance: all modules move from FP32 to quantized together, and each increase of the "
    "damage along the way is attributed to the module whose rounding causes it. The exact scan "
    "quantizes one module alone. Where the two disagree, errors reinforce or cancel each other."
)


def clicked(points: list[dict[str, Any]]) -> None:
    """Select the language of the clicked mark."""
    put("language", points[0]["customdata"][0])


def words_section(table: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """One sentence, word by word, in FP32 and quantized."""
    spoken = report.labelled if language == EVERY else language
    here = attribution.texts(table, spoken) or attribution.texts(
        table, spoken := str(table["language"].iloc[0])
    )
    example = choose(
        "example", f"Sentence, {language_name(spoken)}", list(here), show=here.__getitem__
    )
    rows = attribution.sentence(table, spoken, example)
    text = attribution.reading(rows, label)
    say(text, "reading")
    st.html(attribution.marked(rows, label, theme()))
    title, asked = (
        f"What FP32 and {label} look at",
        query("runs", "example") | {"language": spoken, "of": label},
    )
    terms = (
        "FP32",
        report.method,
        "attribution",
        "integrated gradients",
        "convergence delta",
        "logits",
        "subword",
    )
    page = attribution.to_page(rows, label, theme(), title, text)
    figure_tools(
        lambda: page,
        attribution.table(rows, label),
        key=f"words-{report.run}",
        text=text,
        query=asked,
        terms=terms,
    )
    say(HOW, "note")
    tagged = (
        "The logits of FP32's tags for all words are added up. "
        if METRICS[report.metric].of_words
        else ""
    )
    say(
        f"{tagged}The subwords of a word are added up; in scripts without spaces each subword is "
        "shown by itself. Special tokens do not count.",
        "note",
    )
    st.page_link(
        "pages/inspect/examples.py",
        label="All answers to this sentence",
        icon=":material/swap_vert:",
        query_params=asked,
    )


def drift_section(drift: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """How similarly the two models rank the words, per language."""
    st.subheader("Does it look at the same words in every language?", anchor=False)
    figure, rows, text = drawn(
        attribution.drift_picture, drift, label, theme(), None if language == EVERY else language
    )
    say(text)
    terms = ("drift", "completeness", "noise floor", "Spearman's rank correlation", "95 % interval")
    asked = query("runs", "language") | {"of": label}
    show(
        figure,
        rows,
        key=f"drift-{report.run}",
        title=f"Drift of what {label} looks at",
        text=text,
        query=asked,
        terms=terms,
        clicked=clicked,
    )
    say(STRAIGHT_THROUGH, "note")


def conductance_section(table: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """Through which block or module the damage flows."""
    st.subheader("Which layers does the damage flow through?", anchor=False)
    with st.container(horizontal=True, key="flows"):
        level = (
            st.segmented_control(
                "Level",
                list(conductance.LEVELS),
                default="Blocks",
                required=True,
                key="level",
                bind="query-params",
            )
            or "Blocks"
        )
        measure = (
            st.segmented_control(
                "Damage",
                list(conductance.MEASURES),
                default="KL",
                required=True,
                key="damage",
                bind="query-params",
            )
            or "KL"
        )
    how = conductance.MEASURES[measure], language, conductance.LEVELS[level]
    figure, rows, text = drawn(conductance.picture, table, *how, theme(), get("layer"))
    say(text)
    asked = query("runs", "language", "layer") | {"of": label, "level": level, "damage": measure}
    terms = ("conductance", "KLD", "Spearman's rank correlation", "95 % interval")
    key = f"conductance-{level}-{measure}-{report.run}".lower()
    show(
        figure,
        rows,
        key=key,
        title=f"Where the damage of {label} flows",
        text=text,
        query=asked,
        terms=terms,
        clicked=follow_layer,
    )
    say(CONDUCTANCE, "note")
    st.page_link(
        "pages/inspect/weights.py",
        label="Weights of the selected layer",
        icon=":material/bar_chart:",
        query_params=query("runs", "layer"),
    )


st.title("Which words does the model look at?", anchor=False)
store = Store.default()
try:
    quantized = runs(store, quantized=True)
    one = one_of(quantized, "of")
    parts = tables(store, one, "words", "drift", "conductance")
    name = run_names(quantized)[one.run]
    codes = [EVERY, *parts["words"]["language"].unique()]
    language = choose(
        "language",
        "Language",
        codes,
        show=lambda c: "All languages" if c == EVERY else language_name(c),
    )
    st.subheader(f"One sentence: FP32 and {width(one.recipe)} by {one.method}", anchor=False)
    words_section(parts["words"], one, language, name)
    drift_section(parts["drift"], one, language, name)
    conductance_section(parts["conductance"], one, language, name)
except UserError as error:
    st.error(readable(error), icon=":material/error:")

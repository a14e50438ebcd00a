"""Attribution: which words does the model look at, and does quantization change that?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.figure import beside, drawn, show, theme
from pages.components.glossary import say
from pages.components.inspected import follow_layer
from pages.components.inspecting import tables
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
    "on the way from a sentence of mask tokens to this one. Both models are asked about the same "
    "answer, so that their numbers can be compared."
)
STAIRS = (
    "Rounding makes stairs, and stairs have no slope: the gradients of the quantized model take "
    "each rounding for a straight line (straight-through). So its words need not add up to its "
    "gain, however fine the path; the completeness error says by how much they do not."
)
FLOWS = (
    "Conductance: all modules are taken from FP32 to quantized together, and what the damage "
    "grows by on the way is given to the module whose rounding makes it grow. The exact scan "
    "quantizes one module alone. Where the two disagree, errors add to one another or cancel."
)


def clicked(points: list[dict[str, Any]]) -> None:
    """A mark carries its language."""
    put("language", points[0]["customdata"][0])


def words_section(found: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """One sentence, word by word, in FP32 and quantized."""
    spoken = report.labelled if language == EVERY else language
    here = attribution.texts(found, spoken) or attribution.texts(
        found, spoken := str(found["language"].iloc[0])
    )
    example = choose(
        "example", f"Sentence, {language_name(spoken)}", list(here), show=here.__getitem__
    )
    rows = attribution.sentence(found, spoken, example)
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
    beside(
        lambda: page,
        attribution.table(rows, label),
        key=f"words-{report.run}",
        text=text,
        query=asked,
        terms=terms,
    )
    say(HOW, "note")
    tagged = (
        "The logits of the tags that FP32 gives to all words are added up. "
        if METRICS[report.metric].of_words
        else ""
    )
    say(
        f"{tagged}Pieces of a word are added up; where a script has no spaces a piece stands for "
        "itself. Special tokens count nothing.",
        "note",
    )
    st.page_link(
        "pages/inspect/examples.py",
        label="All answers to this sentence",
        icon=":material/swap_vert:",
        query_params=asked,
    )


def drift_section(found: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """How alike the two models look, per language."""
    st.subheader("Does it look at the same words in every language?", anchor=False)
    figure, rows, text = drawn(
        attribution.drift_picture, found, label, theme(), None if language == EVERY else language
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
    say(STAIRS, "note")


def conductance_section(found: pd.DataFrame, report: Report, language: str, label: str) -> None:
    """Through which block or module the damage flows."""
    st.subheader("Through which layer does the damage flow?", anchor=False)
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
    figure, rows, text = drawn(conductance.picture, found, *how, theme(), get("layer"))
    say(text)
    asked = query("runs", "language", "layer") | {"of": label, "level": level, "damage": measure}
    terms = ("conductance", "KLD", "Spearman's rank correlation", "95 % interval")
    key = f"conductance-{level}-{measure}-{report.run}".lower()
    show(
        figure,
        rows,
        key=key,
        title=f"Where the damage by {label} flows",
        text=text,
        query=asked,
        terms=terms,
        clicked=follow_layer,
    )
    say(FLOWS, "note")
    st.page_link(
        "pages/inspect/weights.py",
        label="Weights of the selected layer",
        icon=":material/bar_chart:",
        query_params=query("runs", "layer"),
    )


st.title("What the model looks at", anchor=False)
store = Store.default()
try:
    quantized = runs(store, quantized=True)
    one = one_of(quantized, "of")
    parts = tables(store, one, "words", "drift", "conductance")
    name = run_names(quantized)[one.run]
    codes = [EVERY, *parts["words"]["language"].unique()]
    tongue = choose(
        "language",
        "Language",
        codes,
        show=lambda c: "All languages" if c == EVERY else language_name(c),
    )
    st.subheader(f"One sentence: FP32 and {width(one.recipe)} by {one.method}", anchor=False)
    words_section(parts["words"], one, tongue, name)
    drift_section(parts["drift"], one, tongue, name)
    conductance_section(parts["conductance"], one, tongue, name)
except UserError as error:
    st.error(readable(error), icon=":material/error:")

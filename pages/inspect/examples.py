"""Examples: which sentences change their answer?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.ask_models import ask_models
from pages.components.changed_answers import pairs
from pages.components.figure import counts_with_commas, drawn, show, theme
from pages.components.glossary import say
from pages.components.selection import choose, empty, get, put, query, runs, without_fp32
from pages.components.sentences import (
    answers,
    compared,
    fp32_of,
    one_of,
    show_sentence,
    side_by_side,
    verdict,
)
from pages.components.session import readable
from sdq.figures.examples import flipped, listing, reading, spot, summary, thinned
from sdq.figures.margins import margins
from sdq.labels import language_name, run_names, treatment, width
from sdq.results import METRICS, Report, against_fp32
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import unreplaced

EVERY = "all"
ROWS = 500
store = Store.default()
folder = str(store.folder)


def select(id: str, language: str) -> None:
    """One sentence, for all pages."""
    put("example", id)
    put("language", language)


def clicked(marks: list[dict[str, Any]]) -> None:
    """Select the sentence and the language of the clicked point."""
    select(*marks[0]["customdata"])


def picture(
    pairs: pd.DataFrame, report: Report, full: Report, language: str, seen: pd.Series[Any] | None
) -> None:
    """Margins before and after."""
    where = "all languages" if language == EVERY else language_name(language)
    label = run_names(quantized)[report.run]
    test = verdict(folder, full.run, report.run, None if language == EVERY else language)
    text = reading(pairs, test, treatment(width(report.recipe), report.method), where)
    say(text, "reading")
    figure = drawn(
        margins, pairs, label, theme(), None if seen is None else (seen["id"], seen["language"])
    )
    title, asked = (
        f"Flipped answers on {report.on}, {where}",
        query("runs", "language", "example") | {"of": label},
    )
    key, terms = (
        f"margins-{report.task}-{report.run}-{language}",
        ("FP32", report.method, "McNemar test", "randomisation test", "clusters"),
    )
    show(
        figure,
        summary(pairs),
        key=key,
        title=title,
        text=text,
        query=asked,
        terms=terms,
        clicked=clicked,
    )
    lead, kind = "the lead of the first answer over the second", ""
    if METRICS[report.metric].of_words:
        lead = "the smallest lead of a word's first tag over its second"
        wanted = {
            "f1": "every phrase is found and none is made up",
            "precision": "no phrase is made up",
        }.get(report.metric, "every tag is right")
        kind = f"A sentence counts as right when {wanted}. "
    say(
        f"Margin: {lead}, in logits (the model's raw scores); here with a minus sign when the "
        f"answer is wrong. {kind}Drawn: {len(thinned(pairs)):,} of {len(pairs):,} sentences, "
        "including all flips. On the dotted line the margin is unchanged.",
        "note",
    )


def flips_section(pairs: pd.DataFrame, report: Report, language: str) -> None:
    """The sentences behind the flips; a click on a row selects one."""
    st.subheader("Sentences whose answer flips", anchor=False)
    kind = (
        st.segmented_control(
            "Show",
            ["both", "lost", "gained"],
            default="both",
            required=True,
            key="flips",
            bind="query-params",
        )
        or "both"
    )
    flips = flipped(pairs, kind)
    if flips.empty:
        st.info(
            "No sentence flips this way here. Choose another language, another run, or show both."
        )
        return
    rows, key = flips.head(ROWS), f"rows-{report.run}-{language}-{kind}"

    def row_chosen() -> None:
        if at := st.session_state[key]["selection"]["rows"]:
            select(rows["id"].iloc[at[0]], rows["language"].iloc[at[0]])

    shown = listing(rows, run_names(quantized)[report.run])
    numbers = {
        c: st.column_config.NumberColumn(format="%.1f") for c in shown.select_dtypes("float")
    }
    alt = f"{len(flips)} flipped sentences"
    st.dataframe(
        shown,
        hide_index=True,
        placeholder="",
        height=300,
        key=key,
        column_config=counts_with_commas(shown) | numbers,
        on_select=row_chosen,
        selection_mode="single-row",
        alt=alt,
    )
    most = (
        f"the {ROWS} largest changes of {len(flips):,}"
        if len(flips) > ROWS
        else f"{len(flips):,} sentences"
    )
    say(
        f"{most[0].upper()}{most[1:]}, largest change of the margin first. Select a row, or click "
        "a point above, to see the sentence below.",
        "note",
    )


def sentence_section(
    seen: pd.Series[Any] | None, every: pd.DataFrame, report: Report, full: Report
) -> None:
    """One sentence with the answers of all chosen runs."""
    if seen is None:
        return
    st.subheader(f"One sentence: {language_name(seen['language'])}, {seen['group']}", anchor=False)
    show_sentence(seen)
    compared_runs = [full, *(r for r in chosen if r.run != full.run)]
    side_by_side(
        seen,
        answers(folder, tuple(r.run for r in compared_runs), seen["id"], seen["language"]),
        run_names(compared_runs),
    )
    with st.expander("The same sentence in every language"):
        label = run_names(quantized)[report.run]
        st.dataframe(
            listing(every[every["id"] == seen["id"]], label),
            hide_index=True,
            placeholder="",
            alt="The same sentence and its answers in every language",
        )
    asked = query("runs") | {"language": seen["language"], "example": seen["id"]}
    st.page_link(
        "pages/inspect/depth.py",
        label="Error of each token, layer by layer",
        icon=":material/stacked_line_chart:",
        query_params=asked,
    )
    st.page_link(
        "pages/compare/report.py",
        label="Report on these runs",
        icon=":material/description:",
        query_params=query("runs"),
    )


st.title("Which sentences change their answer?", anchor=False)
chosen = runs(store)
quantized = against_fp32(chosen)
if not quantized:
    empty(
        "Only FP32 is selected, and answers change only in a quantized run: add one in the list "
        "above.",
        chosen[0],
    )
reference = fp32_of(store, quantized[0])
if reference is None:
    without_fp32("Answers are compared with those of FP32", quantized[0])
try:
    unreplaced(reference, store)
    one = one_of(quantized, "of")
    unreplaced(one, store)
    language = choose(
        "language",
        "Language",
        [EVERY, *one.quantized.by_language],
        show=lambda c: "All languages" if c == EVERY else language_name(c),
    )
    both = compared(folder, reference.run, one.run, one.task)
    selected = pairs(folder, reference.run, one.run, one.task, language)
    sentence = spot(selected, get("example"))
    picture(selected, one, reference, language, sentence)
    flips_section(selected, one, language)
    sentence_section(sentence, both, one, reference)
except UserError as error:
    st.error(readable(error), icon=":material/error:")
ask_models([reference, *quantized], store)

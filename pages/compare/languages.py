"""Languages: which of them pay for quantization?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.runs import how_made
from pages.components.selection import choose, empty, put, query, runs, to_quantize
from pages.components.sentences import drops, fp32_of, one_of, word_pieces
from sdq.evaluate.significance import power_text
from sdq.figures.drops import drop_figure, first_run, reading, sentence_count
from sdq.figures.heat import heat, heat_reading, wide_table
from sdq.figures.ranks import against, points, rank_reading, text_shares, unspaced_note
from sdq.labels import language_name, run_names
from sdq.results import Report, against_fp32
from sdq.store import Store

EVERY = "all"
store = Store.default()
folder = str(store.folder)


def clicked(marks: list[dict[str, Any]]) -> None:
    """Select the language of the clicked mark."""
    put("language", marks[0]["customdata"][0])


def drop_section(rows: pd.DataFrame, reports: list[Report], full: Report | None) -> str | None:
    """Drop of each language and run; returns the chosen language."""
    first, labels = reports[0], run_names(reports)
    text = reading(rows, first.metric)
    say(text, "reading")
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    codes = list(first_run(rows)["code"])
    language = choose(
        "language",
        "Language",
        [EVERY, *codes],
        show=lambda c: "All languages" if c == EVERY else language_name(c),
        where=left,
    )
    where = "all languages" if language == EVERY else language_name(language)
    asked = query("runs", "language")
    label = f"Sentences whose answer changes, {where}"
    right.page_link(
        "pages/inspect/examples.py",
        label=label,
        icon=":material/swap_vert:",
        query_params=asked | {"of": labels[first.run]},
    )
    terms = (
        "FP32",
        *dict.fromkeys(r.method for r in reports),
        "zero-shot",
        *(("95 % interval", "Holm's correction", "power", "clusters") if full else ()),
        *(("F1",) if first.metric == "f1" else ()),
    )
    chosen = None if language == EVERY else language
    figure = drawn(drop_figure, rows, first.metric, theme(), chosen)
    show(
        figure,
        rows,
        key=f"drops-{first.task}",
        title=f"Drop per language on {first.on}",
        text=text,
        query=asked,
        terms=terms,
        clicked=clicked,
    )
    count = sentence_count(rows)
    if rows["low"].notna().all():
        say(
            f"{count}. Lines: paired 95 % interval. FP32 and the quantized model are tested on the "
            "same drawn sentences, and sentences made from one frame are drawn together. "
            f"{power_text(first_run(rows).rename(columns={'sentences': 'n'}))}",
            "note",
        )
    else:
        say(
            f"{count}. Intervals need a stored FP32 run of this model and task, to compare "
            "sentence by sentence. Run FP32 once.",
            "note",
        )
        to_quantize("Run FP32", reports[0], "fp32")
    return chosen


def _subwords(reports: list[Report]) -> tuple[dict[str, float], str] | None:
    """(subwords per word of each language, a note on how they were counted); None if no run stored
    the tokens of its sentences."""
    pieces = word_pieces(reports, store)
    if pieces is None:
        return None
    note = (
        f"Counted on {pieces['sentences'].min()} test sentences per language, the same in "
        "each. Vietnamese writes spaces between syllables. "
    )
    values = dict(zip(pieces["code"], pieces["subwords per word"], strict=True))
    return values, note + unspaced_note(pieces)


def rank_section(
    rows: pd.DataFrame, reports: list[Report], full: Report | None, chosen: str | None
) -> None:
    """Drop over a property of the languages."""
    st.subheader("Do languages with little pre-training text lose more?", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", key="over"):
        report = one_of(reports, "by")
        over = st.segmented_control(
            "Against",
            ["text", "subwords"],
            default="text",
            required=True,
            key="against",
            bind="query-params",
            help="Text: the language's share of the pre-training text. Subwords: how many pieces "
            "the tokenizer splits a word into, on average (fertility).",
        )
    note, what, title = "", "pre-training text", "Share of pre-training text, %"
    if over == "subwords":
        counted = _subwords([*([full] if full else []), *reports])
        if counted is None:
            st.info(
                "None of these runs stored the tokens of its sentences: an older version made "
                "them. Quantize again to see this figure."
            )
            return
        values, note = counted
        what, title = "subwords per word", "Subwords per word"
    else:
        values = text_shares(report.model)
    table = points(rows, values, report.run)
    if table.empty:
        st.info(
            "The amount of pre-training text per language is known only for the embedded model "
            "mini. Choose runs of mini, or look at subwords."
        )
        return
    text = rank_reading(table, what)
    say(text)
    asked = query("runs", "language") | {
        "by": run_names(reports)[report.run],
        "against": over or "text",
    }
    figure = against(table, report.metric, title, theme(), chosen)
    key, terms = f"against-{over}-{report.task}", ("FP32", report.method, "zero-shot")
    show(
        figure,
        table,
        key=key,
        title=f"Drop and {what}",
        text=text,
        query=asked,
        terms=terms,
        clicked=clicked,
    )
    say(
        f"{note} ρ compares two rankings of the languages: +1 is identical, −1 reversed, 0 "
        "unrelated.",
        "note",
    )


def heat_section(rows: pd.DataFrame, reports: list[Report], chosen: str | None) -> None:
    """All languages and runs at a glance."""
    st.subheader("All languages and runs", anchor=False)
    help = "Drop in points, or score in %."
    cells = (
        st.segmented_control(
            "Show",
            ["drop", "score"],
            default="drop",
            required=True,
            key="cells",
            bind="query-params",
            help=help,
        )
        or "drop"
    )
    metric = reports[0].metric
    text = heat_reading(rows, cells, metric)
    say(text)
    figure = drawn(heat, rows, cells, metric, theme(), chosen)
    terms, asked = (
        ("FP32", *dict.fromkeys(r.method for r in reports), "zero-shot"),
        query("runs", "language") | {"cells": cells},
    )
    title = f"{cells.title()} per language and run"
    show(
        figure,
        drawn(wide_table, rows, cells),
        key=f"heat-{cells}-{reports[0].task}",
        title=title,
        text=text,
        query=asked,
        terms=terms,
    )


st.title("Which languages pay for quantization?", anchor=False)
chosen = runs(store)
quantized = against_fp32(chosen)
if not quantized:
    empty(
        "Only FP32 is selected, and a drop needs a quantized run: add one in the list above.",
        chosen[0],
    )
reference = fp32_of(store, quantized[0])
table = drops(folder, tuple(r.run for r in quantized), reference.run if reference else None)
picked = drop_section(table, quantized, reference)
rank_section(table, quantized, reference, picked)
heat_section(table, quantized, picked)
how_made(quantized)

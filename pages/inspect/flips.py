"""Flips: which answers change, into what, in which languages, and how sure FP32 was of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components import changed_answers
from pages.components.changed_answers import clear_cell, sentences_section
from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.selection import choose, empty, put, query, runs, without_fp32
from pages.components.sentences import fp32_of, one_of
from pages.components.session import readable
from sdq.figures import disagreement, flips, odds
from sdq.figures.curves import run_marks
from sdq.figures.style import Theme
from sdq.labels import language_name, run_names
from sdq.results import METRICS, Report, against_fp32
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import unreplaced

EVERY = changed_answers.EVERY
store = Store.default()
folder = str(store.folder)


def language_clicked(points: list[dict[str, Any]]) -> None:
    """Select the language of the clicked bar."""
    put("language", points[0]["customdata"][0])


def cell_clicked(points: list[dict[str, Any]]) -> None:
    """Select the two answers of the clicked cell; none for a cell of several labels or without a
    change."""
    before, now = points[0]["customdata"]
    if before == now or disagreement.OTHERS in (before, now):
        clear_cell()
    else:
        st.query_params.update({"was": before, "now": now})


def languages_section(report: Report, full: Report, label: str, language: str) -> None:
    """Flips in both directions, per language."""
    every = changed_answers.pairs(folder, full.run, report.run, report.task, EVERY)
    noise = (
        changed_answers.measured(store, report.run, "floor")
        if not METRICS[report.metric].of_words
        else None
    )  # it counts words where words have tags
    floor = None if noise is None else flips.floor_of(noise)
    figure, rows, text = drawn(
        flips.language_picture,
        every,
        label,
        theme(),
        None if language == EVERY else language,
        floor,
    )
    say(text, "reading")
    asked, terms = (
        query("runs", "language") | {"of": label},
        ("FP32", report.method, "flip", "95 % interval", "noise floor"),
    )
    title = f"Changed answers per language on {report.on}"
    show(
        figure,
        rows,
        key=f"changed-{report.run}",
        title=title,
        text=text,
        query=asked,
        terms=terms,
        clicked=language_clicked,
    )
    say(
        "Click a bar to select its language. The intervals (Wilson) assume that sentences are "
        "independent; sentences made from one frame are not.",
        "note",
    )


def matrix_section(
    report: Report, full: Report, label: str, language: str
) -> tuple[str, str] | None:
    """Which answer becomes which; returns the chosen cell."""
    st.subheader("Which answer becomes which?", anchor=False)
    cells = changed_answers.cells(folder, full.run, report.run, report.task, language)
    was, now = (st.query_params.get(name) for name in ("was", "now"))
    cell = (
        (was, now)
        if was and now and was != now and {was, now} <= {*cells["FP32"], *cells["now"]}
        else None
    )
    figure, rows, text = drawn(disagreement.matrix_picture, cells, label, theme(), cell)
    say(text)
    asked, terms = (
        query("runs", "language")
        | {"of": label}
        | (dict(zip(("was", "now"), cell, strict=True)) if cell else {}),
        ("FP32", report.method),
    )
    key, title = f"matrix-{report.run}-{language}", f"From FP32's answer to that of {label}"
    show(
        figure,
        rows,
        key=key,
        title=title,
        text=text,
        query=asked,
        terms=terms,
        clicked=cell_clicked,
    )
    say(
        "Rows: FP32's answer; columns: the quantized model's. Click a cell to list its sentences "
        "below.",
        "note",
    )
    return cell


def _odds_drawn(rows: pd.DataFrame, quantized: tuple[Report, ...], colours: Theme) -> Any:
    return odds.odds_picture(rows, run_marks(quantized), colours)


def margin_section(quantized: list[Report], full: Report, language: str) -> None:
    """How often answers change, by FP32's margin."""
    st.subheader("Do only uncertain answers change?", anchor=False)
    names = run_names(quantized)
    rows = changed_answers.change_odds(folder, full.run, tuple(names.items()), full.task, language)
    figure, rows, text = drawn(_odds_drawn, rows, tuple(quantized), theme())
    say(text)
    key, asked = f"odds-{full.task}-{'-'.join(names)}", query("runs", "language")
    show(
        figure,
        rows,
        key=key,
        title="Changed answers by FP32's margin",
        text=text,
        query=asked,
        terms=("margin", "logits", "95 % interval"),
    )


st.title("Which answers change, and into what?", anchor=False)
chosen = runs(store)
several = against_fp32(chosen)
if not several:
    empty(
        "Only FP32 is selected, and answers change only in a quantized run: add one in the list "
        "above.",
        chosen[0],
    )
reference = fp32_of(store, several[0])
if reference is None:
    without_fp32("Answers are compared with those of FP32", several[0])
try:
    unreplaced(reference, store)
    one = one_of(several, "of")
    unreplaced(one, store)
    language = choose(
        "language",
        "Language",
        [EVERY, *one.quantized.by_language],
        show=lambda c: "All languages" if c == EVERY else language_name(c),
    )
    name = run_names(several)[one.run]
    languages_section(one, reference, name, language)
    sentences_section(
        store, one, reference, name, language, matrix_section(one, reference, name, language)
    )
    margin_section(several, reference, language)
except UserError as error:
    st.error(readable(error), icon=":material/error:")

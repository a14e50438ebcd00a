"""Test sentences of a task and the answers of stored runs on a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.components.runs import finished
from sdq.data.registry import TASKS, load_task
from sdq.evaluate.drops import drop_table
from sdq.evaluate.significance import ALL, paired_tests
from sdq.evaluate.statistics import right
from sdq.figures.examples import pair, tag_rows
from sdq.figures.ranks import fertility
from sdq.intake import decoding
from sdq.labels import direction, run_names
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import unreplaced

_GRID = "display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.8rem"
_CELL = "padding:.15rem .8rem .15rem 0;text-align:start;font-weight:"


@st.cache_resource(max_entries=4, show_spinner="Reading the sentences")
def _sentences(task: str, content: str) -> pd.DataFrame:
    return decoding.sentences(task)


def sentences(report: Report, store: Store) -> pd.DataFrame:
    """Test sentences of a run's task: id, language, text, gold, words (see
    sdq.intake.reading.rows). UserError if the task was replaced since."""
    return _sentences(report.task, unreplaced(report, store))


def languages_with_text(report: Report, store: Store) -> tuple[str, ...] | None:
    """The languages that a run's task has training sentences in, labelled or not; None if the task
    is not at hand, or was replaced since."""
    try:
        return _languages_with_text(report.task, unreplaced(report, store))
    except UserError:
        return None


@st.cache_resource(max_entries=8, show_spinner=False)
def _languages_with_text(task: str, content: str) -> tuple[str, ...] | None:
    try:
        return (
            tuple(sorted(load_task(task, "dev").languages))
            if task in TASKS
            else decoding.trained(task)
        )
    except UserError:
        return None


def fp32_of(store: Store, like: Report) -> Report | None:
    """The newest stored FP32 run of the same model and task, as they were when the other was
    made."""
    return next((r for r in finished(store) if r.is_reference and store.alike(r, like)), None)


def one_of(quantized: list[Report], key: str) -> Report:
    """The quantized run a picture is about; asked for only if there are several. The address
    carries its short name under `key`."""
    by_label = {label: run for run, label in run_names(quantized).items()}
    first, *others = by_label
    label = (
        st.segmented_control(
            "Run", list(by_label), default=first, required=True, key=key, bind="query-params"
        )
        if others
        else first
    )
    run = by_label.get(label or first, by_label[first])
    return next(r for r in quantized if r.run == run)


@st.cache_resource(max_entries=32, show_spinner="Computing the intervals")
def drops(folder: str, runs: tuple[str, ...], fp32: str | None) -> pd.DataFrame:
    """The drop table of quantized runs (see sdq.figures.drops); without intervals if there is no
    FP32 run on the same sentences."""
    store = Store(Path(folder))
    reports, tables = (
        [store.report(run) for run in runs],
        {run: store.sentences(run) for run in runs},
    )
    try:
        return drop_table(reports, tables, store.sentences(fp32) if fp32 else None)
    except UserError:
        return drop_table(reports, tables)


def word_pieces(reports: Sequence[Report], store: Store) -> pd.DataFrame | None:
    """The fertility table (see sdq.figures.ranks) by the first of the runs that kept its tokens;
    None if none did. UserError if their task was replaced since."""
    runs = tuple(report.run for report in reports)
    return _word_pieces(str(store.folder), runs, reports[0].task, unreplaced(reports[0], store))


@st.cache_resource(max_entries=16, show_spinner=False)
def _word_pieces(
    folder: str, runs: tuple[str, ...], task: str, content: str
) -> pd.DataFrame | None:
    store = Store(Path(folder))
    for run in runs:
        try:
            return fertility(store.table(run, "sample"), _sentences(task, content))
        except UserError:
            continue
    return None


@st.cache_resource(max_entries=16, show_spinner="Comparing the answers")
def compared(folder: str, fp32: str, run: str, task: str) -> pd.DataFrame:
    """The pairs of answers (see sdq.figures.examples.pair) of a run and FP32 to all test sentences.
    Whoever shows them asks `unreplaced` first: they are kept by the runs. UserError if the task was
    replaced since."""
    store = Store(Path(folder))
    return pair(store.sentences(fp32), store.sentences(run), sentences(store.report(run), store))


@st.cache_resource(max_entries=32, show_spinner="Testing the difference")
def _flips_tested(folder: str, fp32: str, run: str) -> pd.DataFrame:
    """The verdicts on right and wrong sentences of a run against FP32 (see
    sdq.evaluate.significance), over the sentences both have answered."""
    store = Store(Path(folder))
    sides = [
        table[["id", "language"]].assign(tp=right(table).astype(int), predicted=1, gold=1)
        for table in (store.sentences(fp32), store.sentences(run))
    ]
    shared = sides[0][["id", "language"]].merge(sides[1][["id", "language"]])
    full, quantized = (side.merge(shared) for side in sides)
    return paired_tests(full, quantized, list(dict.fromkeys(shared["language"])))


def verdict(folder: str, fp32: str, run: str, language: str | None) -> dict[str, Any]:
    """The row of `_flips_tested` for one language, or for all."""
    rows = _flips_tested(folder, fp32, run)
    row = rows[
        rows["language"]
        == (ALL if language is None and len(rows) > 1 else language or rows["language"].iloc[0])
    ]
    return {str(name): value for name, value in row.iloc[0].items()}


@st.cache_resource(max_entries=256, show_spinner=False)
def answers(folder: str, runs: tuple[str, ...], id: str, language: str) -> pd.DataFrame:
    """What each run answered to one sentence: run, answer, right, margin (logits)."""
    store, rows = Store(Path(folder)), []
    for run in runs:
        table = store.sentences(run)
        for row in table[(table["id"] == id) & (table["language"] == language)].itertuples():
            rows.append((run, row.answer, bool(2 * row.tp == row.predicted + row.gold), row.margin))
    return pd.DataFrame(rows, columns=["run", "answer", "right", "margin"])


def show_sentence(sentence: pd.Series[Any]) -> None:
    """One sentence in large type, in its own writing direction."""
    language = escape(sentence["language"])
    style = "font-size:1.7rem;line-height:1.45;margin:.3rem 0"
    st.html(
        f'<p class="sentence" lang="{language}" dir="{direction(language)}" '
        f'style="{style}">{escape(sentence["text"])}</p>'
    )


def side_by_side(sentence: pd.Series[Any], given: pd.DataFrame, labels: dict[str, str]) -> None:
    """The gold answer and each run's: one block each, or word by word where every word has a tag. A
    wrong one is marked with ✗ and bold."""
    if sentence["words"]:
        _word_by_word(sentence, given, labels)
        return
    blocks = [f"<div><small>gold (correct answer)</small><br>{escape(sentence['gold'])}</div>"]
    for row in given.itertuples():
        sign, weight = ("✓", 400) if row.right else ("✗", 700)
        answer = f'<span style="font-weight:{weight}">{sign} {escape(row.answer)}</span>'
        blocks.append(
            f"<div><small>{escape(labels[row.run])}</small><br>{answer}<br><small>lead "
            f"{row.margin:.1f}</small></div>"
        )
    st.html(f'<div style="{_GRID}">{"".join(blocks)}</div>')


def _word_by_word(sentence: pd.Series[Any], given: pd.DataFrame, labels: dict[str, str]) -> None:
    words = sentence["words"].split("\t")
    table = tag_rows(
        words, sentence["gold"], {labels[row.run]: row.answer for row in given.itertuples()}
    )
    head = "".join(f'<th scope="col" style="{_CELL}600">{escape(str(name))}</th>' for name in table)
    body = ""
    for _, row in table.iterrows():
        word = (
            f'<th scope="row" lang="{escape(sentence["language"])}" '
            f'dir="{direction(sentence["language"])}" '
            f'style="{_CELL}400">{escape(row["word"])}</th>'
        )
        cells = "".join(
            f'<td style="{_CELL}{700 if cell.startswith("✗") else 400}">{escape(cell)}</td>'
            for cell in row.iloc[1:]
        )
        body += f"<tr>{word}{cells}</tr>"
    st.html(
        f'<div style="overflow-x:auto"><table '
        f'style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"</table></div>"
    )

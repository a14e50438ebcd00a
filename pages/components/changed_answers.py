"""The tables of the page Flips, cached by run ids, and its section of changed sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import say
from pages.components.layer_picker import follow_layer
from pages.components.selection import get, put, query
from pages.components.sentences import answers as answers_to
from pages.components.sentences import compared, show_sentence, side_by_side
from sdq.figures import alone
from sdq.figures.disagreement import matrix, positions
from sdq.figures.examples import listing
from sdq.figures.flips import changed
from sdq.figures.odds import odds
from sdq.inspection.storage import paths, read_table
from sdq.io.quoting import quoted
from sdq.results import Report
from sdq.store import Store

EVERY = "all"
ROWS = 300


@st.cache_resource(max_entries=32, show_spinner=False)
def pairs(folder: str, fp32: str, run: str, task: str, language: str) -> pd.DataFrame:
    """The pairs of answers (see sdq.figures.examples.pair) in one language, or in all."""
    both = compared(folder, fp32, run, task)
    return both if language == EVERY else both[both["language"] == language]


@st.cache_resource(max_entries=8, show_spinner="Comparing the answers")
def answers(folder: str, fp32: str, run: str, task: str) -> pd.DataFrame:
    """Every answer of all languages (see sdq.figures.disagreement.positions)."""
    return positions(compared(folder, fp32, run, task))


@st.cache_resource(max_entries=32, show_spinner=False)
def cells(folder: str, fp32: str, run: str, task: str, language: str) -> pd.DataFrame:
    """The disagreement matrix (see sdq.figures.disagreement.matrix)."""
    given = answers(folder, fp32, run, task)
    return matrix(given if language == EVERY else given[given["language"] == language])


@st.cache_resource(max_entries=32, show_spinner=False)
def change_odds(
    folder: str, fp32: str, names: tuple[tuple[str, str], ...], task: str, language: str
) -> pd.DataFrame:
    """How often answers change by FP32's margin (see sdq.figures.odds.odds); `names`: (run id, its
    name) of the quantized runs."""
    return odds({name: pairs(folder, fp32, run, task, language) for run, name in names})


@st.cache_resource(max_entries=32, show_spinner=False)
def changes(
    folder: str, fp32: str, run: str, task: str, language: str, cell: tuple[str, str] | None
) -> pd.DataFrame:
    """The changed pairs (see sdq.figures.flips.changed); with a `cell` those in which this label of
    FP32 became that one."""
    changed_pairs = changed(pairs(folder, fp32, run, task, language))
    if cell is None:
        return changed_pairs
    given = answers(folder, fp32, run, task)
    matches = given[(given["FP32"] == cell[0]) & (given["now"] == cell[1])][
        ["id", "language"]
    ].drop_duplicates()
    return changed_pairs.merge(matches, on=["id", "language"])


def measured(store: Store, run: str, name: str) -> pd.DataFrame | None:
    """A table of the run's inspection (see sdq.inspection.storage); None if it was not made."""
    path: Path | None = paths(run, store).get(name)
    return None if path is None else _read(str(path), path.stat().st_mtime_ns)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(path: str, made: int) -> Any:
    return read_table(Path(path))


def clear_cell() -> None:
    """Show all changes again."""
    for name in ("was", "now"):
        st.query_params.pop(name, None)


def sentences_section(
    store: Store,
    report: Report,
    full: Report,
    label: str,
    language: str,
    cell: tuple[str, str] | None,
) -> None:
    """The sentences behind the changes, and the chosen one of them."""
    folder = str(store.folder)
    matches = changes(folder, full.run, report.run, report.task, language, cell)
    st.subheader(
        "Sentences whose answer changes"
        + (f": {quoted(cell[0])} → {quoted(cell[1])}" if cell else ""),
        anchor=False,
    )
    if cell:
        st.button("Show all changes", key="forget", icon=":material/close:", on_click=clear_cell)
    listed = measured(store, report.run, "alone")
    if listed is not None and st.toggle(
        "Only sentences that were scanned module by module",
        key="measured",
        bind="query-params",
    ):
        matches = matches.merge(listed[["id", "language"]].drop_duplicates(), on=["id", "language"])
    if matches.empty:
        st.info(
            "No answer changes this way here. Choose another language or run, or show all changes."
        )
        return
    _list(matches, label, f"listed-{report.run}-{language}-{cell}-{len(matches)}")
    named = matches[matches["id"] == get("example")]
    seen = (named if len(named) else matches).iloc[0]
    show_sentence(seen)
    side_by_side(
        seen,
        answers_to(folder, (full.run, report.run), seen["id"], seen["language"]),
        {full.run: "FP32", report.run: label},
    )
    _alone_section(report, seen, listed)
    asked = query("runs") | {"language": seen["language"], "example": seen["id"], "of": label}
    st.page_link(
        "pages/inspect/examples.py",
        label="This sentence in every language",
        icon=":material/swap_vert:",
        query_params=asked,
    )


def _list(changed_answers: pd.DataFrame, label: str, key: str) -> None:
    """The table of the sentences; a click on a row selects its sentence."""
    rows = changed_answers.head(ROWS)

    def row_chosen() -> None:
        if at := st.session_state[key]["selection"]["rows"]:
            put("example", rows["id"].iloc[at[0]])
            put("language", rows["language"].iloc[at[0]])

    shown = listing(rows, label).assign(flip=rows["kind"])
    numbers = {
        c: st.column_config.NumberColumn(format="%.1f") for c in shown.select_dtypes("float")
    }
    count = len(changed_answers)
    st.dataframe(
        shown,
        hide_index=True,
        height=260,
        key=key,
        column_config=numbers,
        on_select=row_chosen,
        selection_mode="single-row",
        alt=f"{count} sentences whose answer changes",
    )
    most = f"{ROWS} of {count:,}" if count > ROWS else f"{count:,}"
    say(
        f"{most} sentences, FP32's least certain answers first. Select a row to see the sentence "
        "below.",
        "note",
    )


def _alone_section(report: Report, seen: pd.Series[Any], scan: pd.DataFrame | None) -> None:
    """Which module's quantization alone changes this sentence."""
    rows = None if scan is None else alone.rows(scan, seen["id"], seen["language"])
    if scan is None:
        say(
            "Inspect this run to see which module alone changes this answer.",
            "note",
        )
        st.page_link(
            "pages/inspect/attribution.py",
            label="Inspect this run",
            icon=":material/search:",
            query_params={"runs": report.run},
        )
    elif rows is None or rows.empty:
        others = len(scan[["id", "language"]].drop_duplicates())
        say(
            f"The scan of each module alone covers {others} other sentences, not this one.",
            "note",
        )
    else:
        figure, rows, text = alone.picture(rows, theme())
        say(text)
        key, asked = f"alone-{report.run}", query("runs", "example", "language")
        show(
            figure,
            rows,
            key=key,
            title="Each module alone",
            text=text,
            query=asked,
            terms=("KLD", "logits"),
            clicked=follow_layer,
        )

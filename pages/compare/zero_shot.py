"""Zero-shot: does quantization hurt unseen languages more?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.runs import how_made
from pages.components.selection import empty, query, runs, without_fp32
from pages.components.sentences import drops, fp32_of, languages_with_text, one_of
from sdq.figures import sample_size, zero_shot
from sdq.labels import run_names
from sdq.results import Report, against_fp32
from sdq.store import Store

SEEN = "What was seen of them"
BY: dict[str, zero_shot.By] = {SEEN: "seen", "Script": "script", "Family": "family"}
store = Store.default()
folder = str(store.folder)


@st.cache_resource(max_entries=32, show_spinner="Comparing the languages")
def grouped(folder: str, runs: tuple[str, ...], fp32: str, by: zero_shot.By) -> pd.DataFrame:
    """The drops of the groups (see sdq.figures.zero_shot)."""
    kept = Store(Path(folder))
    reports = [kept.report(run) for run in runs]
    return zero_shot.table(
        reports,
        {run: kept.sentences(run) for run in runs},
        kept.sentences(fp32),
        by,
        languages_with_text(reports[0], kept),
    )


def groups_section(single: pd.DataFrame, reports: list[Report], full: Report) -> None:
    """The drop of the trained-on language next to that of the others, group by group."""
    chosen = tuple(r.run for r in reports)
    help = (
        "Seen: labels, unlabelled text, calibration text, or nothing since pre-training. Families "
        "are the top level of Glottolog, scripts ISO 15924."
    )
    label = (
        st.segmented_control(
            "Group the languages by",
            list(BY),
            default=SEEN,
            required=True,
            key="groups",
            bind="query-params",
            help=help,
        )
        or SEEN
    )
    by = BY[label]
    rows, metric = grouped(folder, chosen, full.run, by), reports[0].metric
    text = zero_shot.reading(rows, metric, by)
    say(text, "reading")
    terms = (
        "FP32",
        *dict.fromkeys(r.method for r in reports),
        "zero-shot",
        "interaction",
        "95 % interval",
        "Holm's correction",
        "clusters",
    )
    asked = query("runs") | {"groups": label}
    picture = drawn(zero_shot.figure, rows, single, metric, theme())
    show(
        picture,
        rows,
        key=f"zero-shot-{by}-{reports[0].task}",
        title="Drop of the languages without labels",
        text=text,
        query=asked,
        terms=terms,
    )
    say(
        "Mark and line: the mean drop of a group and its 95 % interval; ticks: its languages. "
        "Comparisons are paired: every sentence is drawn in all its languages at once. The "
        "interval covers other sentences in these languages, not other languages of a script or "
        "family. Unseen: no text of the task in this language since pre-training.",
        "note",
    )


def needed_section(single: pd.DataFrame, reports: list[Report]) -> None:
    """The slider on the number of sentences."""
    st.subheader("How many sentences does it take to detect a drop?", anchor=False)
    report = one_of(reports, "by")
    table = drawn(sample_size.needed, single, report.run)
    text = sample_size.reading(table)
    say(text)
    stops, tested = sample_size.steps(table), int(table["sentences"].max())
    n = st.select_slider(
        "Test sentences per language",
        stops,
        tested,
        lambda n: f"{n:,}",
        key="sentences",
        bind="query-params",
    )
    asked, terms = (
        query("runs") | {"by": run_names(reports)[report.run], "sentences": f"{n:,}"},
        ("FP32", report.method, "95 % interval", "power"),
    )
    picture = drawn(sample_size.figure, table, report.metric, n, theme())
    show(
        picture,
        table,
        key=f"needed-{report.task}",
        title="Drop and number of sentences",
        text=text,
        query=asked,
        terms=terms,
    )
    say(
        "The intervals are those that this many sentences of the same kind would give if the drops "
        "were those measured here. Filled marks: the interval excludes zero. Open marks could be "
        "noise (language by language, not adjusted for their number). In the table, detectable is "
        "the smallest drop that these sentences show 4 times out of 5.",
        "note",
    )


st.title("Does quantization hurt unseen languages more?", anchor=False)
chosen = runs(store)
quantized = against_fp32(chosen)
if not quantized:
    empty(
        "Only FP32 is selected, and a drop needs a quantized run: add one in the list above.",
        chosen[0],
    )
reference = fp32_of(store, quantized[0])
if reference is None:
    without_fp32("Drops are compared sentence by sentence with FP32", quantized[0])
single = drops(folder, tuple(r.run for r in quantized), reference.run)
if single["low"].isna().any():
    empty(
        "These runs and the FP32 run were tested on different sentences, so they cannot be "
        "compared. Run their recipes again.",
        quantized[0],
    )
try:
    groups_section(single, quantized, reference)
except ValueError as error:
    st.info(f"The languages cannot be compared in groups: {error}.", icon=":material/translate:")
needed_section(single, quantized)
how_made(quantized)

"""Runs: which runs are stored, and what can be done with them?"""

from __future__ import annotations

import zlib

import pandas as pd
import streamlit as st

from pages.components.glossary import say
from pages.components.history import act, disk_usage, last_change, without_result
from pages.components.runs import damaged, finished
from pages.components.session import visitor
from sdq.jobs import history, trash
from sdq.results import Report
from sdq.service.redaction import shown
from sdq.store import Store

NAMES = {"score": "zero-shot, %", "size_mb": "size (simulated), MB", "run": "id"}
COLUMNS = {
    "zero-shot, %": st.column_config.NumberColumn(
        format="%.1f", help="Mean score over the languages without labels in training"
    ),
    "size (simulated), MB": st.column_config.NumberColumn(
        format="%.2f",
        help="Size of the codes and scales; for FP32, of the parameters",
    ),
    "seconds": st.column_config.NumberColumn(format="%.0f"),
    "seed": st.column_config.NumberColumn(format="%d"),
    "made": st.column_config.DatetimeColumn(
        format="YYYY-MM-DD HH:mm",
        timezone=st.context.timezone,
        help="Unknown for runs that came with the project",
    ),
    "state": st.column_config.TextColumn(
        help="damaged: a file of the run does not match what was written; see below."
    ),
    "origin": st.column_config.TextColumn(
        help="own: in your data folder. shipped: came with the project; cannot be deleted."
    ),
}
store = Store.default()


def selected_rows(table: pd.DataFrame) -> list[str]:
    """The filters and the table; returns the ids of the selected rows."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        text = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            placeholder="for example: sdq intent seed 1",
            help="Every word must occur in the row.",
            width=320,
        )
        tasks = st.multiselect(
            "Task", sorted(set(table["task"])), key="only-task", bind="query-params", width=260
        )
        methods = st.multiselect(
            "Method",
            list(dict.fromkeys(table["method"])),
            key="only-method",
            bind="query-params",
            width=320,
        )
    matches = history.matching(table, text or "", tasks, methods)
    if matches.empty:
        st.info(
            "No run matches the search and the filters; remove a word.",
            icon=":material/filter_alt_off:",
        )
        return []
    ids = list(matches["run"])
    # the selection holds row numbers: other rows need another key
    key = f"runs-{zlib.crc32(' '.join(ids).encode()):08x}"
    hidden = [] if matches["made"].notna().any() else ["made"]  # known for the visitor's own runs
    hidden += [] if (matches["state"] == history.DAMAGED).any() else ["state"]
    hidden += [] if visitor().leads and matches["pinned"].any() else ["pinned"]
    shown = matches.drop(columns=hidden).rename(columns=NAMES)
    state = st.dataframe(
        shown,
        hide_index=True,
        placeholder="",
        column_config=COLUMNS,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
    )
    return [ids[row] for row in state["selection"]["rows"]]


def actions(picked: list[Report], pins: set[str]) -> None:
    """Links and buttons for the selected runs."""
    comparable, ids = history.comparable(picked, store), [report.run for report in picked]
    query = {"runs": ",".join(comparable)}
    who = visitor()
    plain = not any(report.is_quantized for report in picked)
    with st.container(horizontal=True, vertical_alignment="center", key="actions"):
        if len(picked) == 1:
            st.page_link(
                "pages/lab/quantize.py",
                label="Open",
                icon=":material/open_in_new:",
                query_params={"run": ids[0]},
            )
        st.page_link(
            "pages/compare/methods.py",
            label="Compare",
            icon=":material/view_column:",
            query_params=query,
        )
        st.page_link(
            "pages/compare/languages.py",
            label="Languages",
            icon=":material/translate:",
            query_params=query,
        )
        st.page_link(
            "pages/inspect/depth.py",
            label="Error through depth",
            icon=":material/stacked_line_chart:",
            query_params=query,
            disabled=plain,
        )
        st.page_link(
            "pages/compare/report.py",
            label="Report",
            icon=":material/description:",
            query_params=query,
        )
        on = not set(ids) <= pins
        if who.leads and st.button(
            "Pin" if on else "Unpin",
            key="pin",
            icon=":material/keep:" if on else ":material/keep_off:",
            help="Pinned runs are listed first.",
        ):
            act(history.pin, store, ids, on)
        if all(trash.may_delete(store, run, who) for run in ids) and st.button(
            "Delete",
            key="delete",
            icon=":material/delete:",
            help="Moves the runs to the trash; this can be undone.",
        ):
            act(trash.delete, store, ids, undo=ids)
    if len(comparable) < len(picked):
        st.caption(
            f"The links use {len(comparable)} of the {len(picked)} selected runs: at most "
            f"{history.SIDE_BY_SIDE} of one model and task."
        )


st.title("Which runs are stored?", anchor=False)
reports = finished(store)
broken = store.damaged()
table = history.rows(reports, store, broken)
if not visitor().at_home and not table.empty:
    table["model"] = table["model"].map(shown)
say(history.reading(table), "reading")
last_change(store)
if reports:
    by_id = {report.run: report for report in reports}
    if ids := selected_rows(table):
        actions([by_id[run] for run in ids], set(table.loc[table["pinned"], "run"]))
    else:
        st.caption(
            "Select rows to open, compare, pin or delete them."
            if visitor().leads
            else "Select rows to open or compare them, or to delete your own."
        )
else:
    st.page_link("pages/lab/quantize.py", label="Quantize the model now", icon=":material/tune:")
without_result(store)
damaged(store, damage=broken)
disk_usage(store)

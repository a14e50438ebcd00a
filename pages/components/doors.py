"""The ways on from Home: three doors, and the newest runs."""

from __future__ import annotations

import streamlit as st

from pages.components.runs import finished
from pages.components.selection import run_label
from pages.components.session import visitor
from sdq.jobs.history import own
from sdq.service.visitors import askers
from sdq.store import Store

NEWEST = 5
DOORS = (
    (
        "lab/quantize",
        "Learn: quantize it yourself",
        "tune",
        "Choose how coarsely to round and whether to train, run it, and see what it costs in "
        "each language.",
    ),
    (
        "inspect/depth",
        "Inspect: error through depth",
        "stacked_line_chart",
        "Follow the rounding error from block to block, and see where it arises.",
    ),
    (
        "compare/methods",
        "Compare: methods side by side",
        "view_column",
        "Put runs next to each other, and see which method wins back how much.",
    ),
)


def doors(runs: list[str]) -> None:
    """The ways on, with the runs of the picture where a page takes runs."""
    for column, (page, label, icon, text) in zip(st.columns(len(DOORS)), DOORS, strict=True):
        query = {"runs": ",".join(runs)} if runs and not page.startswith("lab/") else None
        column.page_link(
            f"pages/{page}.py", label=f"**{label}**", icon=f":material/{icon}:", query_params=query
        )
        column.caption(text)


def newest(store: Store) -> None:
    """Links to the newest runs of the visitor's own; nothing without any."""
    who = visitor()
    mine = [
        r
        for r in finished(store)
        if own(store, r.run) and (who.leads or who.name in askers(store.folder / r.run))
    ][:NEWEST]
    if mine:
        st.markdown("**Your newest runs**")
    for report in mine:
        state = " (damaged)" if store.damage(report.run) else ""
        label = (
            f"{run_label(report)}: {100 * report.quantized.zero_shot_mean:.1f} % zero-shot{state}"
        )
        st.page_link(
            "pages/lab/quantize.py",
            label=label,
            icon=":material/history:",
            query_params={"run": report.run},
        )
    if mine:
        st.page_link("pages/start/runs.py", label="All runs", icon=":material/list:")

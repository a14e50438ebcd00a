"""The links at the bottom of Home: three pages, and the visitor's newest runs."""

from __future__ import annotations

import math

import streamlit as st

from pages.components.runs import finished
from pages.components.selection import run_label
from pages.components.session import visitor
from sdq.jobs.history import own
from sdq.service.visitors import askers
from sdq.store import Store

NEWEST = 5
LINKS = (
    (
        "lab/quantize",
        "Learn: quantize it yourself",
        "tune",
        "Choose the bit width and the method, run it, and see the cost in each language.",
    ),
    (
        "inspect/depth",
        "Inspect: error through depth",
        "stacked_line_chart",
        "Follow the rounding error from block to block and see where it arises.",
    ),
    (
        "compare/methods",
        "Compare: methods side by side",
        "view_column",
        "Compare runs and see how much of the loss each method recovers.",
    ),
)


def page_links(runs: list[str]) -> None:
    """The links, with the runs of the figure where a page takes runs."""
    for column, (page, label, icon, text) in zip(st.columns(len(LINKS)), LINKS, strict=True):
        query = {"runs": ",".join(runs)} if runs and not page.startswith("lab/") else None
        column.page_link(
            f"pages/{page}.py", label=f"**{label}**", icon=f":material/{icon}:", query_params=query
        )
        column.caption(text)


def newest_runs(store: Store) -> None:
    """Links to the visitor's own newest runs, if there are any."""
    who = visitor()
    own_runs = [
        r
        for r in finished(store)
        if own(store, r.run) and (who.leads or who.name in askers(store.folder / r.run))
    ][:NEWEST]
    if own_runs:
        st.markdown("**Your newest runs**")
    for report in own_runs:
        state = " (damaged)" if store.damage(report.run) else ""
        scores = report.quantized
        kind = "" if math.isnan(scores.zero_shot_mean) else " zero-shot"
        label = f"{run_label(report)}: {100 * scores.leading:.1f} %{kind}{state}"
        st.page_link(
            "pages/lab/quantize.py",
            label=label,
            icon=":material/history:",
            query_params={"run": report.run},
        )
    if own_runs:
        st.page_link("pages/start/runs.py", label="All runs", icon=":material/list:")

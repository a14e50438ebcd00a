"""Pickers of the Inspect pages (run, layer, languages) and the links between these pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pages.components import selection
from sdq.figures.weights import label_of, nearest
from sdq.io.quoting import quoted
from sdq.labels import language_name
from sdq.results import Report
from sdq.store import Store

PAGES = {
    "why": ("pages/inspect/why.py", "Why it breaks", ":material/troubleshoot:"),
    "weights": ("pages/inspect/weights.py", "Weights", ":material/bar_chart:"),
    "activations": ("pages/inspect/activations.py", "Inputs", ":material/ssid_chart:"),
    "depth": ("pages/inspect/depth.py", "Error through depth", ":material/stacked_line_chart:"),
    "sensitivity": ("pages/inspect/sensitivity.py", "Effect on the answers", ":material/sort:"),
}


def one_run(store: Store) -> Report:
    """The picker of runs, and of the one that is shown (`shown=id` in the address): by default the
    first quantized one."""
    by_id = {report.run: report for report in selection.runs(store)}
    first = next((run for run, report in by_id.items() if report.is_quantized), next(iter(by_id)))
    wanted = st.query_params.get("shown") or st.session_state.get("shown-run")
    if wanted in by_id and len(by_id) > 1:
        st.query_params["shown"] = wanted
    else:
        st.query_params.pop("shown", None)
    if len(by_id) == 1:
        return by_id[first]

    def keep() -> None:
        st.query_params["shown"] = st.session_state["shown-run"] = st.session_state["pick-shown"]

    st.session_state["pick-shown"] = wanted if wanted in by_id else first
    shown = st.selectbox(
        "Run",
        list(by_id),
        format_func=lambda run: selection.run_label(by_id[run]),
        key="pick-shown",
        on_change=keep,
    )
    return by_id[shown]


def one_layer(rows: pd.DataFrame, first: str) -> str:
    """The select box of layers (rows with module, role, block).

    A block or an input selected elsewhere becomes the nearest module here; `first` if nothing was.
    """
    names = {row["module"]: label_of(row) for _, row in rows.iterrows()}
    now = selection.get("layer")
    if now not in names:
        selection.put("layer", nearest(now, list(names)) or first)
    return selection.choose("layer", "Layer", list(names), show=lambda name: names[name])


def follow_layer(points: list[dict[str, Any]]) -> None:
    """A click on something whose customdata is a module's name: select that layer."""
    carried = points[0].get("customdata")
    name = carried[0] if isinstance(carried, list | tuple) and carried else carried
    if isinstance(name, str) and name:
        selection.put("layer", name)


def languages(every: Sequence[str], usual: Sequence[str], home: str, most: int) -> list[str]:
    """`home` and up to `most` other languages (`languages=de,th` in the address), by default the
    `usual` ones."""
    others = [code for code in every if code != home]
    asked = st.query_params.get("languages")
    st.session_state["pick-languages"] = (
        list(usual)
        if asked is None
        else [code for code in dict.fromkeys(asked.split(",")) if code in others][:most]
    )

    def keep() -> None:
        st.query_params["languages"] = ",".join(st.session_state["pick-languages"]) or home

    label = f"Languages besides {language_name(home)}" if home in every else "Languages"
    chosen = st.multiselect(
        label,
        others,
        format_func=language_name,
        key="pick-languages",
        max_selections=most,
        on_change=keep,
    )
    return [*([home] if home in every else []), *chosen]


def address(*more: str) -> dict[str, str]:
    """The parameters of a link to this view; `more` names further ones."""
    extra = {name: value for name in ("shown", *more) if (value := st.query_params.get(name))}
    return selection.query("runs", "layer") | extra


def related_pages(here: str, layer: str) -> None:
    """Links to the other pages about the same layer of the same run."""
    st.markdown(f"**More about {quoted(layer)}:**")
    with st.container(horizontal=True, key="onward"):
        for name, (file, label, icon) in PAGES.items():
            if name != here:
                st.page_link(file, label=label, icon=icon, query_params=address())

"""Weights: what did rounding do to them?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.layer_picker import address, follow_layer, one_layer, one_run, related_pages
from pages.components.session import readable
from sdq.figures.channels import channels_picture
from sdq.figures.style import Theme
from sdq.figures.weight_histograms import histogram_picture
from sdq.figures.weights import (
    MEASURES,
    Picture,
    find,
    headline,
    label_of,
    modules_picture,
    reading,
    table,
)
from sdq.labels import treatment, width
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store


@st.cache_resource(max_entries=8, show_spinner=False)
def stored(folder: str, run: str) -> pd.DataFrame:
    """The table of the run's weights."""
    return Store(Path(folder)).table(run, "weights")


@st.cache_resource(max_entries=64, show_spinner=False)
def picture(
    folder: str, run: str, method: str, kind: str, layer: str, option: str, theme: Theme
) -> Picture:
    """One of the three figures; everything it depends on is in the arguments."""
    weights = stored(folder, run)
    if kind == "map":
        return modules_picture(weights, option, layer, theme)
    if kind == "histogram":
        return histogram_picture(weights, layer, method, option == "log", theme)
    return channels_picture(weights, layer, option == "reach", theme)


def numbers(weights: pd.DataFrame, layer: str) -> None:
    """The headline numbers of one layer."""
    with st.container(horizontal=True, key="numbers"):
        for label, value, meaning in headline(weights, layer):
            st.metric(label, value, help=meaning, width="content")


def draw(
    kind: str,
    title: str,
    report: Report,
    layer: str,
    option: str,
    *options: str,
    clickable: bool = False,
) -> None:
    """One figure with its sentence; `options` are the parameters of the address it depends on."""
    figure, rows, text = picture(
        str(store.folder), report.run, report.method, kind, layer, option, theme()
    )
    say(text)
    terms = ("FP32", *((report.method, "fake quantization") if report.is_quantized else ()))
    key = f"weights-{kind}"
    show(
        figure,
        rows,
        key=key,
        title=title,
        text=text,
        query=address(*options),
        terms=terms,
        clicked=follow_layer if clickable else None,
    )


st.title("What did rounding do to the weights?", anchor=False)
store = Store.default()
try:
    report = one_run(store)
    weights = stored(str(store.folder), report.run)
    every = drawn(table, weights)
    rounded = bool(every["SQNR, dB"].notna().any())
    run = treatment(width(report.recipe), report.method)
    say(drawn(reading, weights, run), "reading")

    hardest = every["SQNR, dB"].idxmin() if rounded else every["largest / typical weight"].idxmax()
    layer = one_layer(weights, every.loc[hardest, "module"])
    name = label_of(find(weights, layer))
    st.subheader(name[0].upper() + name[1:], anchor=False)
    numbers(weights, layer)

    st.subheader("All modules", anchor=False)
    measure = "Range"
    if rounded:
        measure = (
            st.segmented_control(
                "Measure",
                list(MEASURES),
                default="SQNR",
                required=True,
                key="cells",
                bind="query-params",
            )
            or "SQNR"
        )
    say("Click a cell to see that module in the figures below.", "note")
    draw(
        "map",
        f"{MEASURES[measure].column} of every module, {run}",
        report,
        layer,
        measure,
        "cells",
        clickable=True,
    )

    st.subheader(f"Weight distribution: {name}", anchor=False)
    log = st.toggle(
        "Log axis",
        key="log",
        bind="query-params",
        help="Shows rare, large weights that a linear axis hides.",
    )
    draw("histogram", f"Weights of {name}, {run}", report, layer, "log" if log else "plain", "log")

    st.subheader(f"Range of each channel: {name}", anchor=False)
    by_reach = st.toggle(
        "Sort by range",
        key="sorted",
        bind="query-params",
        help="Widest channel first, instead of by channel number.",
    )
    draw(
        "channels",
        f"Channels of {name}, {run}",
        report,
        layer,
        "reach" if by_reach else "number",
        "sorted",
    )
    related_pages("weights", name)
except UserError as error:
    st.error(readable(error), icon=":material/error:")

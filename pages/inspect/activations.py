"""Activations: what flows into each layer, and does it differ by language?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components import selection
from pages.components.figure import show, theme
from pages.components.glossary import say
from pages.components.layer_picker import address, languages, one_layer, one_run, related_pages
from pages.components.session import readable
from sdq.figures.activations import (
    MOST,
    compared,
    histogram_picture,
    modules,
    position_picture,
    reading,
    sqnr_picture,
)
from sdq.figures.dimensions import dimension_picture, outlier_units, units_reading
from sdq.figures.style import Theme
from sdq.figures.weights import Picture, find, label_of
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store


@st.cache_resource(max_entries=16, show_spinner=False)
def stored(folder: str, run: str, name: str) -> pd.DataFrame:
    """A table of the run: "activations" or "profiles"."""
    return Store(Path(folder)).table(run, name)


@st.cache_resource(max_entries=16, show_spinner=False)
def units(folder: str, run: str) -> pd.DataFrame:
    """Outlier dimensions over all layers."""
    return outlier_units(stored(folder, run, "profiles"))


@st.cache_resource(max_entries=64, show_spinner=False)
def picture(
    folder: str,
    run: str,
    home: str,
    kind: str,
    layer: str,
    codes: tuple[str, ...],
    log: bool,
    theme: Theme,
) -> Picture | None:
    """One of the four figures; everything it depends on is in the arguments."""
    if kind == "position":
        return position_picture(stored(folder, run, "profiles"), layer, theme)
    if kind == "dimension":
        return dimension_picture(stored(folder, run, "profiles"), layer, theme)
    values = stored(folder, run, "activations")
    return (
        sqnr_picture(values, layer, home, theme)
        if kind == "sqnr"
        else histogram_picture(values, layer, codes, home, log, theme)
    )


def draw(
    kind: str,
    title: str,
    report: Report,
    layer: str,
    missing: str = "",
    codes: tuple[str, ...] = (),
    log: bool = True,
) -> None:
    """One figure with its sentence; `missing` replaces it where there is nothing to draw."""
    drawn = picture(
        str(store.folder), report.run, report.labelled, kind, layer, codes, log, theme()
    )
    if drawn is None:
        say(missing, "note")
        return
    figure, rows, text = drawn
    say(text)
    terms = (
        "FP32",
        *((report.method, "fake quantization") if report.is_quantized else ()),
        "zero-shot",
    )
    show(
        figure,
        rows,
        key=f"activations-{kind}",
        title=title,
        text=text,
        query=address("languages", "linear"),
        terms=terms,
    )


def across(folder: str, run: str) -> None:
    """Outlier units across layers."""
    st.subheader("Outlier units across layers", anchor=False)
    rows = units(folder, run)
    say(units_reading(rows))
    if len(rows):
        numbers = {
            name: st.column_config.NumberColumn(format="%.1f")
            for name in ("largest |x|", "times the median rms")
        }
        st.dataframe(
            rows,
            hide_index=True,
            placeholder="",
            column_config=numbers,
            key="units",
            height=min(400, 36 * len(rows) + 40),
        )
        say(
            "Query, key and value share one input and count once. Unit numbers are comparable only "
            "between rows with the same input.",
            "note",
        )


st.title("What flows into each layer, and does it differ by language?", anchor=False)
store = Store.default()
try:
    report = one_run(store)
    folder, home = str(store.folder), report.labelled
    values = stored(folder, report.run, "activations")
    rows = modules(values)
    sentence = st.container()
    layer = one_layer(rows, rows.iloc[0]["module"])
    name = label_of(find(rows, layer))
    with sentence:
        say(reading(values, layer, home), "reading")
    say(
        "Measured with rounding switched off in all earlier layers: these are the layer's exact "
        "inputs.",
        "note",
    )

    st.subheader(f"Input distribution: {name}", anchor=False)
    usual = compared(values, layer, home, selection.get("language"))
    codes = languages(list(values.loc[values["module"] == layer, "language"]), usual, home, MOST)
    linear = st.toggle(
        "Linear axis",
        key="linear",
        bind="query-params",
        help="The log axis shows rare, large values; the linear one, where most values are.",
    )
    draw(
        "histogram",
        f"Inputs of {name}, by language",
        report,
        layer,
        codes=tuple(codes),
        log=not linear,
    )

    st.subheader(f"Rounding error by language: {name}", anchor=False)
    draw(
        "sqnr",
        f"SQNR of the inputs of {name}, by language",
        report,
        layer,
        "This run does not round the inputs of this layer. Choose a quantized run above.",
    )

    st.subheader(f"Range by token position: {name}", anchor=False)
    draw(
        "position",
        f"Range of the inputs of {name}, by token position",
        report,
        layer,
        "This layer sees one vector per sentence, so there are no positions.",
    )

    st.subheader(f"Outlier dimensions: {name}", anchor=False)
    draw("dimension", f"Hidden units at the input of {name}", report, layer)
    across(folder, report.run)
    related_pages("activations", name)
except UserError as error:
    st.error(readable(error), icon=":material/error:")

"""Methods side by side: which method scores best, and at what price?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.depth_figures import Drawing, missing_note, table_of
from pages.components.figure import show, theme
from pages.components.glossary import TERMS, say
from pages.components.runs import finished
from pages.components.selection import choose, get, put, query, run_label, runs, to_quantize
from sdq.figures import depth, depth_rows, methods, prices, weight_histograms
from sdq.figures.curves import curves, run_marks
from sdq.figures.style import Theme
from sdq.labels import module_label, run_names
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store

PRICES: dict[str, prices.Price] = {"Size (simulated)": "size", "Time to make the run": "time"}
NO_SPEED = (
    "Speed is not compared: a simulated model runs no faster than FP32. A lower latency needs "
    "integer kernels."
)
WORDS = (
    "zero-shot",
    "fake quantization",
    "simulated",
    "95 % interval",
    "accumulated",
    "relative L2",
    "SQNR",
)


@st.cache_resource(max_entries=64, show_spinner="Comparing sentence by sentence")
def compared(folder: str, chosen: tuple[str, ...]) -> pd.DataFrame:
    """The numbers of the runs; scores have no intervals where the sentences cannot be read."""
    store, sentences = Store(Path(folder)), {}
    for run in chosen:
        try:
            sentences[run] = store.sentences(run)
        except (OSError, UserError):
            continue
    return methods.table([store.report(run) for run in chosen], sentences)


@st.cache_resource(max_entries=64, show_spinner=False)
def through_depth(folder: str, chosen: tuple[str, ...], theme: Theme) -> Drawing:
    """(figure, table, what it shows): accumulated error at the block outputs, a panel per run."""
    store = Store(Path(folder))
    reports, errors = (
        [store.report(run) for run in chosen],
        {run: store.table(run, "depth") for run in chosen},
    )
    names = run_names(reports)
    table = depth_rows.rows(errors, names, "relative_l2")
    figure = curves(table, "relative_l2", run_marks(reports), theme, panel="run")
    return (
        figure,
        depth_rows.titled(table, "relative_l2"),
        depth.reading(errors, names, "relative_l2"),
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def of_layer(folder: str, chosen: tuple[str, ...], layer: str, label: str, theme: Theme) -> Drawing:
    """(figure, table, what it shows): weights of a layer before and after rounding, a panel per
    run."""
    store = Store(Path(folder))
    names, weights = (
        run_names([store.report(run) for run in chosen]),
        {run: store.table(run, "weights") for run in chosen},
    )
    table = weight_histograms.histogram_table(weights, names, layer)
    return (
        weight_histograms.histograms(table, theme),
        table,
        weight_histograms.histogram_reading(weights, names, layer, label),
    )


def alone(reports: list[Report], store: Store) -> None:
    """One run cannot be compared: say so, suggest others, and stop the page."""
    st.info(
        "Choose at least two runs above to compare them.",
        icon=":material/compare_arrows:",
    )
    others = methods.suggested(reports, [r for r in finished(store) if store.alike(r, reports[0])])
    if others:
        together = ",".join(r.run for r in [*reports, *others])
        st.button(
            f"Compare with {' and '.join(run_label(r) for r in others)}",
            icon=":material/add:",
            key="suggest",
            on_click=lambda: put("runs", together),
        )
    else:
        to_quantize("No other run of this task is stored: create one", reports[0])
    st.stop()


def panels(
    folder: str, reports: list[Report], link: dict[str, str], terms: tuple[str, ...]
) -> None:
    """Small multiples with shared axes: error through depth, and the weights of one layer."""
    with_errors, with_weights = (
        tuple(r.run for r in reports if table_of(folder, r.run, name) is not None)
        for name in ("depth", "weights")
    )
    if with_errors:
        st.subheader("Error through depth, run by run", anchor=False)
        figure, table, text = through_depth(folder, with_errors, theme())
        say(text)
        show(
            figure,
            table,
            key="methods-depth",
            title="Error through depth",
            text=text,
            query=link,
            terms=terms,
        )
    if with_weights:
        st.subheader("Weights of one layer before and after rounding", anchor=False)
        first = table_of(folder, with_weights[0], "weights")
        layers = {
            m: module_label(m, role, block)
            for m, role, block in zip(first["module"], first["role"], first["block"], strict=True)
        }
        if get("layer") not in layers and with_errors:
            put("layer", depth_rows.worst_module(table_of(folder, with_errors[0], "depth")))
        layer = choose("layer", "Layer", list(layers), show=layers.__getitem__)
        figure, table, text = of_layer(folder, with_weights, layer, layers[layer], theme())
        say(text)
        show(
            figure,
            table,
            key="methods-weights",
            title=f"Weights of {layers[layer]}",
            text=text,
            query=link | query("layer"),
            terms=terms,
        )
    if said := missing_note(
        Store(Path(folder)), [r.run for r in reports if r.run not in with_weights], "its layers"
    ):
        st.caption(said)


st.title("Which method scores best, and at what price?", anchor=False)
store = Store.default()
reports = runs(store, most=5)
if len(reports) < 2:
    alone(reports, store)
chosen = tuple(r.run for r in reports)
comparison = compared(str(store.folder), chosen)
text = methods.reading(comparison)
say(text, "reading")
st.dataframe(
    methods.printed(comparison, reports[0].labelled, reports[0].metric),
    hide_index=True,
    alt=text,
    key="side-by-side",
)
say(
    f"Differences are against the first run, {comparison['run'].iloc[0]}, on the same sentences; "
    "p is the chance of a difference this large if both runs were equally good. The first run is "
    "the one listed first above. Sizes of quantized runs are simulated.",
    "note",
)
price = PRICES[
    st.segmented_control(
        "Price",
        list(PRICES),
        default="Size (simulated)",
        required=True,
        key="price",
        bind="query-params",
    )
    or "Size (simulated)"
]
link = {"runs": ",".join(chosen)}
terms = tuple(word for word in (*dict.fromkeys(r.method for r in reports), *WORDS) if word in TERMS)
kept = (
    "Pareto front (no other run beats these in both score and price): "
    f"{', '.join(prices.front(comparison, price))}."
)
say(kept)
here = link | {"price": next(label for label, value in PRICES.items() if value == price)}
show(
    prices.pareto(comparison, reports, price, theme()),
    comparison,
    key=f"methods-{price}",
    title="Score against price",
    text=f"{text} {kept}",
    query=here,
    terms=terms,
)
say(NO_SPEED, "note")
panels(str(store.folder), reports, here, terms)

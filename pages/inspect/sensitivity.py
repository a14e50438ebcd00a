"""Which layers break the answers: every module alone and as the only exception, weights against
activations, and whether an estimate would do."""

from __future__ import annotations

import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import TERMS, say
from pages.components.inspection_tables import tables
from pages.components.layer_picker import address, follow_layer, one_layer, one_run, related_pages
from pages.components.selection import choose, query
from sdq.evaluate.ranking import EVERY, ranked
from sdq.figures.estimates import estimate_picture
from sdq.figures.module_scan import modules_picture
from sdq.figures.sensitivity import METRICS, VIEWS, Picture
from sdq.figures.tensors import parts_picture
from sdq.figures.weights import find, label_of
from sdq.labels import language_name, width
from sdq.store import Store

WORDS = (
    "FP32",
    "KL divergence",
    "flip",
    "loss",
    "noise floor",
    "95 % interval",
    "Spearman's rank correlation",
)
HELP = {
    "view": "One at a time: only this module is quantized. All but one: what the module adds when "
    "all others are quantized, too.",
    "metric": "How far the quantized answers are from those of FP32: as probabilities (KL), as "
    "answers (flips), or against the labels.",
}


def draw(
    picture: Picture, key: str, title: str, *options: str, style: str = "", clickable: bool = True
) -> None:
    """One figure with its sentence; `options` are the parameters of the address it depends on."""
    figure, rows, text = picture
    say(text, style)
    terms = tuple(word for word in (report.method, *WORDS) if word in TERMS)
    link = address(*options) | query("language")
    show(
        figure,
        rows,
        key=f"sensitivity-{key}",
        title=title,
        text=text,
        query=link,
        terms=terms,
        clicked=follow_layer if clickable else None,
    )


st.title("Which layers break the answers?", anchor=False)
store = Store.default()
report = one_run(store)
inspected = tables(store, report, "sensitivity", "estimate", "floor", "parts")
scan, floor = inspected["sensitivity"], inspected["floor"]
run, colours = f"{width(report.recipe)} by {report.method}", theme()
ranking = drawn(ranked, scan, inspected["estimate"], floor)

with st.container(horizontal=True, vertical_alignment="bottom", key="choice"):
    metric = (
        st.segmented_control(
            "Metric",
            list(METRICS),
            default="KL",
            required=True,
            key="metric",
            bind="query-params",
            help=HELP["metric"],
        )
        or "KL"
    )
    codes = [EVERY, *(code for code in scan["language"].unique() if code != EVERY)]
    language = choose(
        "language",
        "Language",
        codes,
        show=lambda code: "All languages" if code == EVERY else language_name(code),
    )
layer = one_layer(ranking.sort_values("order"), ranking.iloc[0]["module"])
name = label_of(find(ranking, layer))

view = st.segmented_control(
    "Quantized",
    list(VIEWS),
    default="One at a time",
    required=True,
    key="view",
    bind="query-params",
    help=HELP["view"],
)
modules = drawn(
    modules_picture,
    scan,
    floor,
    metric,
    view or "One at a time",
    language,
    layer,
    report.method,
    colours,
)
draw(
    modules,
    "modules",
    f"{view}: {METRICS[metric].phrase} by module, {run}",
    "metric",
    "view",
    style="reading",
)
say("Click a mark to select that module on every page.", "note")
related_pages("sensitivity", name)

st.subheader("Weights or activations?", anchor=False)
parts = drawn(parts_picture, inspected["parts"], floor, metric, language, report.method, colours)
draw(parts, "parts", f"Weights against activations, {run}", "metric", clickable=False)

st.subheader("Would an estimate have given the same ranking?", anchor=False)
draw(
    drawn(estimate_picture, scan, inspected["estimate"], floor, layer, report.method, colours),
    "estimate",
    f"Estimate against exact scan, {run}",
)

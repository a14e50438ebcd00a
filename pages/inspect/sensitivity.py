"""Which layers break the answers: every module alone and as the only exception, weights against
activations, and whether an estimate would do."""

from __future__ import annotations

import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import TERMS, say
from pages.components.inspected import address, follow_layer, one_layer, one_run, onward
from pages.components.inspecting import tables
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
    "view": "One at a time: only this module rounds. All but one: what the module adds when all "
    "others round, too.",
    "metric": "How far the quantized answers are from those in FP32: as probabilities (KL), as "
    "answers (flips), or against the labels.",
}


def draw(
    picture: Picture, key: str, title: str, *options: str, style: str = "", clickable: bool = True
) -> None:
    """One picture with its sentence; `options` are the entries of the address that it depends
    on."""
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
found = tables(store, report, "sensitivity", "estimate", "floor", "parts")
scan, floor = found["sensitivity"], found["floor"]
run, dark = f"{width(report.recipe)} by {report.method}", theme()
ranking = drawn(ranked, scan, found["estimate"], floor)

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
    dark,
)
draw(
    modules,
    "modules",
    f"{view}: {METRICS[metric].phrase} by module, {run}",
    "metric",
    "view",
    style="reading",
)
say("Press a mark to select that module on every page.", "note")
onward("sensitivity", name)

st.subheader("Weights or activations?", anchor=False)
parts = drawn(parts_picture, found["parts"], floor, metric, language, report.method, dark)
draw(parts, "parts", f"Weights against activations, {run}", "metric", clickable=False)

st.subheader("Would an estimate have told the same?", anchor=False)
draw(
    drawn(estimate_picture, scan, found["estimate"], floor, layer, report.method, dark),
    "estimate",
    f"Estimate against exact scan, {run}",
)

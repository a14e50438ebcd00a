"""Error through depth: where in the network does the error arise, and does it add up?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.depth_figures import (
    depth_figure,
    missing_note,
    runs_with_floor,
    table_of,
    token_figure,
)
from pages.components.figure import show, theme
from pages.components.glossary import TERMS, say
from pages.components.selection import choose, empty, get, put, query, runs
from sdq.figures import depth, depth_rows
from sdq.figures.curves import MEASURES
from sdq.labels import language_name, run_names
from sdq.results import Report
from sdq.store import Store

TOKENS, LANGUAGES, ATTENTION = "Tokens", "Languages", "Paper: self-attention"
NAMES = {MEASURES[m].name: m for m in MEASURES}
WORDS = (
    "SQNR",
    "relative L2",
    "Frobenius norm",
    "local error",
    "accumulated",
    "self-attention",
    "teacher gap",
    "noise floor",
)
APART = (
    "The teacher gap must not be compared with the rounding error above: training has changed the "
    "student's weights, so its outputs may differ from the teacher's without any rounding, and "
    "part of the difference may be something it learned."
)
HELP = {
    "view": "What is compared: runs at the block outputs, roles of layers, activations between "
    "layers (where a run rounds those), languages, the tokens of one sentence, or the paper's two "
    "figures.",
    "measure": "SQNR is a ratio of signal to error in decibels (higher is better); for the others "
    "lower is better.",
    "layer": "Click a point above, or choose here. Default: the layer with the largest local "
    "error.",
    "error": "Local: only this layer is quantized, on exact inputs. Accumulated: every layer up to "
    "this one is quantized.",
}


def clicked(points: list[dict[str, Any]]) -> None:
    """Select the layer behind the clicked point."""
    data = points[0].get("customdata")
    if data:
        put("layer", str(data if isinstance(data, str) else data[0]))


def language_of(codes: list[str], reports: list[Report], view: str) -> str:
    """The language select: all or one; for tokens one, without losing the selection of all."""
    if view != TOKENS:
        return choose(
            "language",
            "Language",
            [depth_rows.EVERY, *codes],
            show=lambda code: "All languages" if code == depth_rows.EVERY else language_name(code),
        )
    now = get("language")
    st.session_state["language-of-tokens"] = now if now in codes else reports[0].labelled

    def changed() -> None:
        put("language", st.session_state["language-of-tokens"])

    return st.selectbox(
        "Language", codes, format_func=language_name, key="language-of-tokens", on_change=changed
    )


def closer(table: pd.DataFrame, chosen: tuple[str, ...]) -> None:
    """The selected layer, and a link to its weights."""
    layers = depth_rows.measured(table)
    if get("layer") not in layers:
        put("layer", depth_rows.worst_module(table))
    with st.container(horizontal=True, vertical_alignment="bottom", key="closer"):
        layer = choose("layer", "Layer", list(layers), show=layers.__getitem__, help=HELP["layer"])
        st.page_link(
            "pages/inspect/weights.py",
            label=f"Weights of {layers[layer]}",
            icon=":material/bar_chart:",
            query_params={"runs": ",".join(chosen), "layer": layer},
        )


st.title("Where does the error arise, and does it add up?", anchor=False)
store = Store.default()
folder, picked = str(store.folder), runs(store, most=5, quantized=True)
tables = {r.run: table for r in picked if (table := table_of(folder, r.run, "depth")) is not None}
reports = [r for r in picked if r.run in tables]
without_table = [r.run for r in picked if r.run not in tables]
if note := missing_note(store, without_table, "its errors per layer"):
    st.warning(note)
if not reports:
    empty("None of the chosen runs has errors per layer.", picked[0])
chosen, table = tuple(r.run for r in reports), tables[reports[0].run]
names = run_names(reports)

view = (
    st.segmented_control(
        "View",
        depth.possible([tables[report.run] for report in reports]),
        default="Blocks",
        required=True,
        key="view",
        bind="query-params",
        help=HELP["view"],
    )
    or "Blocks"
)
how = depth.VIEWS[view]
one, error, example, language, codes = (
    chosen[0],
    how.errors[0],
    "",
    depth_rows.EVERY,
    [code for code in table["language"].unique() if code != depth_rows.EVERY],
)
with st.container(horizontal=True, vertical_alignment="bottom", key="choice"):
    measure = (
        how.measure
        or NAMES[
            st.selectbox(
                "Measure", list(NAMES), key="measure", bind="query-params", help=HELP["measure"]
            )
        ]
    )
    if len(how.errors) > 1:
        kinds = [kind.capitalize() for kind in how.errors]
        kind = st.segmented_control(
            "Error",
            kinds,
            default=kinds[0],
            required=True,
            key="error",
            bind="query-params",
            help=HELP["error"],
        )
        error = (kind or kinds[0]).lower()
    if view == LANGUAGES:
        one = {name: run for run, name in names.items()}[
            st.selectbox("Run", list(names.values()), key="of", bind="query-params")
        ]
    else:
        language = language_of(codes, reports, view)
    if view == TOKENS:
        sample = store.table(one, "sample")
        sentences = {
            row.id: " ".join(row.tokens)
            for row in sample[sample["language"] == language].itertuples()
        }
        example = choose("example", "Sentence", list(sentences), show=sentences.__getitem__)

link = (
    {"runs": ",".join(chosen)}
    | query("layer")
    | {"view": view}
    | ({} if how.measure else {"measure": MEASURES[measure].name})
)
link |= (
    {"of": names[one]}
    if view == LANGUAGES
    else {"language": language} | ({"example": example} if view == TOKENS else {})
)
link |= {"error": error.capitalize()} if len(how.errors) > 1 else {}
if view == TOKENS:
    figure, rows, text = token_figure(folder, chosen, language, example, theme())
else:
    floor = runs_with_floor(store, chosen)
    options = view, measure, error, language, one, theme(), floor
    figure, rows, text = depth_figure(folder, chosen, *options)
say(text, "reading")
if (
    view != TOKENS
    and error == "accumulated"
    and (missing := [names[run] for run in chosen if run not in floor])
):
    say(
        f"No noise floor has been measured for {', '.join(missing)} yet: the page Sensitivity, or "
        "the command sdq inspect RUN, measures it.",
        "note",
    )
title = f"{view}: {'error' if view == TOKENS else error + ' error'} on {reports[0].on}"
terms = tuple(word for word in (*dict.fromkeys(r.method for r in reports), *WORDS) if word in TERMS)
key, on_click = (
    f"depth-{view.lower().replace(':', '').replace(' ', '-')}",
    None if view == TOKENS else clicked,
)
show(figure, rows, key=key, title=title, text=text, query=link, terms=terms, clicked=on_click)
closer(table, chosen)

if trained := tuple(r.run for r in reports if r.recipe["training"]):
    st.subheader(
        "Teacher gap: how far the trained students are from their FP32 teacher", anchor=False
    )
    say(APART)
    site = ATTENTION if view == ATTENTION else "Blocks"
    figure, rows, text = depth_figure(
        folder,
        trained,
        site,
        measure,
        "gap",
        depth_rows.EVERY if view == TOKENS else language,
        trained[0],
        theme(),
    )
    say(text)
    show(
        figure,
        rows,
        key="teacher-gap",
        title="Teacher gap",
        text=text,
        query=link,
        terms=terms,
        clicked=clicked,
    )

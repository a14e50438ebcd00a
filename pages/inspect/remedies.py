"""Remedies: what helps this run, predicted and measured, and a recipe for any size."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components import models
from pages.components import recipe as tasks
from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.inspection_tables import tables
from pages.components.layer_picker import address, one_run
from pages.components.session import me, readable
from sdq.figures import remedies as figures
from sdq.figures.style import Theme
from sdq.figures.widths import widths_picture
from sdq.inspection.remedies import choice_at, mixed_precision_recipe
from sdq.jobs import queue as jobs
from sdq.quant.mixed_precision import Choice
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store

HELP = (
    "Moves along the Pareto front: at each size, the bit widths of least predicted cost. The "
    "figure and the recipe below update when you release the slider."
)
TERMS = (
    "FP32",
    "zero-shot",
    "simulated",
    "95 % interval",
    "predicted cost",
    "mixed precision",
    "migration",
    "outlier column",
    "Spearman's rank correlation",
)


def sized(sizes: list[str], nearest: int) -> str:
    """The slider over the sizes of the front (`size=2.99 MB` in the address), by default the one
    nearest to the run's own."""
    wanted = st.query_params.get("size")
    st.session_state["pick-size"] = wanted if wanted in sizes else sizes[nearest]

    def keep() -> None:
        st.query_params["size"] = st.session_state["pick-size"]

    return st.select_slider("Size of the model", sizes, key="pick-size", on_change=keep, help=HELP)


def widths_at(
    pareto: pd.DataFrame, costs: pd.DataFrame, here: int, colours: Theme
) -> tuple[Choice, Any]:
    """The choice at a place of the front, and its picture."""
    choice = choice_at(pareto.iloc[here], costs)
    return choice, widths_picture(choice, costs, colours)


def take(recipe: Recipe, report: Report, key: str) -> None:
    """Buttons that save a recipe as a file, or run it."""
    with st.container(horizontal=True, key=f"{key}-take"):
        data = recipe.model_dump_json(indent=1)
        st.download_button(
            "Save recipe",
            data,
            f"{recipe.name}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            key=f"{key}-save",
        )
        if st.button(
            "Run it",
            icon=":material/play_arrow:",
            key=f"{key}-run",
            help="Opens Quantize, which shows the progress and the result.",
        ):
            run = jobs.submit(
                recipe, models.reach(report.model), tasks.reach(report.task), store, me()
            )
            st.switch_page("pages/lab/quantize.py", query_params={"run": run})


st.title("What helps this run?", anchor=False)
store = Store.default()
try:
    report = one_run(store)
    inspected = tables(store, report, "costs", "pareto", "remedies")
    costs, pareto = inspected["costs"], inspected["pareto"]
    rows = drawn(figures.table, report, inspected["remedies"], costs)
    say(figures.reading(rows), "reading")
    st.dataframe(
        figures.printed(rows, report.metric),
        hide_index=True,
        placeholder="",
        height="content",
        alt=figures.reading(rows),
        key="remedies-table",
    )
    say(
        "Every recipe was chosen on unlabelled training sentences and then scored on the test "
        "sentences. One exception: the columns to split or keep come from the causes, which are "
        "measured on test sentences (without labels). p is the chance of a change this "
        "large if it were as good as this run. Sizes of quantized models are simulated.",
        "note",
    )

    st.subheader("Change and predicted cost by size", anchor=False)
    sizes = [f"{size / 1e6:.2f} MB" for size in pareto["bytes"]]
    here = sizes.index(
        chosen := sized(
            sizes, int((pareto["bytes"] - report.size_bytes["quantized_simulated"]).abs().idxmin())
        )
    )
    figure, numbers, text = drawn(figures.picture, report, rows, pareto, theme(), here)
    show(
        figure,
        numbers,
        key="remedies",
        title=f"Remedies of run {report.run} on {report.on}",
        text=text,
        query=address("size"),
        terms=TERMS,
    )

    choice, (figure_of_widths, widths, said) = drawn(widths_at, pareto, costs, here, theme())
    st.subheader(f"Bits per module at {chosen}", anchor=False)
    say(said)
    show(
        figure_of_widths,
        widths,
        key="widths",
        title=f"Bits per module at {chosen}",
        text=said,
        query=address("size"),
        terms=("FP32", "mixed precision", "predicted cost"),
    )
    recipe = Recipe.model_validate(report.recipe)
    take(
        mixed_precision_recipe(recipe, choice, f"mixed-{chosen.replace(' ', '').lower()}"),
        report,
        "front",
    )

    st.subheader("Use one of the remedies above", anchor=False)
    listed = inspected["remedies"].set_index("what")["recipe"]
    take(
        Recipe.model_validate_json(
            listed[st.selectbox("Remedy", list(listed.index), key=f"remedy-{report.run}")]
        ),
        report,
        "remedy",
    )
except UserError as error:
    st.error(readable(error), icon=":material/error:")

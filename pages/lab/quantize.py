"""Quantize: what does one recipe do to the model?"""

from __future__ import annotations

import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import say
from pages.components.runs import choose, headline, how_made, picture, preset_of, stored
from pages.components.words import METHODS, TASKS, describe, preset_label, progress
from sdq import jobs
from sdq.figures.languages import reading, width
from sdq.recipe import PRESETS, Recipe
from sdq.report import Report
from sdq.settings import UserError
from sdq.store import Store

MODEL = "mini"
store = Store.default()


def fill_in(run: str) -> None:
    """Set the form to what the run was asked for, once per link."""
    if st.session_state.get("filled_in") == run:
        return
    st.session_state["filled_in"] = run
    if store.done(run):
        report = store.report(run)
        recipe, task = report.recipe, report.task
    elif asked := jobs.request(run, store):
        recipe, task = asked[0].model_dump(mode="json"), asked[2]
    else:
        return
    if name := preset_of(recipe):
        method = PRESETS[name].method
        st.session_state.update({"on": task, "method": method, f"recipe-{method}": name, "seed": recipe["seed"]})


def settings() -> tuple[Recipe, str]:
    """The form."""
    left, right = st.columns(2)
    task = left.selectbox("Task", list(TASKS), format_func=TASKS.get, key="on")
    method = right.selectbox("Method", list(METHODS), format_func=METHODS.get, key="method")
    names = [name for name, recipe in PRESETS.items() if recipe.method == method]
    left, right = st.columns([3, 1])
    name = left.selectbox("Recipe", names, format_func=lambda n: preset_label(n, PRESETS[n]), key=f"recipe-{method}")
    seed = right.number_input("Seed", 0, 2**31 - 1, key="seed", help="Order of the training data and choice of calibration sentences.")
    return PRESETS[name].model_copy(update={"seed": seed}), task


@st.fragment(run_every=2)
def watch(run: str) -> None:
    """How the worker is getting on; asks every two seconds, and only while this is on the page."""
    state = jobs.state(run, store)
    if not state.active:
        st.rerun()
    text, share = progress(state.events)
    st.progress(share or 0.0, text=text)
    if st.button("Cancel", key="cancel", icon=":material/stop_circle:"):
        jobs.cancel(run, store)
        st.rerun()


def result(report: Report) -> None:
    """The picture of a finished run against FP32, and its headline numbers."""
    quantized = bool(report.recipe["rules"])
    reference = stored(store, report.model, report.task).get("fp32") if quantized else None
    reports = [reference, report] if reference else [report]
    text = reading(reports)
    title = f"{width(report.recipe)} by {report.method} on {report.task}, seed {report.recipe['seed']}" if quantized else f"FP32 on {report.task}"
    st.subheader(title, anchor=False)
    say(text, "reading")
    headline(report)
    figure, table = picture(str(store.folder), tuple(r.run for r in reports), theme())
    terms = ("FP32", *((report.method, "fake quantization", "simulated") if quantized else ()), "zero-shot", "95 % interval")
    show(figure, table, key=f"run-{report.run}", title=f"{report.recipe['name']} on {report.task}", text=text, query={"run": report.run}, terms=terms)
    how_made(reports)


def stand(run: str) -> None:
    """What there is to see of a run: its result, its progress, or why it failed."""
    state = jobs.state(run, store)
    if state.status == "done":
        result(store.report(run))
    elif state.active:
        watch(run)
    elif state.status == "failed":
        st.error(state.failure, icon=":material/error:")
    else:
        st.warning(f"No run with the id {run} is stored here. Choose settings above and press Quantize.", icon=":material/search_off:")


st.title("Quantize the model and see what it costs", anchor=False)
try:
    if run := st.query_params.get("run"):
        fill_in(run)
    recipe, task = settings()
    say(describe(recipe, task))
    if st.button("Quantize", type="primary", key="quantize", icon=":material/play_arrow:"):
        run = st.query_params["run"] = st.session_state["filled_in"] = jobs.submit(recipe, MODEL, task, store)
    if run:
        stand(run)
    elif chosen := choose(store):
        st.query_params["run"] = chosen
        st.rerun()
except UserError as error:
    st.error(str(error), icon=":material/error:")

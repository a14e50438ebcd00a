"""Quantize: what does one recipe do to the model?"""

from __future__ import annotations

import streamlit as st

from pages.components import training
from pages.components.cancel import cancel_button
from pages.components.figure import show, theme
from pages.components.glossary import say
from pages.components.history import recipe_of, rerun_button
from pages.components.progress import progress
from pages.components.recipe import choice, files, fill_in
from pages.components.recipe_text import describe, expected
from pages.components.runs import choose, finished, headline, how_made, picture, stored
from pages.components.session import me, readable
from sdq.figures.languages import reading
from sdq.io.quoting import quoted
from sdq.jobs import queue as jobs
from sdq.jobs.estimate import expect
from sdq.jobs.wanted import model_title, wanted
from sdq.labels import treatment, width
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store

store = Store.default()


@st.fragment(run_every=2)
def watch(run: str) -> None:
    """The progress of the run, refreshed every two seconds while it is on the page."""
    state = jobs.state(run, store, me())
    if not state.active:
        st.rerun()
    text, share = progress(state.events, jobs.position(run, store))
    st.progress(share or 0.0, text=text)
    cancel_button(run, store, "cancel")
    asked = jobs.request(run, store)
    training.live(run, state.events, asked[0] if asked else None)


def result(report: Report) -> None:
    """The figure of a finished run against FP32, and its headline numbers."""
    quantized = report.is_quantized
    reference = (
        None
        if report.is_reference
        else stored(store, report.model, report.task, report).get("fp32")
    )
    reports = [reference, report] if reference else [report]
    text = reading(reports)
    title = f"{treatment(width(report.recipe), report.method)} on {report.on}"
    title += "" if report.is_reference else f", seed {report.recipe['seed']}"
    st.subheader(title, anchor=False)
    if st.session_state.get("reused") == report.run:
        st.info(
            "These settings were run before: this is the stored result, nothing was recomputed.",
            icon=":material/history:",
        )
    say(text, "reading")
    headline(report)
    figure, table = picture(str(store.folder), tuple(r.run for r in reports), theme())
    terms = (
        "FP32",
        *(() if report.is_reference else (report.method,)),
        *(("fake quantization", "simulated") if quantized else ()),
        "zero-shot",
        "95 % interval",
    )
    show(
        figure,
        table,
        key=f"run-{report.run}",
        title=f"{report.recipe['name']} on {report.on}",
        text=text,
        query={"run": report.run},
        terms=terms,
    )
    training.finished(report, store)
    how_made(reports)


def run_status(run: str) -> None:
    """The result of a run, its progress, or why it failed."""
    state = jobs.state(run, store)
    if state.status == "done":
        result(store.report(run))
    elif state.active:
        watch(run)
    elif state.status == "failed":
        if was := wanted(run, store):
            st.caption(f"{quoted(was.what)}, {recipe_of(was)}")
        st.error(readable(state.failure), icon=":material/error:")
        rerun_button(run, store)
    else:
        st.warning(
            f"No run with the id {quoted(run)} is stored here. Choose settings above and press "
            "Quantize.",
            icon=":material/search_off:",
        )
    if lost := store.lost(run):
        st.caption(
            f"{lost} line{'s' if lost > 1 else ''} of its log cannot be read and "
            f"{'are' if lost > 1 else 'is'} left out."
        )


st.title("What does quantization cost?", anchor=False)
try:
    run = st.query_params.get("run")
    fill_in(run, store)
    model, task, recipe = choice()
    if recipe is not None:
        say(describe(recipe, task, model_title(model)))
        say(expected(expect(recipe, model, task, store, finished(store))), "note")
    with st.container(horizontal=True):
        start = st.button(
            "Quantize",
            type="primary",
            key="quantize",
            icon=":material/play_arrow:",
            disabled=recipe is None,
        )
        files(recipe)
    if start and recipe is not None:
        run = st.query_params["run"] = st.session_state["filled_in"] = jobs.submit(
            recipe, model, task, store, me()
        )
        st.session_state["reused"] = run if store.done(run) else None
    if run:
        run_status(run)
    elif chosen := choose(store):
        st.query_params["run"] = chosen
        st.rerun()
except UserError as error:
    st.error(readable(error), icon=":material/error:")

"""Stored runs on a page: the list, the figure of their scores, headline numbers, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components import session
from pages.components.history import act, recipe_of, rerun_button
from sdq.evaluate.statistics import DRAWS
from sdq.figures.languages import table
from sdq.figures.scores import language_scores
from sdq.figures.style import Theme
from sdq.io.quoting import quoted, quoted_sentence
from sdq.jobs import history, trash
from sdq.jobs.wanted import wanted
from sdq.recipe import preset_of
from sdq.results import METRICS, Report
from sdq.settings import UserError
from sdq.store import Store

LISTED = 20  # damaged runs that are named


@st.cache_resource(max_entries=4, show_spinner=False)
def _read(folder: str, state: tuple[tuple[str, float], ...]) -> list[Report]:
    store = Store(Path(folder))
    return store.readable(state)


def finished(store: Store) -> list[Report]:
    """Reports of all finished runs, newest first; cached until a run is added or removed."""
    return _read(str(store.folder), store.listing())


def stored(store: Store, model: str, task: str, like: Report | None = None) -> dict[str, Report]:
    """Preset name -> its newest finished run at seed 0, of those that can be compared with the run
    `like`."""
    newest: dict[str, Report] = {}
    for report in finished(store):
        fits = (report.model, report.task, report.recipe.get("seed")) == (model, task, 0)
        name = (
            preset_of(report.recipe)
            if fits and (like is None or store.alike(report, like))
            else None
        )
        if name is not None:
            newest.setdefault(name, report)
    return newest


@st.cache_resource(max_entries=64, show_spinner="Computing the intervals")
def picture(folder: str, runs: tuple[str, ...], theme: Theme) -> tuple[go.Figure, pd.DataFrame]:
    """(figure, table) of finished runs: `folder` is the store's, so that equal ids in two stores
    stay apart."""
    store = Store(Path(folder))
    reports = [store.report(run) for run in runs]
    sentences = {}
    for run in runs:
        try:
            sentences[run] = store.sentences(run)
        except (OSError, UserError):
            continue  # the scores are shown without intervals
    return language_scores(reports, sentences, theme), table(reports, sentences)


def headline(report: Report) -> None:
    """Mean scores, simulated size and time of one run, against FP32."""
    metric, size = METRICS[report.metric], report.size_bytes
    plain = {"delta_arrow": "off", "delta_color": "off", "width": 160}
    before, after = report.reference, report.quantized
    with st.container(horizontal=True, key="numbers"):
        means = [
            (metric.name, "all languages", before.mean, after.mean),
            (metric.name, "zero-shot", before.zero_shot_mean, after.zero_shot_mean),
        ]
        means += [
            (METRICS[name].name, "all languages", full.mean, now.mean)
            for name, (full, now) in report.beside.items()
        ]
        for name, label, full, now in means:
            if not math.isnan(now):  # a task in one language has no zero-shot score
                st.metric(
                    f"{name}, {label}",
                    f"{100 * now:.1f} {metric.unit}",
                    f"{100 * (now - full):+.1f} points",
                    help="The difference to FP32 is shown below the score.",
                    **plain,
                )
        times = (
            f"{size['fp32'] / size['quantized_simulated']:.1f} times smaller"
            if size["quantized_simulated"]
            else None
        )
        st.metric(
            "Size (simulated)",
            f"{size['quantized_simulated'] / 1e6:.2f} MB",
            times,
            help="What the integer codes and scales would take; compared with FP32.",
            **plain,
        )
        st.metric("Run time", f"{sum(report.seconds.values()):.0f} s", width=160)


def unreadable_note(store: Store) -> None:
    """How many finished runs are on no page because their reports cannot be read."""
    if count := len(store.listing()) - len(finished(store)):
        st.caption(
            f"{count} run{'s' if count > 1 else ''} cannot be read and "
            f"{'are' if count > 1 else 'is'} left out; the page Runs gives the cause."
        )


def damaged(
    store: Store, runs: Sequence[str] | None = None, damage: Mapping[str, str] | None = None
) -> None:
    """A warning about each run with a damaged file: among these runs, or all that were `found`."""
    if runs is not None:
        damage = {run: sentence for run in runs if (sentence := store.damage(run))}
    damage = store.damaged() if damage is None else damage
    if runs is None and damage:
        st.subheader("Damaged runs", anchor=False)
        st.caption(
            f"{len(damage)} run{'s have' if len(damage) > 1 else ' has'} files that do not match "
            "what was written:"
        )
    for run, sentence in list(damage.items())[:LISTED]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"damaged-{run}"):
            was = wanted(run, store)
            what = f"{quoted(was.what)}, {recipe_of(was)}: " if was else ""
            st.warning(
                f"{what}{session.readable(sentence)}.", icon=":material/broken_image:", width=620
            )
            if runs is None:
                rerun_button(run, store)
            if (
                runs is None
                and history.own(store, run)
                and trash.may_delete(store, run, session.visitor())
                and st.button("Delete", key=f"delete-damaged-{run}", icon=":material/delete:")
            ):
                act(trash.delete, store, [run], undo=[run])


def how_made(reports: list[Report]) -> None:
    """Seeds, sentences, versions and run ids behind a picture."""
    damaged(Store.default(), [report.run for report in reports])
    with st.expander("How these numbers were computed"):
        first = reports[-1]
        n = first.provenance.get("test_sentences", "all")
        st.markdown(
            f"All models answered the same {n} test sentences of the task *{quoted(first.on)}*. "
            f"The bars are 95 % intervals from {DRAWS} bootstrap draws over clusters of sentences: "
            "a sentence in all its languages, and all sentences made from one frame, are drawn "
            "together. Labels of one language only were used for training "
            f"({quoted(first.labelled)}). Scores are measured with fake quantization: values are "
            "rounded to what integers can represent and computed in floating point. Sizes are "
            "simulated from the codes and scales."
        )
        if cut := first.provenance.get("test_sentences_cut"):
            st.markdown(
                f"{cut} of the {n} test inputs were longer than the task allows and were truncated."
            )
        if remarks := first.provenance.get("remarks"):
            st.markdown(f"About this model and its data: {quoted_sentence(remarks)}.")
        rows = [
            {
                "method": r.method,
                "recipe": r.recipe["name"],
                "seed": r.recipe["seed"],
                "run": r.run,
                "seconds": sum(r.seconds.values()),
                "torch": r.provenance.get("torch", ""),
            }
            for r in reports
        ]
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={"seconds": st.column_config.NumberColumn(format="%.0f")},
        )


def choose(store: Store) -> str | None:
    """A list of all finished runs; the id of the one clicked."""
    reports = finished(store)
    if not reports:
        return None
    st.subheader("Or open a finished run", anchor=False)
    broken = store.damaged()
    rows = [
        {
            "recipe": r.recipe["name"],
            "method": r.method,
            "zero-shot, %": 100 * r.quantized.zero_shot_mean,
            "task": r.on,
            "seed": r.recipe["seed"],
            **({"state": history.DAMAGED if r.run in broken else "whole"} if broken else {}),
            "run": r.run,
        }
        for r in reports
    ]
    score = {
        "zero-shot, %": st.column_config.NumberColumn(
            format="%.1f", help="Mean score over the languages without labels in training"
        )
    }
    clicked = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config=score,
        on_select="rerun",
        selection_mode="single-row",
        key="finished",
    )
    chosen = clicked["selection"]["rows"]
    return rows[chosen[0]]["run"] if chosen else None

"""The curves of a training on a page, during and after the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import say
from sdq.figures import training
from sdq.figures.style import Theme
from sdq.labels import language_name
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.store import Store

Drawn = tuple[go.Figure, pd.DataFrame, str]


def _drawn(
    of: Mapping[str, Any], settings: Mapping[str, Any] | None, language: str, theme: Theme
) -> Drawn:
    factors = training.weights(settings)
    return (
        training.curves(of, factors, theme),
        training.table(of, factors),
        training.reading(of, factors, language),
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _stored(folder: str, run: str, theme: Theme) -> Drawn:
    report = Store(Path(folder)).report(run)
    settings = report.recipe["training"]
    return _drawn(
        {"of": settings["steps"], **(report.history or {})},
        settings,
        language_name(report.labelled),
        theme,
    )


def _put(run: str, drawn: Drawn, method: str | None) -> None:
    figure, table, text = drawn
    say(text)
    terms = ("FP32", *((method,) if method else ()))
    show(
        figure,
        table,
        key=f"training-{run}",
        title=f"Training of run {run}",
        text=text,
        query={"run": run},
        terms=terms,
    )


def live(run: str, events: list[dict[str, Any]], recipe: Recipe | None) -> None:
    """Curves of a run under way, once its training has logged a step."""
    of = training.history(events)
    if of["steps"]:
        settings = recipe.model_dump(mode="json")["training"] if recipe is not None else None
        _put(
            run,
            _drawn(of, settings, "", theme()),
            recipe.method if recipe is not None else None,
        )


def finished(report: Report, store: Store) -> None:
    """Curves of a finished run that was trained; nothing for the others."""
    if report.history and report.history.get("steps"):
        st.subheader("Training", anchor=False)
        _put(report.run, _stored(str(store.folder), report.run, theme()), report.method)

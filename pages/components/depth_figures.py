"""Cached figures of the stored errors through depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from sdq.figures import depth, depth_rows
from sdq.figures.style import Theme
from sdq.inspection import storage as inspection
from sdq.inspection.storage import paths
from sdq.io.sealed import Damaged
from sdq.jobs import history
from sdq.labels import run_names
from sdq.settings import UserError
from sdq.store import Store

Drawing = tuple[go.Figure, pd.DataFrame, str]


def missing_note(store: Store, runs: Sequence[str], what: str) -> str:
    """How many of the chosen runs lack `what`, and what to do; empty if none does."""
    own_runs = [run for run in runs if history.own(store, run)]
    notes = []
    if shipped := len(runs) - len(own_runs):
        notes.append(f"{shipped} of these runs came with the project, without {what}.")
    if own_runs:
        notes.append(
            f"{len(own_runs)} of these runs lack{'s' if len(own_runs) == 1 else ''} {what}: an "
            f"older version made {'it' if len(own_runs) == 1 else 'them'}; run the recipe again."
        )
    return " ".join(notes)


@st.cache_resource(max_entries=64, show_spinner=False)
def table_of(folder: str, run: str, name: str) -> pd.DataFrame | None:
    """A table of a finished run; None if it has none."""
    try:
        return Store(Path(folder)).table(run, name)
    except Damaged:
        raise
    except UserError:
        return None


def runs_with_floor(store: Store, runs: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the runs whose noise floor was measured."""
    return tuple(run for run in runs if "floor" in paths(run, store))


@st.cache_resource(max_entries=64, show_spinner=False)
def depth_figure(
    folder: str,
    runs: tuple[str, ...],
    view: str,
    measure: str,
    error: str,
    language: str,
    one: str,
    theme: Theme,
    floor: tuple[str, ...] = (),
) -> Drawing:
    """(figure, table, what it shows) of a view other than "Tokens", of runs with errors, with the
    noise floor of some; see sdq.figures.depth.draw."""
    store = Store(Path(folder))
    reports, errors = (
        [store.report(run) for run in runs],
        {run: store.table(run, "depth") for run in runs},
    )
    floors = {run: inspection.read_table(paths(run, store)["floor"]) for run in floor}
    return depth.draw(view, reports, errors, measure, error, language, one, theme, floors)


@st.cache_resource(max_entries=64, show_spinner=False)
def token_figure(
    folder: str, runs: tuple[str, ...], language: str, example: str, theme: Theme
) -> Drawing:
    """(figure, table, what it shows) of one sentence."""
    store = Store(Path(folder))
    names = run_names([store.report(run) for run in runs])
    tokens, samples = (
        {run: store.table(run, name) for run in runs} for name in ("tokens", "sample")
    )
    table = depth_rows.token_rows(tokens, samples, names, language, example)
    return (
        depth.token_map(table, theme),
        depth_rows.titled(table, "relative_l2"),
        depth.token_reading(table),
    )

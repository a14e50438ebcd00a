"""Score against price: which runs no other run beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import axis_title
from sdq.figures.curves import legend_height, run_marks
from sdq.figures.methods import bracket
from sdq.figures.style import INK, LEGEND, Mark, Theme, template
from sdq.results import METRICS, Report

Price = Literal["size", "time"]
PRICES: dict[Price, tuple[str, str]] = {
    "size": ("MB", "Size, MB (simulated if quantized; less is better)"),
    "time": ("seconds", "Time to make the run, s (less is better)"),
}


def front(runs: pd.DataFrame, price: Price) -> list[str]:
    """Names of the runs on the Pareto front: no other run is as good in score and price and better
    in one of the two. Cheapest first."""
    cost = PRICES[price][0]
    kept = []
    for _, row in runs.sort_values([cost, "zero-shot mean"], ascending=[True, False]).iterrows():
        as_good = (runs["zero-shot mean"] >= row["zero-shot mean"]) & (runs[cost] <= row[cost])
        better = (runs["zero-shot mean"] > row["zero-shot mean"]) | (runs[cost] < row[cost])
        if not (as_good & better).any():
            kept.append(str(row["run"]))
    return kept


def _apart(values: Sequence[float]) -> list[float]:
    """Equal prices side by side: values within 1 % of the span are moved apart by 2 % of it."""
    span = max(values) - min(values) or max(values) or 1.0
    placed = list(values)
    for value in values:
        group = [i for i, v in enumerate(values) if abs(v - value) <= 0.01 * span]
        for place, i in enumerate(group):
            placed[i] = value + (place - (len(group) - 1) / 2) * 0.02 * span
    return placed


def pareto(
    runs: pd.DataFrame, reports: Sequence[Report], price: Price, theme: Theme = "light"
) -> go.Figure:
    """Zero-shot mean with its 95 % interval against a price; a stair joins the runs that no other
    run beats."""
    marks, metric, (cost, title) = run_marks(reports), METRICS[reports[0].metric], PRICES[price]
    place = dict(zip(runs["run"], _apart(runs[cost].tolist()), strict=True))
    best, score = front(runs, price), dict(zip(runs["run"], runs["zero-shot mean"], strict=True))
    figure = go.Figure()
    if len(best) > 1:
        figure.add_scatter(
            x=[place[n] for n in best],
            y=[score[n] for n in best],
            mode="lines",
            line={"color": INK[theme].quiet, "width": 1.5, "dash": "dot", "shape": "hv"},
            name="Pareto front",
            hoverinfo="skip",
        )
    for row in runs.to_dict("records"):
        _add_run(figure, row, place[row["run"]], cost, marks[row["run"]], theme)
    below = legend_height([*runs["run"], "Pareto front"])
    above = f"{metric.name}, zero-shot mean, {metric.unit}"
    figure.update_layout(
        template=template(theme),
        height=330 + 58 + below,
        margin={"l": 52, "r": 14, "t": 30, "b": 58 + below},
        showlegend=True,
        legend=LEGEND,
        annotations=[axis_title(above, -46, 6, 13, theme)],
        xaxis={"title": {"text": title, "standoff": 4}, "rangemode": "tozero", "fixedrange": True},
        yaxis={"fixedrange": True, "nticks": 7},
    )
    return figure


def _add_run(
    figure: go.Figure, row: Mapping[Any, Any], x: float, cost: str, mark: Mark, theme: Theme
) -> None:
    """One run of the table at the price x, with its interval if it is known."""
    colour, mean = mark.colour(theme), row["zero-shot mean"]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [row["high"] - mean],
        "arrayminus": [mean - row["low"]],
        "thickness": 1.5,
        "width": 4,
    }
    text = (
        f"{escape(row['run'])} · {escape(row['recipe'])}<br>{mean:.1f} "
        f"%{bracket(row['low'], row['high'])}<br>{row[cost]:.1f} "
        f"{cost}{' simulated' if row['simulated'] and cost == 'MB' else ''}"
    )
    figure.add_scatter(
        x=[x],
        y=[mean],
        mode="markers",
        name=row["run"],
        error_y=None if math.isnan(row["low"]) else bars,
        hovertext=[text],
        hoverinfo="text",
        customdata=[row["run id"]],
        marker={
            "color": colour,
            "symbol": mark.symbol,
            "size": 14,
            "line": {"color": colour, "width": 1.5},
        },
    )

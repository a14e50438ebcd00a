"""Ranges of the output channels of one weight matrix, and its outlier channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, template
from sdq.figures.weights import Picture, find, label_of, quantized

OUTLIER = 4.0  # times the median reach of a channel
_LISTED = 6
_HOVER = "number %{customdata[0]}: %{y:.4g}<extra></extra>"


def channel_table(weights: pd.DataFrame, layer: str) -> pd.DataFrame:
    """One row per kept channel: channel, low, high, reach (largest |weight|), times the median
    reach, outlier (over OUTLIER times)."""
    row = find(weights, layer)
    rows = pd.DataFrame(
        {
            "channel": np.asarray(row["channel"]),
            "low": np.asarray(row["channel_low"], float),
            "high": np.asarray(row["channel_high"], float),
        }
    )
    rows["reach"] = rows[["low", "high"]].abs().max(axis=1)
    median = rows["reach"].median()
    rows["times the median"] = rows["reach"] / median if median > 0 else math.nan
    rows["outlier"] = rows["times the median"] > OUTLIER
    return rows


def _channels_sentence(row: Any, rows: pd.DataFrame) -> str:
    what = "row (token)" if row["role"] == "embedding" else "output channel"
    kept = (
        f" (the {len(rows)} widest of {int(row['channels']):,} are stored)"
        if len(rows) < row["channels"]
        else ""
    )
    text = (
        f"{label_of(row)}: the largest |weight| of the median {what}{kept} is "
        f"{rows['reach'].median():.3g}. "
    )
    far = rows[rows["outlier"]].sort_values("reach", ascending=False)
    if far.empty:
        widest = rows.loc[rows["reach"].idxmax()]
        text += f"None exceeds {OUTLIER:g} times that; "
        return (
            text + f"the widest, number {int(widest['channel'])}, reaches "
            f"{widest['times the median']:.1f} times it."
        )
    listed = ", ".join(
        f"{int(r['channel'])} ({r['times the median']:.1f} times)"
        for _, r in far.head(_LISTED).iterrows()
    )
    more = f" and {len(far) - _LISTED} more" if len(far) > _LISTED else ""
    shared = (
        " All share one scale, so these set the step for the rest."
        if quantized(row) and row["ranges"] == 1
        else ""
    )
    return (
        f"{text}{len(far)} of {len(rows)} exceed{'s' if len(far) == 1 else ''} {OUTLIER:g} times "
        f"that: {listed}{more}.{shared}"
    )


def channels_picture(
    weights: pd.DataFrame, layer: str, by_reach: bool = False, theme: Theme = "light"
) -> Picture:
    """The smallest and largest weight of every output channel as a band, by number or by falling
    reach; outlier channels are marked."""
    row, rows = find(weights, layer), channel_table(weights, layer)
    text = _channels_sentence(row, rows)
    by_reach = by_reach or len(rows) < row["channels"]  # numbers with gaps make no band
    if by_reach:
        rows = rows.sort_values("reach", ascending=False, ignore_index=True)
    x = list(range(1, len(rows) + 1)) if by_reach else list(rows["channel"])
    figure = go.Figure()
    _add_band(figure, rows, x, theme)
    if rows["outlier"].any():
        _add_outliers(figure, rows, x, not by_reach, theme)
    reach = 1.18 * float(rows["reach"].max() or 1)
    number = "Output channel" if row["role"] != "embedding" else "Row (token)"
    figure.update_layout(
        overwrite=True,
        template=template(theme),
        height=360,
        margin={"l": 62, "r": 14, "t": 8, "b": 108},
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis(f"Rank by range, of {len(rows)}" if by_reach else number, nticks=7),
        yaxis={
            "title": {"text": "Weight value"},
            "range": [-reach, reach],
            "nticks": 7,
            "fixedrange": True,
        },
    )
    return figure, rows, text


def _add_band(figure: go.Figure, rows: pd.DataFrame, x: list[int], theme: Theme) -> None:
    """From the smallest to the largest weight of each channel; the fill reaches back to the line
    drawn before."""
    blue = MARKS["FP32"].colour(theme)
    drawn = {
        "x": x,
        "mode": "lines",
        "line": {"color": blue, "width": 1},
        "customdata": rows[["channel"]].to_numpy(),
        "hovertemplate": _HOVER,
    }
    figure.add_scatter(y=rows["low"], showlegend=False, **drawn)
    figure.add_scatter(
        y=rows["high"],
        fill="tonexty",
        fillcolor=faint(blue, 0.3),
        name="smallest to largest weight",
        **drawn,
    )


def _add_outliers(
    figure: go.Figure, rows: pd.DataFrame, x: list[int], numbered: bool, theme: Theme
) -> None:
    """The limit of OUTLIER times the median reach, and a mark at the tip of what goes beyond."""
    far, limit = rows[rows["outlier"]], OUTLIER * rows["reach"].median()
    figure.add_scatter(
        x=[x[0], x[-1], None, x[0], x[-1]],
        y=[limit, limit, None, -limit, -limit],
        mode="lines",
        line={"color": INK[theme].quiet, "dash": "dot"},
        hoverinfo="skip",
        name=f"{OUTLIER:g} × the median",
    )
    tips = [r["high"] if r["high"] >= -r["low"] else r["low"] for _, r in far.iterrows()]
    named = set(far.nlargest(_LISTED, "reach")["channel"])
    figure.add_scatter(
        x=[x[i] for i in far.index],
        y=tips,
        mode="markers+text",
        marker={"symbol": "diamond", "size": 9, "color": INK[theme].text},
        customdata=far[["channel"]].to_numpy(),
        hovertemplate=_HOVER,
        text=[str(c) if c in named and numbered else "" for c in far["channel"]],
        textposition=["top center" if tip > 0 else "bottom center" for tip in tips],
        name="outlier",
    )

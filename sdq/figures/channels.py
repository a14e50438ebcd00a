"""Ranges of the output channels of one weight, and those that reach much further than the rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, template
from sdq.figures.weights import Picture, find, label_of, quantized

OUTLIER = 4.0  # times the median reach of a channel
_LISTED = 6


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
        f" (the {len(rows)} of largest reach out of {int(row['channels']):,} are kept)"
        if len(rows) < row["channels"]
        else ""
    )
    text = (
        f"{label_of(row)}: the median {what}{kept} reaches {rows['reach'].median():.3g} from zero. "
    )
    far = rows[rows["outlier"]].sort_values("reach", ascending=False)
    if far.empty:
        widest = rows.loc[rows["reach"].idxmax()]
        text += f"None reaches more than {OUTLIER:g} times as far; "
        return (
            text + f"the widest, number {int(widest['channel'])}, reaches "
            f"{widest['times the median']:.1f} times."
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
        f"{text}{len(far)} of {len(rows)} reach{'es' if len(far) == 1 else ''} more than "
        f"{OUTLIER:g} times as far: {listed}{more}.{shared}"
    )


def channels_picture(
    weights: pd.DataFrame, layer: str, by_reach: bool = False, theme: Theme = "light"
) -> Picture:
    """The smallest and largest weight of every output channel as a band, by number or by falling
    reach; outlier channels are marked."""
    row, ink = find(weights, layer), INK[theme]
    rows = channel_table(weights, layer)
    text = _channels_sentence(row, rows)
    by_reach = by_reach or len(rows) < row["channels"]  # numbers with gaps make no band
    if by_reach:
        rows = rows.sort_values("reach", ascending=False, ignore_index=True)
    x = list(range(1, len(rows) + 1)) if by_reach else list(rows["channel"])
    blue, limit = MARKS["FP32"].colour(theme), OUTLIER * rows["reach"].median()
    figure, numbers = go.Figure(), rows[["channel"]].to_numpy()
    line = {"color": blue, "width": 1}
    hover = "number %{customdata[0]}: %{y:.4g}<extra></extra>"
    figure.add_scatter(
        x=x,
        y=rows["low"],
        mode="lines",
        line=line,
        customdata=numbers,
        hovertemplate=hover,
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=rows["high"],
        mode="lines",
        line=line,
        fill="tonexty",
        fillcolor=faint(blue, 0.3),
        customdata=numbers,
        hovertemplate=hover,
        name="smallest to largest weight",
    )
    far = rows.index[rows["outlier"]]
    if len(far):
        ends = [x[0], x[-1], None, x[0], x[-1]]
        figure.add_scatter(
            x=ends,
            y=[limit, limit, None, -limit, -limit],
            mode="lines",
            line={"color": ink.quiet, "dash": "dot"},
            hoverinfo="skip",
            name=f"{OUTLIER:g} × the median reach",
        )
        tips = [
            r["high"] if r["high"] >= -r["low"] else r["low"] for _, r in rows.loc[far].iterrows()
        ]
        named = set(rows.loc[far].nlargest(_LISTED, "reach")["channel"])
        figure.add_scatter(
            x=[x[i] for i in far],
            y=tips,
            mode="markers+text",
            marker={"symbol": "diamond", "size": 9, "color": ink.text},
            customdata=numbers[far],
            hovertemplate=hover,
            text=[str(c) if c in named and not by_reach else "" for c in rows.loc[far, "channel"]],
            textposition=["top center" if tip > 0 else "bottom center" for tip in tips],
            name="outlier",
        )
    reach = 1.18 * float(rows["reach"].max() or 1)
    number = (
        "Number of the output channel"
        if row["role"] != "embedding"
        else "Number of the row (token)"
    )
    figure.update_layout(
        overwrite=True,
        template=template(theme),
        height=360,
        margin={"l": 62, "r": 14, "t": 8, "b": 108},
        hovermode="closest",
        legend=LEGEND,
        xaxis={
            "title": {
                "text": f"Rank by reach, of {len(rows)}" if by_reach else number,
                "standoff": 6,
            },
            "nticks": 7,
            "fixedrange": True,
        },
        yaxis={
            "title": {"text": "Value of a weight"},
            "range": [-reach, reach],
            "nticks": 7,
            "fixedrange": True,
        },
    )
    return figure, rows, text

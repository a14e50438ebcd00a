"""The weights of one module before and after rounding: of one run, and of several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import axis_title, value_axis
from sdq.figures.curves import cell, small_multiples
from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, template
from sdq.figures.weights import Picture, find, label_of, quantized


def histogram_table(
    weights: Mapping[str, pd.DataFrame], names: Mapping[str, str], module: str
) -> pd.DataFrame:
    """One row per run and bin: run, weight (middle of the bin), before, after (share of the
    module's weights in %, `after` missing where nothing is rounded).

    `weights`: run id -> its table of weights. A run without the module is left out.
    """
    parts = []
    for run, stored in weights.items():
        module_rows = stored[stored["module"] == module]
        if not len(module_rows):
            continue
        row = module_rows.iloc[0]
        before, after = np.asarray(row["fp32"], dtype=float), row.get("quantized")
        edges = np.linspace(row["low"], row["high"], len(before) + 1)
        rounded = (
            np.asarray(after, dtype=float)
            if isinstance(after, np.ndarray | list)
            else np.full(len(before), math.nan)
        )
        shares = {
            "before": 100 * before / before.sum(),
            "after": 100 * rounded / np.nansum(rounded) if not np.isnan(rounded).all() else rounded,
        }
        parts.append(
            pd.DataFrame({"run": names[run], "weight": (edges[1:] + edges[:-1]) / 2, **shares})
        )
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["run", "weight", "before", "after"])
    )


def histogram_reading(
    weights: Mapping[str, pd.DataFrame], names: Mapping[str, str], module: str, label: str
) -> str:
    """Bits and SQNR of the rounded weights, run by run."""
    parts = []
    for run, stored in weights.items():
        for row in stored[stored["module"] == module].to_dict("records"):
            exact = row["bits"] == 32 or "sqnr_db" not in row or math.isnan(row["sqnr_db"])
            parts.append(
                f"{names[run]} not rounded"
                if exact
                else f"{names[run]} {row['bits']:.0f} bits, SQNR {row['sqnr_db']:.1f} dB"
            )
    return (
        f"Weights of {label}: {'; '.join(parts)}."
        if parts
        else f"None of these runs has weights of {label}."
    )


def histograms(shares_of: pd.DataFrame, theme: Theme = "light") -> go.Figure:
    """Weights before and after rounding, a panel per run, all with the same axes; the shares are on
    a log axis, because rounded weights pile up on few values."""
    ink, runs = INK[theme], list(dict.fromkeys(shares_of["run"]))
    figure, inner = small_multiples(runs)
    for i, run in enumerate(runs):
        _add_shares(figure, shares_of[shares_of["run"] == run], run, cell(i, len(runs)), theme)
    shares = shares_of[["before", "after"]].to_numpy(dtype=float)
    least = float(np.nanmin(np.where(shares > 0, shares, np.nan)))
    last = cell(len(runs) - 1, len(runs))["row"]
    figure.update_annotations(font={"size": 13, "color": ink.text}, yshift=2)
    figure.update_xaxes(showticklabels=True, fixedrange=True, nticks=5)
    figure.update_xaxes(title={"text": "Weight", "standoff": 4}, row=last)
    figure.update_yaxes(
        type="log",
        range=[math.log10(least) - 0.2, 2.1],
        dtick=1,
        exponentformat="none",
        fixedrange=True,
    )
    figure.add_annotation(**axis_title("Share of the weights, % (log scale)", -46, 28, 13, theme))
    figure.update_layout(
        template=template(theme),
        barmode="overlay",
        bargap=0,
        height=inner + 52 + 78,
        margin={"l": 52, "r": 12, "t": 52, "b": 78},
        showlegend=True,
        legend=LEGEND,
    )
    return figure


def _add_shares(
    figure: go.Figure, shares: pd.DataFrame, run: str, panel: Mapping[str, int], theme: Theme
) -> None:
    """The shares of one run before and after rounding; the legend names each once."""
    ink = INK[theme]
    for column, name, colour, opacity in (
        ("before", "before rounding", ink.quiet, 0.45),
        ("after", "after rounding", ink.text, 1.0),
    ):
        share = shares[column].where(shares[column] > 0)
        if share.isna().all():
            continue
        text = [
            f"{escape(run)}, {name}<br>weight {x:.4g}: {y:.3g} %"
            for x, y in zip(shares["weight"], share, strict=True)
        ]
        figure.add_bar(
            x=shares["weight"].tolist(),
            y=[None if math.isnan(y) else y for y in share],
            width=float(shares["weight"].diff().median()),
            name=name,
            legendgroup=name,
            opacity=opacity,
            showlegend=not any(trace.name == name for trace in figure.data),
            marker={"color": colour, "line": {"width": 0}},
            hovertext=text,
            hoverinfo="text",
            **panel,
        )


def _array(row: Any, name: str) -> np.ndarray[Any, Any] | None:
    value = row.get(name)
    return np.asarray(value) if isinstance(value, np.ndarray | list | tuple) else None


def _grid_sentence(row: Any, grid: np.ndarray[Any, Any] | None) -> str:
    """Which values the rounded weights can take."""
    if grid is not None:
        step = (grid[-1] - grid[0]) / (len(grid) - 1)
        return (
            f"At {int(row['bits'])} bits they can take {len(grid)} values, {step:.2g} apart; "
            f"{row['codes_used']:.0f} of these occur."
        )
    owner = {"channel": "output channel", "group": "group of weights"}.get(
        row["granularity"], "part"
    )
    steps = f"{row['scale_low']:.2g} to {row['scale_high']:.2g}"
    return (
        f"Every {owner} has its own grid ({int(row['ranges']):,} scales, steps from {steps}), so "
        "no common grid can be drawn under the figure."
    )


def histogram_picture(
    weights: pd.DataFrame, layer: str, method: str, log: bool = False, theme: Theme = "light"
) -> Picture:
    """Counts of the weights of one module before and after rounding; under them the values that
    rounded weights can take, if all share one grid."""
    row = find(weights, layer)
    before, after = np.asarray(row["fp32"]), _array(row, "quantized") if quantized(row) else None
    grid = _array(row, "grid") if after is not None else None
    width = (row["high"] - row["low"]) / len(before) or 1.0
    centres = row["low"] + (np.arange(len(before)) + 0.5) * width
    rows = pd.DataFrame(
        {"from": centres - width / 2, "to": centres + width / 2, "before rounding": before}
    )
    figure = go.Figure()
    if after is not None:
        rows["rounded"] = after
        figure.add_bar(
            x=centres,
            y=after,
            width=width,
            marker={"color": faint(MARKS[method].colour(theme), 0.75), "line": {"width": 0}},
            name=f"rounded to {int(row['bits'])} bits",
        )
    figure.add_scatter(
        x=centres,
        y=[int(n) if n or not log else None for n in before],
        mode="lines",
        line={"color": MARKS["FP32"].colour(theme), "width": 2, "shape": "hvh"},
        name="before rounding",
    )
    figure.update_layout(
        overwrite=True,
        template=template(theme),
        height=360,
        margin={"l": 62, "r": 14, "t": 8, "b": 94},
        bargap=0,
        barmode="overlay",
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis("Weight value", anchor="y" if grid is None else "y2", nticks=7),
        yaxis={
            "title": {"text": "Weights per bin"},
            "type": "log" if log else "linear",
            "domain": [0.0 if grid is None else 0.12, 1.0],
            "tickformat": "~s",
            "fixedrange": True,
            **({"dtick": 1} if log else {}),
        },
    )
    if grid is not None:
        _add_grid(figure, grid, theme)
    text = (
        f"{label_of(row)}: {int(row['rows'] * row['columns']):,} weights from {row['low']:.3g} to "
        f"{row['high']:.3g}. "
    )
    rounded = "They are not rounded in this run." if after is None else _grid_sentence(row, grid)
    return figure, rows, text + rounded


def _add_grid(figure: go.Figure, grid: np.ndarray[Any, Any], theme: Theme) -> None:
    """The values that rounded weights can take, as a strip under the picture."""
    figure.add_scatter(
        x=grid,
        y=[0] * len(grid),
        yaxis="y2",
        mode="markers",
        marker={
            "symbol": "line-ns-open",
            "size": 12,
            "color": INK[theme].text,
            "line": {"width": 1},
        },
        name="representable values",
        hovertemplate="%{x:.4g}<extra></extra>",
    )
    figure.update_layout(
        yaxis2={
            "domain": [0.0, 0.08],
            "tickvals": [0],
            "ticktext": ["grid"],
            "range": [-1, 1],
            "showgrid": False,
            "fixedrange": True,
        }
    )

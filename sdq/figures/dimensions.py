"""Outlier dimensions: the few hidden units whose values are far larger than the rest, in one layer
and in all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture, find, label_of
from sdq.labels import ROLE_LABELS, module_label

FAR = 6.0  # times the median rms of the hidden units
_LISTED = 6
COLUMNS = ["hidden unit", "input of", "blocks", "layers", "largest |x|", "times the median rms"]


def dimension_table(profiles: pd.DataFrame, layer: str) -> pd.DataFrame:
    """One row per hidden unit: hidden unit, largest |x|, rms, times the median rms (largest |x|
    over it), outlier (over FAR times).

    UserError for an unknown layer.
    """
    row = find(profiles, layer)
    rows = pd.DataFrame(
        {
            "largest |x|": np.asarray(row["dimension_peak"], dtype=float),
            "rms": np.asarray(row["dimension_rms"], dtype=float),
        }
    )
    rows.insert(0, "hidden unit", np.arange(len(rows)))
    median = float(rows["rms"].median())
    rows["times the median rms"] = rows["largest |x|"] / median if median > 0 else 0.0
    rows["outlier"] = rows["times the median rms"] > FAR
    return rows


def _named(far: pd.DataFrame, units: int) -> list[int]:
    """The units whose numbers can be written without overlap: largest first, none too close to one
    already named."""
    chosen: list[int] = []
    for unit in far.sort_values("largest |x|", ascending=False)["hidden unit"]:
        if all(abs(int(unit) - other) > 0.07 * units for other in chosen):
            chosen.append(int(unit))
        if len(chosen) == _LISTED:
            break
    return chosen


def dimension_picture(profiles: pd.DataFrame, layer: str, theme: Theme = "light") -> Picture:
    """The largest |x| of every hidden unit of a layer's input, against its rms; outlier units carry
    their numbers."""
    rows, ink = dimension_table(profiles, layer), INK[theme]
    far, limit = rows[rows["outlier"]], FAR * float(rows["rms"].median())
    hover = "unit %{x}: %{y:.3g}<extra></extra>"
    figure = go.Figure()
    figure.add_scatter(
        x=rows["hidden unit"],
        y=rows["largest |x|"],
        mode="markers",
        marker={"size": 4, "color": MARKS["FP32"].colour(theme)},
        name="largest |x|",
        hovertemplate=hover,
    )
    figure.add_scatter(
        x=rows["hidden unit"],
        y=rows["rms"],
        mode="lines",
        line={"width": 1, "color": ink.quiet},
        name="rms",
        hovertemplate=hover,
    )
    figure.add_scatter(
        x=[0, len(rows) - 1],
        y=[limit, limit],
        mode="lines",
        line={"color": ink.quiet, "dash": "dot"},
        name=f"{FAR:g} × the median rms",
        hoverinfo="skip",
    )
    if len(far):
        named = set(_named(far, len(rows)))
        figure.add_scatter(
            x=far["hidden unit"],
            y=far["largest |x|"],
            mode="markers+text",
            marker={"symbol": "diamond", "size": 9, "color": ink.text},
            hovertemplate=hover,
            text=[str(unit) if unit in named else "" for unit in far["hidden unit"]],
            textposition="top center",
            name="outlier dimension",
        )
    top = 1.15 * max(float(rows["largest |x|"].max()), limit) or 1.0
    edge = 0.03 * len(rows)
    figure.update_layout(
        template=template(theme),
        height=380,
        margin={"l": 64, "r": 14, "t": 8, "b": 126},
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis("Hidden unit", nticks=7, range=[-edge, len(rows) - 1 + edge]),
        yaxis={"title": {"text": "Input magnitude, |x|"}, "range": [0, top], "fixedrange": True},
    )
    return figure, rows, f"{label_of(find(profiles, layer))}: {_outliers_said(far, rows, limit)}"


def _outliers_said(far: pd.DataFrame, rows: pd.DataFrame, limit: float) -> str:
    """How many units reach beyond the limit, the largest by number."""
    text = (
        f"{len(far)} of {len(rows)} hidden units exceed{'s' if len(far) == 1 else ''} {FAR:g} "
        f"times the median rms ({limit:.3g})"
    )
    listed = ", ".join(
        f"{int(r['hidden unit'])} ({r['times the median rms']:.0f} times)"
        for _, r in far.sort_values("largest |x|", ascending=False).head(_LISTED).iterrows()
    )
    return f"{text}; the largest: {listed}." if listed else f"{text}."


def outlier_units(profiles: pd.DataFrame) -> pd.DataFrame:
    """Which hidden units are outliers in which layers: one row per unit and kind of input, those of
    most layers first.

    Query, key and value share their input and count once. Inputs of different kinds may number
    their units differently: only rows with the same "input of" speak of the same unit. Columns:
    COLUMNS.
    """
    shared = {
        (block, "q")
        for role, block in zip(profiles["role"], profiles["block"], strict=True)
        if role == "q"
    }
    rows = []
    for _, row in profiles.iterrows():
        role, block = row["role"], int(row["block"])
        if role in ("k", "v") and (block, "q") in shared:
            continue
        of = (
            "query, key, value"
            if role == "q"
            else ROLE_LABELS.get(role, role)
            if block >= 0
            else module_label(row["module"], role, block)
        )
        units = dimension_table(profiles, row["module"])
        for _, unit in units[units["outlier"]].iterrows():
            rows.append(
                (
                    int(unit["hidden unit"]),
                    of,
                    block,
                    unit["largest |x|"],
                    unit["times the median rms"],
                )
            )
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    every = pd.DataFrame(
        rows, columns=["hidden unit", "input of", "block", "peak", "times"]
    ).groupby(["hidden unit", "input of"], sort=False)
    units_found = every.agg(
        blocks=("block", lambda b: ", ".join(str(i) for i in b if i >= 0) or "–"),
        layers=("block", "size"),
        peak=("peak", "max"),
        times=("times", "max"),
    ).reset_index()
    units_found.columns = pd.Index(COLUMNS)
    return units_found.sort_values(
        ["layers", "times the median rms"], ascending=False, ignore_index=True
    )


def units_reading(units: pd.DataFrame) -> str:
    """The unit that stands out most often, in words."""
    if units.empty:
        return f"No hidden unit exceeds {FAR:g} times the median rms in any layer."
    first = units.iloc[0]
    where = (
        f"in block{'s' if first['layers'] > 1 else ''} {first['blocks']}"
        if first["blocks"] != "–"
        else "after the blocks"
    )
    return (
        f"Hidden unit {first['hidden unit']} stands out most: at the input of {first['input of']} "
        f"{where}, up to {first['times the median rms']:.0f} times the median rms. {len(units)} "
        "combinations of unit and kind of input have an outlier."
    )

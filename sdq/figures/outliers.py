"""The hidden units that stand out at the inputs of the layers, over the table "why"."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.inspection.reasons import FAR
from sdq.labels import language_name, module_label

_SHARED = ("k", "v")  # they read the input of "q"


def units(why: pd.DataFrame) -> pd.DataFrame:
    """One row per outlier unit and input: layer (whose input), module, block, hidden unit, largest
    |x|, median unit, times, beyond (FAR times), made by, language. Query, key and value share their
    input and count once."""
    outliers = why[(why["cause"] == "outlier_unit")]
    asked = set(zip(outliers["block"], outliers["role"], strict=True))
    outliers = outliers[
        [
            role not in _SHARED or (block, "q") not in asked
            for role, block in zip(outliers["role"], outliers["block"], strict=True)
        ]
    ]
    rows = pd.DataFrame({"layer": [_reader(row) for row in outliers.to_dict("records")]})
    for name, column in (
        ("module", "module"),
        ("block", "block"),
        ("hidden unit", "at"),
        ("largest |x|", "value"),
        ("median unit", "usual"),
    ):
        rows[name] = list(outliers[column])
    rows["times"] = rows["largest |x|"] / rows["median unit"].where(rows["median unit"] > 0)
    rows["beyond"] = rows["times"] > FAR
    return rows.assign(
        **{
            "made by": list(outliers["source"]),
            "language": [language_name(code) for code in outliers["language"]],
        }
    )


def _reader(row: dict[str, Any]) -> str:
    if row["role"] == "q":
        return f"block {row['block']} · query, key, value"
    return module_label(row["module"], row["role"], int(row["block"]))


def units_picture(why: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Hidden units whose largest input stands out, one line per layer in forward order; the larger
    the dot, the farther. None where no input is rounded. customdata is the module."""
    rows = units(why)
    if rows.empty:
        return None
    layers = list(dict.fromkeys(rows["layer"]))
    figure = go.Figure()
    _add_units(figure, rows, theme)
    far = (
        rows.loc[rows.groupby("layer", sort=False)["times"].idxmax()]
        if rows["times"].notna().all()
        else rows[:0]
    )
    figure.add_scatter(
        x=far["hidden unit"],
        y=far["layer"],
        mode="text",
        text=[f"    {r[4]}: {r.times:.0f}×" for r in far.itertuples()],  # clear of the dot
        textposition="middle right",
        textfont={"color": INK[theme].text, "size": 12},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    widest = float(rows["hidden unit"].max())
    reach = [-0.04 * widest - 1, 1.22 * widest + 1]
    figure.update_layout(
        template=template(theme),
        height=26 * len(layers) + 130,
        margin={"l": 150, "r": 14, "t": 8, "b": 96},
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis("Hidden unit", range=reach, nticks=6),
        yaxis={
            "categoryorder": "array",
            "categoryarray": layers[::-1],
            "fixedrange": True,
            "range": [-0.7, len(layers) - 0.3],
        },
    )
    return figure, rows, _units_reading(rows, len(layers))


def _add_units(figure: go.Figure, rows: pd.DataFrame, theme: Theme) -> None:
    """A dot per unit, open where it is not beyond FAR times the median unit."""
    colour = MARKS["PTQ"].colour(theme)
    for beyond, name, symbol in (
        (True, f"over {FAR:g} × the median unit", "circle"),
        (False, "largest of its layer, below that", "circle-open"),
    ):
        part = rows[rows["beyond"] == beyond]
        if part.empty:
            continue
        hover = [
            f"{r.layer}<br>unit {r[4]}: {r.times:.1f} × the median unit<br>largest in {r.language}"
            for r in part.itertuples()
        ]
        size = [min(26.0, 4 + 4 * times**0.5) for times in part["times"].fillna(1)]
        figure.add_scatter(
            x=part["hidden unit"],
            y=part["layer"],
            mode="markers",
            name=name,
            hovertext=hover,
            hoverinfo="text",
            customdata=[[m] for m in part["module"]],
            marker={
                "symbol": symbol,
                "size": size,
                "color": colour,
                "line": {"width": 1.5, "color": colour},
            },
            unselected={"marker": {"opacity": 1}},
        )


def _units_reading(rows: pd.DataFrame, layers: int) -> str:
    first, beyond = rows.loc[rows["times"].fillna(0).idxmax()], rows[rows["beyond"]]
    text = (
        f"In {beyond['layer'].nunique()} of {layers} inputs a hidden unit exceeds {FAR:g} times "
        f"the median unit; the largest is unit {first['hidden unit']} "
    )
    text += f"at the input of {first['layer']}, {first['times']:.1f} times"
    return f"{text}, produced by {first['made by']}." if first["made by"] else f"{text}."

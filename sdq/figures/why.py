"""Why modules break, module by module, and how LayerNorms damp errors.

Reads the table "why" (sdq.inspection.root_causes), as sdq.figures.outliers does; the table
"mismatch" is drawn by sdq.figures.mismatch. Each picture comes as (figure, table behind it,
sentence).
"""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.style import LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.inspection.reasons import CAUSES, described, reason, removed
from sdq.labels import module_label, nats, share


def modules(why: pd.DataFrame) -> pd.DataFrame:
    """One row per quantized module: module, role, block, kl (nats; missing where no cause was
    removed), the worst first, then in forward order."""
    rows = why[why["role"] != "layernorm"].drop_duplicates("module")[
        ["module", "role", "block", "kl"]
    ]
    return rows.sort_values(
        "kl", ascending=False, na_position="last", kind="stable", ignore_index=True
    )


def causes_table(why: pd.DataFrame, layer: str) -> pd.DataFrame:
    """What stands out in a module: cause (in words); where it was removed: recovered (nats), share
    (of the module's KL, %), its 95 % interval low, high and removed (how); value, usual, unit, at
    ("": no single place). Those that recover most first."""
    rows = why[why["module"] == layer].sort_values(
        "gain", ascending=False, na_position="last", kind="stable"
    )
    table = pd.DataFrame(
        {
            "cause": [
                described(row) if row["cause"] in CAUSES else _SYMPTOMS[row["cause"]]
                for row in rows.to_dict("records")
            ]
        }
    )
    table["recovered, nats"], table["share of the KL, %"] = (
        list(rows["gain"]),
        list(100 * rows["gain"] / rows["kl"]),
    )
    table["low"], table["high"] = list(rows["gain_low"]), list(rows["gain_high"])
    table["removed"] = [
        "" if math.isnan(row["gain"]) else removed(row) for row in rows.to_dict("records")
    ]
    for name in ("value", "usual", "unit"):
        table[name] = list(rows[name])
    table["at"] = ["" if at < 0 else str(at) for at in rows["at"]]
    return table


_SYMPTOMS = {
    "wide_language": "range of the inputs in the language that needs the widest, and in the "
    "median language",
    "heavy_tails": "kurtosis of the inputs (3: normal distribution), here and in the median module",
    "unused_inputs": "share of the input codes that never occur, here and in the median module",
    "unused_weights": "share of the weight codes that never occur, here and in the median module",
}


def reading(why: pd.DataFrame, layer: str) -> str:
    """Why a module breaks, in a sentence or two with numbers."""
    rows = why[why["module"] == layer]
    name = module_label(layer, rows.iloc[0]["role"], int(rows.iloc[0]["block"]))
    tried = rows[rows["gain"].notna()]
    if tried.empty:
        worst = int(modules(why)["kl"].notna().sum())
        return (
            f"{name[:1].upper()}{name[1:]} is not among the {worst} modules that break the answers "
            "most, so removing its causes was not tested."
        )
    kl = float(tried.iloc[0]["kl"])
    text = f"{name[:1].upper()}{name[1:]} alone moves the answers by a KL of {nats(kl)} nats"
    if (cause := reason(rows)) is None:
        return f"{text}. None of the {len(tried)} causes tested explains half of that."
    recovered, done = share(min(1.0, cause["gain"] / kl)), removed(cause)
    return (
        f"{text}: {described(cause)}. {done[:1].upper()}{done[1:]}, it is {nats(cause['gain'])} "
        f"nats lower ({recovered} of the KL)."
    )


def damping_picture(why: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Relative L2 of the accumulated error before and after every LayerNorm, in forward order. None
    for a model without any."""
    rows = _damping_table(why)
    if rows.empty:
        return None
    figure = go.Figure()
    for name, mark in (("before", MARKS["PTQ"]), ("after", MARKS["FP32"])):
        colour = mark.colour(theme)
        figure.add_scatter(
            x=rows["LayerNorm"],
            y=rows[name],
            mode="lines+markers",
            line={"color": colour, "dash": mark.dash, "width": 2},
            marker={"symbol": mark.symbol, "size": 8, "color": colour},
            name=f"{name} the LayerNorm",
            hovertemplate=f"%{{x}}<br>{name}: %{{y:.3g}}<extra></extra>",
        )
    figure.update_layout(
        template=template(theme),
        height=360,
        margin={"l": 64, "r": 14, "t": 8, "b": 140},
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis("LayerNorm (first and second of each block)", tickangle=-60),
        yaxis={
            "title": {"text": "Relative L2 of the error (lower is better)"},
            "rangemode": "tozero",
            "fixedrange": True,
        },
    )
    return figure, rows, _damping_reading(rows)


def _damping_table(why: pd.DataFrame) -> pd.DataFrame:
    """One row per LayerNorm: LayerNorm (in words), module, error before and after, their ratio."""
    norms = why[why["cause"] == "damping"]
    place = norms.groupby("block").cumcount() + 1
    label = [
        f"block {b} · {i}" if b >= 0 else "embedding"
        for b, i in zip(norms["block"], place, strict=True)
    ]
    rows = pd.DataFrame(
        {
            "LayerNorm": label,
            "module": list(norms["module"]),
            "before": list(norms["usual"]),
            "after": list(norms["value"]),
        }
    )
    rows["after / before"] = rows["after"] / rows["before"].where(rows["before"] > 0)
    return rows


def _damping_reading(rows: pd.DataFrame) -> str:
    """How many LayerNorms make the error smaller, and which do so most and least."""
    ratio = rows["after / before"]
    if ratio.isna().all():
        return f"There is no error at any of the {len(rows)} LayerNorms."
    least, most = rows.loc[ratio.idxmin()], rows.loc[ratio.idxmax()]
    return (
        f"{int((ratio < 1).sum())} of {len(rows)} LayerNorms reduce the relative error. They "
        f"multiply it by {least['after / before']:.2f} ({least['LayerNorm']}) to "
        f"{most['after / before']:.2f} ({most['LayerNorm']}). After the last one it is "
        f"{rows['after'].iloc[-1]:.2g}."
    )

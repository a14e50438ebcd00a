"""What helps a quantized run: size against what is lost, predicted by the costs of the widths and
measured by running the recipes.

`table` holds the numbers, `picture` draws them, `reading` says them in words; sdq.figures.widths
shows which module got how many bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sdq.evaluate.statistics import p_cell, p_text
from sdq.figures.axes import axis_title
from sdq.figures.curves import legend_height
from sdq.figures.methods import bracket
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, template
from sdq.figures.weights import Picture
from sdq.inspection.remedies import current_choice
from sdq.labels import module_label, signed
from sdq.results import METRICS, Report

RUN, FULL = "this run", "FP32"
KINDS = {
    "mixed": "mixed widths",
    "keep": "worst modules in FP32",
    "split-column": "columns split",
    "keep-column": "columns in 16 bits",
    "migration": "migration",
    "channel": "ranges per channel",
    "calibration": "other calibration",
}
_MARKS = dict(
    zip(
        KINDS.values(),
        (
            MARKS["SDQ"],
            MARKS["QAT"],
            Mark("#882255", "#DDA0C0", "dot", "hexagon"),
            Mark("#332288", "#A99BEA", "dash", "cross"),
            MARKS["QNAT"],
            MARKS["SDQ multi"],
            Mark("#59616f", "#a9b1bf", "dash", "pentagon"),
        ),
        strict=True,
    )
)
COLUMNS = [
    "remedy",
    "kind",
    "MB",
    "predicted",
    "zero-shot",
    "change",
    "low",
    "high",
    "p",
    "sentences",
    "run id",
]


def _ends(report: Report, costs: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the run itself and of FP32."""
    codes = [code for code in report.quantized.by_language if code != report.labelled] or list(
        report.quantized.by_language
    )
    now, full = (
        100 * sum(scores.by_language[code] for code in codes) / len(codes)
        for scores in (report.quantized, report.reference)
    )
    none = {"low": math.nan, "high": math.nan, "p": math.nan, "sentences": 0}
    run = {
        "remedy": RUN,
        "kind": RUN,
        "MB": report.size_bytes["quantized_simulated"] / 1e6,
        "predicted": current_choice(costs).cost,
        "zero-shot": now,
        "change": 0.0,
        "run id": report.run,
    }
    fp32 = {
        "remedy": FULL,
        "kind": FULL,
        "MB": report.size_bytes["fp32"] / 1e6,
        "predicted": 0.0,
        "zero-shot": full,
        "change": full - now,
        "run id": "",
    }
    return [run | none, fp32 | none]


def table(report: Report, remedies: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """One row for the run, for FP32, and per remedy, smallest first: remedy (words), kind, MB
    (simulated, but of FP32), predicted (summed cost, nats), zero-shot (%), change against the run
    with its 95 % interval low, high (points), p, sentences, run id (if that recipe's run is
    stored). Missing where it was not run.
    """
    layers = {
        module: module_label(module, role, block)
        for module, role, block in costs[["module", "role", "block"]].itertuples(index=False)
    }
    rows = _ends(report, costs)
    for row in remedies.to_dict("records"):
        code = row["remedy"]
        kind = KINDS[code if code in KINDS else code.partition("-")[0]]
        left = ", ".join(layers[name] for name in _left(row["recipe"]) if name in layers)
        rows.append(
            {
                "remedy": f"{row['what']}: {left}" if kind == KINDS["keep"] else row["what"],
                "kind": kind,
                "MB": row["bytes"] / 1e6,
                "zero-shot": row["zero_shot"],
                "sentences": row["n"],
                "run id": row["run"],
                **{key: row[key] for key in ("predicted", "change", "low", "high", "p")},
            }
        )
    return pd.DataFrame(rows)[COLUMNS].sort_values("MB", kind="stable", ignore_index=True)


def printed(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table for the page: a change with its interval in one cell, the units in the headings."""
    lines = []
    for row in rows.to_dict("records"):
        was_run = not math.isnan(row["change"])
        lines.append(
            {
                "remedy": row["remedy"][:1].upper() + row["remedy"][1:],
                "size, MB": f"{row['MB']:.2f}{'' if row['kind'] == FULL else ' simulated'}",
                "predicted cost, nats": f"{row['predicted']:.2g}",
                f"zero-shot mean, {METRICS[metric].unit}": f"{row['zero-shot']:.1f}"
                if was_run
                else "not run yet",
                "against this run, points [95 %]": signed(row["change"])
                + bracket(row["low"], row["high"], "+")
                if was_run and row["kind"] != RUN
                else "",
                "p": p_cell(row["p"]),
            }
        )
    return pd.DataFrame(lines)


def agreement(rows: pd.DataFrame) -> tuple[float, int]:
    """(Spearman's rho of predicted cost and measured drop, over how many recipes that were run);
    NaN for fewer than three."""
    tried = rows[~rows["kind"].isin((RUN, FULL))].dropna(subset=["change", "predicted"])
    return (
        float(tried["predicted"].rank().corr(-tried["change"].rank()))
        if len(tried) > 2
        else math.nan
    ), len(tried)


def reading(rows: pd.DataFrame) -> str:
    """What the run lost, the smallest recipe that reliably helps, the best one, and whether the
    predicted ranking held."""
    run, full = (rows[rows["kind"] == kind].iloc[0] for kind in (RUN, FULL))
    text = (
        f"This run loses {full['change']:.1f} points against FP32 on the zero-shot languages, at "
        f"{run['MB']:.2f} MB (simulated) instead of {full['MB']:.1f}."
    )
    tried = rows[~rows["kind"].isin((RUN, FULL))].dropna(subset="change")
    if tried.empty:
        return f"{text} None of its remedies has been run yet, because they need training."
    sure = tried[(tried["low"] > 0) & (tried["p"] < 0.05)]
    if sure.empty:
        return (
            f"{text} None of the {len(tried)} remedies that were run helps reliably: none has an "
            "interval above 0."
        )
    small, best = sure.iloc[0], sure.loc[sure["change"].idxmax()]
    text += (
        f" The smallest recipe that reliably helps: {_named(small)} gains {_gained(small)} at "
        f"{small['MB']:.2f} MB."
    )
    if best["remedy"] != small["remedy"]:
        text += f" {_named(best)} gains most: {_gained(best)} at {best['MB']:.2f} MB."
    rho, n = agreement(rows)
    return (
        text
        if math.isnan(rho)
        else f"{text} Over the {n} recipes that were run, predicted cost and measured drop have "
        f"Spearman's rank correlation ρ = {rho:.2f}."
    )


def _named(row: pd.Series[Any]) -> str:
    return f"“{row['remedy']}”"


def _gained(row: pd.Series[Any]) -> str:
    return (
        f"{signed(row['change'])} points{bracket(row['low'], row['high'], '+')} "
        f"({p_text(row['p'])})"
    )


def picture(
    report: Report,
    rows: pd.DataFrame,
    pareto: pd.DataFrame,
    theme: Theme = "light",
    at: int | None = None,
) -> Picture:
    """Above the measured change against the run, below the predicted cost, both over the size; a
    line through the best that widths alone give.

    `at`: the row of `pareto` that is marked.
    """
    ink = INK[theme]
    marks = {RUN: MARKS[report.method], FULL: MARKS["FP32"]} | _MARKS
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.14, row_heights=[0.5, 0.5])
    figure.add_scatter(
        x=pareto["bytes"] / 1e6,
        y=pareto["cost"].where(pareto["cost"] > 0),
        mode="lines",
        line={"color": ink.quiet, "width": 1.5, "dash": "dot"},
        name="predicted: best widths",
        hovertemplate="%{x:.2f} MB: %{y:.2g} nats<extra></extra>",
        row=2,
        col=1,
    )
    for kind in dict.fromkeys([RUN, FULL, *rows["kind"]]):
        _points(figure, rows[rows["kind"] == kind], kind, marks[kind], theme)
    if at is not None:
        figure.add_vline(x=pareto.iloc[at]["bytes"] / 1e6, line={"color": ink.text, "width": 1})
    axes = {"type": "log", "fixedrange": True, "showticklabels": True, **_ticks(rows, pareto)}
    title = "Size, MB (simulated except FP32; log scale; less is better)"
    figure.update_xaxes(**axes)
    figure.update_xaxes(title={"text": title, "standoff": 4}, row=2)
    figure.update_yaxes(fixedrange=True, nticks=6, zeroline=True, zerolinecolor=ink.quiet, row=1)
    figure.update_yaxes(type="log", fixedrange=True, exponentformat="none", dtick=1, row=2)
    for axis, text in (
        ("yaxis", "Measured change of the zero-shot mean, points"),
        ("yaxis2", "Predicted cost, nats (log scale; lower is better)"),
    ):
        top = figure.layout[axis].domain[1]
        figure.add_annotation(**axis_title(text, -52, 6, 13, theme) | {"y": top})
    below = legend_height(["predicted: best widths", *dict.fromkeys(rows["kind"])])
    figure.update_layout(
        template=template(theme),
        height=470 + below,
        margin={"l": 58, "r": 14, "t": 30, "b": 58 + below},
        hovermode="closest",
        showlegend=True,
        legend=LEGEND,
    )
    return figure, rows, reading(rows)


def _points(figure: go.Figure, recipes: pd.DataFrame, kind: str, mark: Mark, theme: Theme) -> None:
    """The recipes of one kind, in both panels."""
    colour = mark.colour(theme)
    text = [
        f"{escape(row['remedy'])}<br>{row['MB']:.2f} MB, predicted {row['predicted']:.2g} nats<br>"
        + (
            "not run yet"
            if math.isnan(row["change"])
            else f"{signed(row['change'])} points{bracket(row['low'], row['high'], '+')}"
        )
        for row in recipes.to_dict("records")
    ]
    drawn = {
        "mode": "markers",
        "name": kind,
        "legendgroup": kind,
        "hovertext": text,
        "hoverinfo": "text",
        "customdata": recipes["remedy"],
    }
    marker = {
        "color": colour,
        "symbol": mark.symbol,
        "size": 10,
        "line": {"color": colour, "width": 1.5},
    }
    reach = {
        "array": recipes["high"] - recipes["change"],
        "arrayminus": recipes["change"] - recipes["low"],
    }
    bars = (
        {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4, **reach}
        if recipes["low"].notna().any()
        else None
    )
    figure.add_scatter(
        x=recipes["MB"], y=recipes["change"], error_y=bars, marker=marker, **drawn, row=1, col=1
    )
    figure.add_scatter(
        x=recipes["MB"],
        y=recipes["predicted"].where(recipes["predicted"] > 0),
        marker=marker,
        **drawn,
        showlegend=False,
        row=2,
        col=1,
    )


def _ticks(rows: pd.DataFrame, pareto: pd.DataFrame) -> Mapping[str, Any]:
    """Ticks at 1, 2, 5 times powers of ten within the sizes, and the range of the axis."""
    sizes = [*rows["MB"], *(pareto["bytes"] / 1e6)]
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    every = [
        step * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for step in (1, 2, 5)
    ]
    shown = [tick for tick in every if low - 0.1 <= math.log10(tick) <= high + 0.1]
    return {
        "tickvals": shown,
        "ticktext": [f"{tick:g}" for tick in shown],
        "range": [low - 0.06, high + 0.06],
    }


def _left(recipe: str) -> list[str]:
    """The modules that rules of their own leave in FP32, of a recipe as JSON."""
    return [
        rule["name"]
        for rule in json.loads(recipe)["rules"]
        if rule["name"] != "*" and rule["weight"] is None
    ]

"""The estimate from gradients against the exact scan: how far its ranking of the modules can be
trusted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import ranked, rho
from sdq.figures.axes import value_axis
from sdq.figures.curves import legend_height
from sdq.figures.sensitivity import Picture
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, template
from sdq.labels import module_label


def rows(sensitivity: pd.DataFrame, estimate: pd.DataFrame, floor: pd.DataFrame) -> pd.DataFrame:
    """The ranking of `sdq.evaluate.ranking.ranked`, with `layer`, what each module is called."""
    table = ranked(sensitivity, estimate, floor)
    label = [
        module_label(name, role, int(block))
        for name, role, block in zip(table["module"], table["role"], table["block"], strict=True)
    ]
    table.insert(0, "layer", label)
    return table


def estimate_picture(
    sensitivity: pd.DataFrame,
    estimate: pd.DataFrame,
    floor: pd.DataFrame,
    chosen: str | None = None,
    method: str = "PTQ",
    theme: Theme = "light",
) -> Picture:
    """Exact KL of one module alone over its estimate, both logarithmic; the line is where they are
    equal. customdata is the module.

    Modules not above their floor are open, the module `chosen` (without: the worst) is ringed and
    named; what is not positive has no place here.
    """
    table = rows(sensitivity, estimate, floor)
    shown = table[(table["kl"] > 0) & (table["estimate"] > 0)]
    values = [*shown["kl"], *shown["estimate"]] or [1e-6, 1.0]
    reach = [math.log10(min(values)) - 0.3, math.log10(max(values)) + 0.3]
    ends = [10 ** reach[0], 10 ** reach[1]]
    figure = go.Figure()
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": INK[theme].quiet, "width": 1, "dash": "dot"},
        name="estimate = exact",
        hoverinfo="skip",
    )
    ringed = shown[shown["module"] == chosen] if chosen else shown.head(1)
    for _, row in ringed.iterrows():
        _add_ring(figure, row, math.log10(row["estimate"]) > sum(reach) / 2, theme)
    for above, name, symbol in (
        (True, "above its noise floor", MARKS[method].symbol),
        (False, "within its noise floor: not ranked", "circle-open"),
    ):
        part = shown[shown["above"] == above]
        if not part.empty:
            _add_dots(figure, part, name, replace(MARKS[method], symbol=symbol), theme)
    axis = {"type": "log", "range": reach, "dtick": 1, "exponentformat": "power"}
    below = legend_height([trace.name for trace in figure.data if trace.showlegend is not False])
    figure.update_layout(
        template=template(theme),
        height=366 + below,
        margin={"l": 62, "r": 14, "t": 10, "b": 56 + below},
        showlegend=True,
        legend=LEGEND,
        hovermode="closest",
        xaxis=value_axis("Estimated KL divergence, nats", **axis),
        yaxis=value_axis("Exact, nats", **axis),
    )
    return figure, table, reading(table)


def _add_ring(figure: go.Figure, row: pd.Series[Any], right: bool, theme: Theme) -> None:
    """A ring around a module and its name: left of the ring in the right half, else right."""
    figure.add_scatter(
        x=[row["estimate"]],
        y=[row["kl"]],
        mode="markers+text",
        text=[f"{row['layer']}  " if right else f"  {row['layer']}"],
        textposition="middle left" if right else "middle right",
        textfont={"size": 13, "color": INK[theme].text},
        hoverinfo="skip",
        showlegend=False,
        marker={
            "symbol": "circle-open",
            "size": 20,
            "color": INK[theme].text,
            "line": {"width": 2},
        },
    )


def _add_dots(figure: go.Figure, part: pd.DataFrame, name: str, mark: Mark, theme: Theme) -> None:
    """Modules that are all above their floor, or all (with an open mark) not."""
    colour, opened = mark.colour(theme), mark.symbol == "circle-open"
    figure.add_scatter(
        x=part["estimate"],
        y=part["kl"],
        mode="markers",
        name=name,
        hovertext=[
            f"{r['layer']}<br>exact {r['kl']:.3g} nats, estimate {r['estimate']:.3g} nats"
            for _, r in part.iterrows()
        ],
        hoverinfo="text",
        customdata=[[m] for m in part["module"]],
        unselected={"marker": {"opacity": 1}},
        marker={
            "color": colour,
            "symbol": mark.symbol,
            "size": 9,
            "line": {
                "color": colour if opened else INK[theme].paper,
                "width": 2 if opened else 1,
            },
        },
    )


def reading(table: pd.DataFrame) -> str:
    """How alike estimate and scan rank the modules, how far they are from each other, and whether
    they agree on the worst."""
    correlation = rho(table)
    if math.isnan(correlation.rho):
        return (
            f"The {correlation.n} modules are too few, or too similar, to tell whether the "
            "estimate and the exact scan rank them alike."
        )
    rank = f"{correlation.rho:.3f}".replace("-", "−")
    text = (
        f"Over {correlation.n} modules, the estimate from gradients and the exact scan have "
        f"Spearman's rank correlation ρ = {rank}."
    )
    both = table[(table["kl"] > 0) & (table["estimate"] > 0)]
    if len(both):
        text += (
            " In the median, the exact KL divergence is "
            f"{(both['kl'] / both['estimate']).median():.2g} times the estimate."
        )
    first, guessed = table.iloc[0]["layer"], table.loc[table["estimate"].idxmax(), "layer"]
    return (
        f"{text} Both rank {first} first."
        if first == guessed
        else f"{text} The scan ranks {first} first, the estimate {guessed}."
    )

"""Which blocks or modules the damage of quantization flows through, next to the exact scan (see
sdq.analyses.conductance)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import bold, row_axis, value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.labels import language_name, module_label
from sdq.settings import UserError

MEASURES = {"KL": "kl", "Loss": "loss"}  # as people choose them
LEVELS = {"Blocks": "block", "Modules": "module"}
_AXES = {"kl": "KL divergence from FP32, nats", "loss": "Increase of the loss, nats"}
_ROW = 24  # pixels
_NAMED = 3  # sites
_MISSED = 0.2  # share of the damage that the sites may leave over before it is said
_REPAIRS = 0.01  # share of the damage that a site must remove to be named


def rows(
    table: pd.DataFrame, measure: str = "kl", language: str = "all", level: str = "block"
) -> pd.DataFrame:
    """The sites of one measure, language and level, in forward order, with a column `part`: what a
    site is called. UserError if there is none."""
    sites = table[
        (table["measure"] == measure) & (table["language"] == language) & (table["level"] == level)
    ].sort_values("order", ignore_index=True)
    if sites.empty:
        raise UserError(
            f"the damage must have been attributed in {language_name(language)}, it was not; "
            "choose another language or all of them"
        )
    part = [
        f"block {block}" if role == "block" else module_label(site, role, block)
        for site, role, block in zip(sites["site"], sites["role"], sites["block"], strict=True)
    ]
    return sites.assign(part=part)


def picture(
    table: pd.DataFrame,
    measure: str = "kl",
    language: str = "all",
    level: str = "block",
    theme: Theme = "light",
    chosen: str | None = None,
) -> Picture:
    """A bar per site, first one above: what flows through it, with its interval; a diamond: the
    site quantized alone, by the exact scan.

    Bars below zero, of sites that repair, are hatched. Each bar carries [site] as customdata; the
    site `chosen` is written bold.
    """
    sites, ink = rows(table, measure, language, level), INK[theme]
    y = list(range(len(sites)))
    figure = go.Figure()
    _add_bars(figure, sites, theme)
    if sites["scan"].notna().any():
        mark = {"symbol": "diamond-open", "size": 10, "color": ink.text, "line": {"width": 2}}
        figure.add_scatter(
            x=sites["scan"],
            y=y,
            mode="markers",
            marker=mark,
            hoverinfo="skip",
            name="quantized alone (exact scan)",
            unselected={"marker": {"opacity": 1}},
        )
    figure.update_layout(
        template=template(theme),
        height=_ROW * len(sites) + 130,
        margin={"l": 150, "r": 14, "t": 8, "b": 96},
        legend=LEGEND,
        bargap=0.35,
        xaxis=value_axis(_AXES[measure], zeroline=True, zerolinecolor=ink.quiet),
        yaxis=row_axis(y, bold(sites["part"], sites["site"], chosen), len(sites) - 0.4),
    )
    return figure, sites.drop(columns=["level", "order"]), reading(sites)


def _add_bars(figure: go.Figure, sites: pd.DataFrame, theme: Theme) -> None:
    """What flows through each site, with its interval."""
    ink, colour = INK[theme], MARKS["PTQ"].colour(theme)
    pattern = {
        "shape": ["" if value >= 0 else "/" for value in sites["value"]],
        "bgcolor": ink.paper,
        "fgcolor": colour,
        "solidity": 0.35,
        "size": 6,
    }
    figure.add_bar(
        x=sites["value"],
        y=list(range(len(sites))),
        orientation="h",
        marker={"color": colour, "pattern": pattern, "line": {"color": colour, "width": 1}},
        error_x={
            "array": sites["high"] - sites["value"],
            "arrayminus": sites["value"] - sites["low"],
            "color": ink.text,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[[site] for site in sites["site"]],
        hovertext=[
            f"{row['part']}<br>{row['value']:.3g} nats{_share(row)}<br>{_scan(row)}"
            for _, row in sites.iterrows()
        ],
        hoverinfo="text",
        name="conductance, 95 % interval",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def reading(sites: pd.DataFrame) -> str:
    """Through which sites most of the damage flows, and whether the exact scan agrees, over the
    rows of one picture."""
    first = sites.iloc[0]
    total, loss = first["total"], first["measure"] == "loss"
    where = "all languages" if first["language"] == "all" else language_name(first["language"])
    if not total > 0:
        return (
            f"In {where} quantization does not {'raise the loss' if loss else 'move the answers'} "
            f"({total:+.3g} nats), so there is no damage to attribute."
        )
    top = sites.nlargest(_NAMED, "value")
    named = [
        f"{row['part']} ({100 * row['share']:.0f} %{_clear(row)})"
        for _, row in top[top["value"] > 0].iterrows()
    ]
    damage = (
        "by which quantization raises the loss"
        if loss
        else "of KL divergence between FP32's answers and the quantized ones"
    )
    text = f"Of the {total:.3g} nats {damage}, in {where}, most flows through {', '.join(named)}."
    repairs = sites[(sites["high"] < 0) & (sites["share"] < -_REPAIRS)]
    if len(repairs):
        best = repairs.nsmallest(1, "value").iloc[0]
        text += (
            f" {best['part'][0].upper()}{best['part'][1:]} removes {-100 * best['share']:.0f} %: "
            "it offsets what others did."
        )
    text += f" The parts add up to {100 * (1 + first['delta'] / total):.0f} % of it"
    text += (
        ": gradients through rounding miss much of so little damage, so read the ranking with care."
        if abs(first["delta"]) > _MISSED * total
        else "."
    )
    if first["rho"] == first["rho"]:
        text += (
            f" The ranking of the {len(sites)} sites has a rank correlation of {first['rho']:+.2f} "
            "with the exact scan, which quantizes each of them alone."
        )
    return text


def _clear(row: Any) -> str:
    return "" if row["low"] > 0 or row["low"] != row["low"] else ", interval includes 0"


def _share(row: Any) -> str:
    return f", {100 * row['share']:.0f} % of the damage" if row["total"] > 0 else ""


def _scan(row: Any) -> str:
    return f"alone {row['scan']:.3g} nats" if row["scan"] == row["scan"] else "not scanned alone"

"""Every module alone, or as the only exception, drawn with its interval and its noise floor."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import EVERY
from sdq.figures.axes import heading, row_axis, segments, shade, value_axis, zero_line
from sdq.figures.sensitivity import (
    METRICS,
    Metric,
    Picture,
    added_reading,
    alone_reading,
    model_floor,
    reach_of,
    rows,
    titled,
    whole,
)
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, faint, template
from sdq.labels import ROLE_LABELS, language_name


def modules_picture(
    sensitivity: pd.DataFrame,
    floor: pd.DataFrame,
    metric: str,
    view: str = "One at a time",
    language: str = EVERY,
    chosen: str | None = None,
    method: str = "PTQ",
    theme: Theme = "light",
) -> Picture:
    """Every module in forward order with its interval and its floor; `chosen` is shaded. customdata
    is the module."""
    table = rows(sensitivity, floor, metric, view, language)
    model_noise = METRICS[metric].times * model_floor(floor, metric)
    figure = _modules_figure(
        table,
        METRICS[metric],
        model_noise if view == "One at a time" else None,
        chosen,
        MARKS[method],
        theme,
    )
    text = (
        alone_reading(table, metric, model_noise, language)
        if view == "One at a time"
        else added_reading(table, metric, whole(sensitivity, metric, language), language)
    )
    if language != EVERY:
        text += (
            f" There are {table['sentences'].max()} sentences in {language_name(language)}, so "
            "only large effects show."
        )
    return figure, titled(table, metric), text


def _lines(table: pd.DataFrame) -> tuple[list[float], dict[float, str]]:
    """(height of each module, heading at each height): blocks are separated by headings."""
    heights, headings, at, before = [], {}, 0.0, None
    for role, block in zip(table["role"], table["block"], strict=True):
        group = role if block < 0 else int(block)
        if group != before:
            at += 0.0 if before is None else 0.5
            headings[at] = (
                f"Block {group}" if isinstance(group, int) else ROLE_LABELS[group].capitalize()
            )
            at, before = at + 1, group
        heights.append(at)
        at += 1
    return heights, headings


def _modules_figure(
    table: pd.DataFrame,
    metric: Metric,
    model_noise: float | None,
    chosen: str | None,
    mark: Mark,
    theme: Theme,
) -> go.Figure:
    logarithmic = metric.column == "kl" and model_noise is not None
    heights, headings = _lines(table)
    reach = reach_of(table, logarithmic, model_noise)
    edge = 10 ** reach[0] if logarithmic else None
    figure = go.Figure()
    _add_floors(figure, table["floor"], heights, edge, theme)
    if model_noise is not None and model_noise > (edge or 0.0):
        figure.add_scatter(
            x=[model_noise] * 2,
            y=[-0.6, max(heights) + 0.6],
            mode="lines",
            line={"color": INK[theme].quiet, "width": 1.5, "dash": "dot"},
            name="noise floor of the whole model",
            hovertext=f"noise floor of the whole model: {model_noise:.2g} {metric.unit}",
            hoverinfo="text",
        )
    _add_dots(figure, table, heights, metric, mark, edge, theme)
    bands = [
        shade(h, theme) for h, name in zip(heights, table["module"], strict=True) if name == chosen
    ]
    scale = (
        {"type": "log", "dtick": 1, "exponentformat": "power"}
        if logarithmic
        else {"type": "linear"}
    )
    bottom, below = max(heights, default=0) + 0.7, 20 * len(figure.data)
    figure.update_layout(
        template=template(theme),
        height=int(19 * (bottom + 0.7)) + 64 + below,
        margin={"l": 116, "r": 14, "t": 8, "b": 56 + below},
        bargap=0,
        annotations=[
            heading(text, h, -112, theme, yanchor="middle") for h, text in headings.items()
        ],
        shapes=bands if logarithmic else [*bands, zero_line(theme)],
        showlegend=True,
        legend=LEGEND,
        hovermode="closest",
        xaxis=value_axis(metric.axis, range=reach, **scale),
        yaxis=row_axis(heights, _ticks(table), bottom, -0.7),
    )
    return figure


def _ticks(table: pd.DataFrame) -> list[str]:
    """The label of each module under the heading of its block."""
    return [
        module.rpartition(".")[2] if role == "head" else ROLE_LABELS.get(role, role)
        for module, role in zip(table["module"], table["role"], strict=True)
    ]


def _add_floors(
    figure: go.Figure,
    floor: pd.Series[float],
    heights: list[float],
    edge: float | None,
    theme: Theme,
) -> None:
    """The noise floor of each module as a bar around 0, or from the `edge` of a logarithmic axis
    on."""
    noisy = [(h, f) for h, f in zip(heights, floor, strict=True) if f > (edge or 0.0)]
    if not noisy:
        return
    y = [h for h, _ in noisy]
    figure.add_scatter(
        x=segments([-f if edge is None else edge for _, f in noisy], [f for _, f in noisy]),
        y=segments(y, y),
        mode="lines",
        line={"color": faint(INK[theme].quiet, 0.4), "width": 14},
        name="noise floor",
        hoverinfo="skip",
    )


def _add_dots(
    figure: go.Figure,
    table: pd.DataFrame,
    heights: list[float],
    metric: Metric,
    mark: Mark,
    edge: float | None,
    theme: Theme,
) -> None:
    """A dot and its interval per module, open where it does not exceed its floor; values left of
    `edge` are drawn at `edge`."""
    colour = mark.colour(theme)

    def placed(values: Iterable[float]) -> list[float]:
        return [value if edge is None else max(value, edge) for value in values]

    figure.add_scatter(
        x=segments(placed(table["low"]), placed(table["high"])),
        y=segments(heights, heights),
        mode="lines",
        line={"color": colour, "width": 2},
        name="95 % interval",
        hoverinfo="skip",
    )
    for above, name, symbol, rim in (
        (True, "above its noise floor", mark.symbol, {"color": INK[theme].paper, "width": 1}),
        (False, "within its noise floor: not ranked", "circle-open", {"color": colour, "width": 2}),
    ):
        part = table.assign(height=heights)[table["above"] == above]
        if part.empty:
            continue
        hover = [
            f"{r['layer']}<br>{r['value']:.3g} {metric.unit} (95 % interval {r['low']:.3g} to "
            f"{r['high']:.3g})<br>noise floor {r['floor']:.2g}"
            for _, r in part.iterrows()
        ]
        figure.add_scatter(
            x=placed(part["value"]),
            y=list(part["height"]),
            mode="markers",
            name=name,
            hovertext=hover,
            hoverinfo="text",
            customdata=[[module] for module in part["module"]],
            unselected={"marker": {"opacity": 1}},
            marker={"color": colour, "symbol": symbol, "size": 9, "line": rim},
        )

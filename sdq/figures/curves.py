"""Curves over blocks in small multiples, the marks of runs, and the measures.

Every figure that compares several runs takes its marks from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sdq.figures.axes import axis_title
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, template
from sdq.labels import language_name, run_names
from sdq.results import METRICS, Metric, Report

OTHERS = "other languages"  # thin lines, one per language
MEASURES = {
    "relative_l2": METRICS["relative_l2"],
    "sqnr_db": METRICS["sqnr"],
    "mean_abs": Metric(name="Mean absolute error", unit="activation units", higher_is_better=False),
    "frobenius": Metric(name="Frobenius norm", unit="activation units", higher_is_better=False),
}
SHAPES = ("", "-open", "-dot", "-open-dot")  # several runs of one method keep its colour and shape


def run_marks(reports: Sequence[Report]) -> dict[str, Mark]:
    """Name of a run -> how it is drawn: its method's mark; a second run of a method gets an open
    symbol, a third a dotted one."""
    seen: dict[str, int] = {}
    marks = {}
    for run, name in run_names(reports).items():
        method = next(r.method for r in reports if r.run == run)
        marks[name] = replace(
            MARKS[method], symbol=MARKS[method].symbol + SHAPES[seen.get(method, 0) % len(SHAPES)]
        )
        seen[method] = seen.get(method, 0) + 1
    return marks


def axis(measure: str) -> str:
    """Name, unit and direction of a measure."""
    metric = MEASURES[measure]
    return (
        f"{metric.name}, {metric.unit} ({'higher' if metric.higher_is_better else 'lower'} is "
        "better)"
    )


def said(value: float, measure: str) -> str:
    """A value with three digits, and dB where it is that."""
    number = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:.1f} dB" if measure == "sqnr_db" else number


def legend_height(labels: Sequence[str]) -> int:
    """Pixels a legend of these labels needs at 390 px width, where it wraps into columns as wide as
    the widest label."""
    widths = [7 * len(label) + 52 for label in labels]
    columns = len(labels) if sum(widths) <= 310 else max(1, 310 // max(widths))
    return 20 * math.ceil(len(labels) / columns) if labels else 0


def grid(panels: int, columns: int) -> list[list[dict[str, str] | None]]:
    """Cells of small multiples, row by row; cells of the last row that no panel needs are left
    out."""
    cells: list[dict[str, str] | None] = [{} for _ in range(panels)]
    cells += [None] * (-panels % columns)
    return [cells[i : i + columns] for i in range(0, len(cells), columns)]


def small_multiples(titles: Sequence[str]) -> tuple[go.Figure, int]:
    """(figure with a panel per title, two in a row, all with the same axes; its height within the
    margins). One panel without a title is higher."""
    columns = min(2, len(titles))
    count = math.ceil(len(titles) / columns)
    untitled = list(titles) == [""]
    inner = 300 if untitled else 150 * count + 54 * (count - 1)
    figure = make_subplots(
        count,
        columns,
        specs=grid(len(titles), columns),
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=None if untitled else [escape(title) for title in titles],
        horizontal_spacing=0.05,
        vertical_spacing=54 / inner if count > 1 else 0,
    )
    return figure, inner


def cell(panel: int, panels: int) -> dict[str, int]:
    """Row and column of a panel of `small_multiples`, both from 1."""
    columns = min(2, panels)
    return {"row": panel // columns + 1, "col": panel % columns + 1}


def _joined(
    part: pd.DataFrame, measure: str, name: str
) -> tuple[list[object], list[object], list[object], list[str]]:
    """(x, y, module behind, hover text) of one curve; several languages are several lines with a
    gap between them."""
    x: list[object] = []
    y: list[object] = []
    behind: list[object] = []
    text: list[str] = []
    unit = "" if measure == "sqnr_db" else f" {MEASURES[measure].unit}".replace(" ratio", "")
    for code, curve in part.groupby("language", sort=False):
        gap = [None] if x else []
        who = f"{language_name(str(code))} · " if name == OTHERS else f"{name} · "
        x += [*gap, *curve["block"].tolist()]
        y += [*gap, *(None if math.isnan(v) else v for v in curve["value"])]
        behind += [*gap, *curve["weights"].tolist()]
        values = [
            "no error" if math.isnan(v) else f"{said(v, measure)}{unit}" for v in curve["value"]
        ]
        text += [
            *([""] if gap else []),
            *(
                f"{who}{layer}<br>{value}"
                for layer, value in zip(curve["layer"], values, strict=True)
            ),
        ]
    return x, y, behind, text


def _floors(
    inside: pd.DataFrame, runs: int, measure: str
) -> Iterator[tuple[str, list[int], list[float]]]:
    """(name, blocks, values) of the noise floor of each run in a panel: over its layers the one
    that moves most."""
    if "floor" not in inside:
        return
    for run, layers in inside.dropna(subset="floor").groupby("run", sort=False):
        by_block = layers.groupby("block")["floor"]
        worst = by_block.min() if MEASURES[measure].higher_is_better else by_block.max()
        yield "noise floor" if runs == 1 else f"floor, {run}", worst.index.tolist(), worst.tolist()


def _reach(values: pd.Series[float], measure: str) -> list[float]:
    """The value axis, said outright: panels that share an axis do not find it by themselves. Errors
    start at 0, decibels where they are."""
    measured = values.dropna()
    low, high = (float(measured.min()), float(measured.max())) if len(measured) else (0.0, 1.0)
    if measure != "sqnr_db":
        return [0.0, 1.08 * high or 1.0]
    margin = 0.08 * (high - low) or 1.0
    return [low - margin, high + margin]


def curves(
    table: pd.DataFrame,
    measure: str,
    marks: Mapping[str, Mark],
    theme: Theme = "light",
    line: str = "run",
    panel: str | None = None,
) -> go.Figure:
    """Values over blocks: a curve per `line`, drawn as `marks` say, and a panel per `panel`, all
    with the same axes. customdata is the module behind a point.

    Where the table has a column `floor`, the highest of each run and block is a thin line.
    """
    titles = list(dict.fromkeys(table[panel])) if panel else [""]
    figure, inner = small_multiples(titles)
    in_legend: set[str] = set()
    for i, title in enumerate(titles):
        inside = table[table[panel] == title] if panel else table
        for label in dict.fromkeys(inside[line]):
            look = {"showlegend": label not in in_legend and line != panel, **cell(i, len(titles))}
            part = inside[inside[line] == label]
            _add_curve(figure, part, measure, label, marks[label], theme, look)
            in_legend.add(label)
        for label, at, floor in _floors(inside, table["run"].nunique(), measure):
            own = label == "noise floor"
            run = str(inside["run"].iloc[0]) if own else label.removeprefix("floor, ")
            figure.add_scatter(
                x=at,
                y=floor,
                mode="lines",
                name=label,
                legendgroup=label,
                showlegend=label not in in_legend and line != panel,
                opacity=0.7,
                hoverinfo="text",
                hovertext=[
                    f"{label} · block {b}<br>{said(v, measure)}"
                    for b, v in zip(at, floor, strict=True)
                ],
                line={
                    "color": marks[run].colour(theme) if run in marks else INK[theme].quiet,
                    "width": 1.5,
                    "dash": "dot",
                },
                **cell(i, len(titles)),
            )
            in_legend.add(label)
    _axes_of(figure, table, measure, titles, theme)
    top, below = 52 if panel else 30, 0 if line == panel else legend_height(list(in_legend))
    figure.add_annotation(**axis_title(axis(measure), -46, top - 24, 12, theme))
    figure.update_layout(
        template=template(theme),
        height=inner + top + 56 + below,
        margin={"l": 52, "r": 12, "t": top, "b": 56 + below},
        hovermode="closest",
        showlegend=line != panel,
        legend=LEGEND,
    )
    return figure


def _add_curve(
    figure: go.Figure,
    part: pd.DataFrame,
    measure: str,
    label: str,
    mark: Mark,
    theme: Theme,
    look: Mapping[str, Any],
) -> None:
    """One curve, thin where it is one of OTHERS. `look`: its panel, and whether the legend names
    it."""
    others = label == OTHERS
    x, y, weights, text = _joined(part, measure, label)
    colour = INK[theme].quiet if others else mark.colour(theme)
    figure.add_scatter(
        x=x,
        y=y,
        customdata=weights,
        hovertext=text,
        hoverinfo="text",
        name=label,
        legendgroup=label,
        mode="lines" if others else "lines+markers",
        opacity=0.45 if others else 1,
        line={
            "color": colour,
            "width": 1 if others else 2.5,
            "dash": "solid" if others else mark.dash,
        },
        marker={"color": colour, "symbol": mark.symbol, "size": 9},
        **look,
    )


def _axes_of(
    figure: go.Figure, table: pd.DataFrame, measure: str, titles: Sequence[str], theme: Theme
) -> None:
    """Ticks, ranges and titles of all panels."""
    blocks, last = sorted(table["block"].unique()), cell(len(titles) - 1, len(titles))["row"]
    figure.update_annotations(font={"size": 13, "color": INK[theme].text}, yshift=2)
    figure.update_xaxes(
        tickvals=blocks[:: math.ceil(len(blocks) / 12)],
        range=[-0.35, max(blocks, default=0) + 0.35],
        showticklabels=True,
        fixedrange=True,
    )
    figure.update_xaxes(title={"text": "Block (0 is the first)", "standoff": 4}, row=last)
    seen = pd.concat([table["value"], table["floor"]]) if "floor" in table else table["value"]
    nticks = 7 if list(titles) == [""] else 5
    figure.update_yaxes(range=_reach(seen, measure), fixedrange=True, nticks=nticks)

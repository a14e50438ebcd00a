"""The scores or drops of all languages and runs at once, as a map with a number in each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import row_axis
from sdq.figures.drops import first_run
from sdq.figures.style import INK, MARKS, Theme, mixed, template
from sdq.labels import language_name, measure

Cells = Literal["score", "drop"]


def heat_reading(rows: pd.DataFrame, cells: Cells, metric: str) -> str:
    """The worst cell of the heat map and the zero-shot mean of each run."""
    zero = rows[~rows["labels in training"]]
    if zero.empty:
        zero = rows
    worst = rows.loc[rows["drop"].idxmax() if cells == "drop" else rows["score"].idxmin()]
    means = zero.groupby("label", sort=False)[cells].mean()
    parts = [f"{label} {value:.1f}" for label, value in means.items()]
    if cells == "score":
        parts.insert(0, f"FP32 {first_run(zero)['FP32'].mean():.1f}")
        return (
            f"Lowest {measure(metric)}: {worst['language']} with {worst['label']}, "
            f"{worst['score']:.1f} %. Zero-shot means in %: {', '.join(parts)}."
        )
    text = (
        f"Largest drop: {worst['language']} with {worst['label']}, {worst['drop']:.1f} points of "
        f"{measure(metric)}."
    )
    return f"{text} Zero-shot means in points: {', '.join(parts)}."


def wide_table(rows: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """Languages x runs: language, then one column per run's label; for scores FP32 comes first."""
    first = first_run(rows)
    wide = (
        rows.pivot(index="code", columns="label", values=cells)
        .loc[list(first["code"]), list(rows["label"].drop_duplicates())]
        .reset_index(drop=True)
    )
    if cells == "score":
        wide.insert(0, "FP32", first["FP32"])
    wide.insert(0, "language", first["language"])
    wide.columns.name = None
    return wide


@dataclass(frozen=True)
class _Scale:
    """The colours of the cells, evenly spaced over the values from `low` to `high`."""

    colours: tuple[str, ...]
    low: float
    high: float

    def steps(self) -> list[list[Any]]:
        """The colours as plotly wants them."""
        return [[i / (len(self.colours) - 1), colour] for i, colour in enumerate(self.colours)]

    def text_on(self, value: float) -> str:
        """Colour of the text on a cell with this value."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        place = share * (len(self.colours) - 1)
        left = min(int(place), len(self.colours) - 2)
        return mixed(self.colours[left], self.colours[left + 1], place - left)[1]


def _scale(wide: pd.DataFrame, cells: Cells, theme: Theme) -> _Scale:
    """Scores: orange (worst) to paper (100 %). Drops: blue (gain), paper (none), orange (loss)."""
    paper, loss = INK[theme].paper, MARKS["PTQ"].colour(theme)
    if cells == "score":
        return _Scale((loss, paper), float(wide.to_numpy().min()), 100.0)
    edge = float(wide.abs().to_numpy().max()) or 1.0
    return _Scale((MARKS["FP32"].colour(theme), paper, loss), -edge, edge)


def _add_numbers(figure: go.Figure, wide: pd.DataFrame, scale: _Scale) -> None:
    """The number in each cell: plotly's own choice of its colour is hard to read on orange."""
    for column, label in enumerate(wide.columns):
        figure.add_scatter(
            x=[column] * len(wide),
            y=list(range(len(wide))),
            text=[f"{z:.1f}" for z in wide[label]],
            mode="text",
            textfont={"color": [scale.text_on(z) for z in wide[label]]},
            hoverinfo="skip",
            showlegend=False,
        )


def heat(
    rows: pd.DataFrame, cells: Cells, metric: str, theme: Theme = "light", chosen: str | None = None
) -> go.Figure:
    """Languages x runs with the number in each cell: the score in % (FP32 in the first column) or
    the drop in points.

    The deeper the orange, the worse: low scores, large drops. Cells below zero (gains) are blue in
    the drop view.
    """
    first = first_run(rows)
    codes, wide = list(first["code"]), wide_table(rows, cells).drop(columns="language")
    scale = _scale(wide, cells, theme)
    unit = f"% {measure(metric)}" if cells == "score" else f"points of {measure(metric)}"
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(),
            x=list(range(len(wide.columns))),
            y=list(range(len(codes))),
            colorscale=scale.steps(),
            showscale=False,
            xgap=2,
            ygap=2,
            customdata=[
                [f"{language_name(code)} · {label}" for label in wide.columns] for code in codes
            ],
            hovertemplate="%{customdata}<br>%{z:.1f} " + unit + "<extra></extra>",
            zmin=scale.low,
            zmax=scale.high,
        )
    )
    _add_numbers(figure, wide, scale)
    _lay_out(figure, first, [str(label) for label in wide.columns], theme, chosen)
    return figure


def _lay_out(
    figure: go.Figure, first: pd.DataFrame, labels: list[str], theme: Theme, chosen: str | None
) -> None:
    """Languages down, runs across on top, and a rule between zero-shot and trained-on languages."""
    zero = int((~first["labels in training"]).sum())
    names = [
        f"{name} (trained)" if trained else f"<b>{name}</b>" if code == chosen else name
        for code, name, trained in zip(
            first["code"], first["language"], first["labels in training"], strict=True
        )
    ]
    heads = [label.replace(" ", "<br>") for label in labels]
    long = max(len(part) for head in heads for part in head.split("<br>")) > 8
    top = 140 if long else 16 + 16 * max(len(head.split("<br>")) for head in heads)
    rule = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": zero - 0.5,
        "y1": zero - 0.5,
        "line": {"color": INK[theme].text, "width": 1.5},
    }
    figure.update_layout(
        template=template(theme),
        height=26 * len(first) + top + 10,
        margin={"l": 118, "r": 14, "t": top, "b": 10},
        shapes=[rule] if 0 < zero < len(first) else [],
        xaxis={
            "side": "top",
            "range": [-0.5, len(heads) - 0.5],
            "tickvals": list(range(len(heads))),
            "ticktext": heads,
            "tickangle": -60 if long else 0,
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis=row_axis(list(range(len(first))), names, len(first) - 0.5, -0.5),
    )

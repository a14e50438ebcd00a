"""A map of a model's modules: blocks down, roles across, a cell with its number per module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import row_axis
from sdq.figures.style import INK, Theme, template
from sdq.labels import ROLE_LABELS

WORSE: dict[Theme, tuple[str, str]] = {
    "light": ("#f1f3f6", "#a63f00"),
    "dark": ("#232a37", "#f0a13c"),
}  # colours of the best and the worst cell


def module_map(
    rows: pd.DataFrame,
    texts: Sequence[str],
    paints: Sequence[tuple[str, str]],
    hover: Sequence[str],
    heading: str,
    theme: Theme = "light",
    layer: str | None = None,
) -> go.Figure:
    """One cell per row (module, layer in words, role, block) in forward order, with its text,
    (paper, ink) and hover text; `layer` is outlined.

    What is outside the blocks fills a line. Each cell carries its module's name as customdata.
    """
    ink, grid = INK[theme], _grid(rows)
    figure = go.Figure()
    figure.add_bar(
        y=grid.y,
        base=grid.left,
        x=grid.wide,
        width=1.0,
        orientation="h",
        customdata=[[module] for module in rows["module"]],
        marker={"color": [paper for paper, _ in paints], "line": {"color": ink.paper, "width": 2}},
        text=list(texts),
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"color": [font for _, font in paints], "size": 12},
        hovertext=list(hover),
        hoverinfo="text",
        showlegend=False,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    boxes = [
        {
            "type": "rect",
            "x0": left,
            "x1": left + wide,
            "y0": y - 0.5,
            "y1": y + 0.5,
            "line": {"color": ink.text, "width": 3},
        }
        for module, y, left, wide in zip(rows["module"], grid.y, grid.left, grid.wide, strict=True)
        if module == layer
    ]
    figure.update_layout(overwrite=True, template=template(theme), shapes=boxes)
    _lay_out(figure, grid, heading)
    return figure


@dataclass(frozen=True)
class _Grid:
    """The lines (down), the roles (across) and the position of each row's cell."""

    lines: list[str]
    roles: list[str]
    y: list[int]
    left: list[float]
    wide: list[float]


def _grid(rows: pd.DataFrame) -> _Grid:
    inside = rows["block"] >= 0
    roles = list(dict.fromkeys(rows.loc[inside, "role"])) or ["head"]
    names = [
        f"block {row['block']}" if row["block"] >= 0 else row["layer"].replace(" · ", " ·<br>")
        for _, row in rows.iterrows()
    ]
    lines = list(dict.fromkeys(names))
    return _Grid(
        lines,
        roles,
        [lines.index(name) for name in names],
        [
            roles.index(role) - 0.5 if within else -0.5
            for role, within in zip(rows["role"], inside, strict=True)
        ],
        [1.0 if within else float(len(roles)) for within in inside],
    )


def _lay_out(figure: go.Figure, grid: _Grid, heading: str) -> None:
    """The roles across on top, under the heading; the blocks down."""
    figure.update_layout(
        overwrite=True,
        height=34 * len(grid.lines) + 120,
        margin={"l": 66, "r": 8, "t": 112, "b": 8},
        hovermode="closest",
        xaxis={
            "title": {"text": heading, "standoff": 8},
            "side": "top",
            "range": [-0.55, len(grid.roles) - 0.45],
            "tickvals": list(range(len(grid.roles))),
            "ticktext": [
                ROLE_LABELS.get(role, role).replace("-", "-<br>").replace(" ", "<br>")
                for role in grid.roles
            ],
            "tickangle": 0,
            "tickfont": {"size": 11},
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis=row_axis(
            list(range(len(grid.lines))),
            grid.lines,
            len(grid.lines) - 0.45,
            -0.55,
            tickfont={"size": 12},
        ),
    )

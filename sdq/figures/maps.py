"""A map of a model's modules: blocks down, roles across, a cell with its number per module."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

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
    ink, inside = INK[theme], rows["block"] >= 0
    roles = list(dict.fromkeys(rows.loc[inside, "role"])) or ["head"]
    names = [
        f"block {row['block']}" if row["block"] >= 0 else row["layer"].replace(" · ", " ·<br>")
        for _, row in rows.iterrows()
    ]
    lines = list(dict.fromkeys(names))
    y = [lines.index(name) for name in names]
    left = [
        roles.index(role) - 0.5 if within else -0.5
        for role, within in zip(rows["role"], inside, strict=True)
    ]
    wide = [1.0 if within else float(len(roles)) for within in inside]
    figure = go.Figure()
    figure.add_bar(
        y=y,
        base=left,
        x=wide,
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
    at = [i for i, module in enumerate(rows["module"]) if module == layer]
    boxes = [
        {
            "type": "rect",
            "x0": left[i],
            "x1": left[i] + wide[i],
            "y0": y[i] - 0.5,
            "y1": y[i] + 0.5,
            "line": {"color": ink.text, "width": 3},
        }
        for i in at
    ]
    figure.update_layout(
        overwrite=True,
        template=template(theme),
        shapes=boxes,
        height=34 * len(lines) + 120,
        margin={"l": 66, "r": 8, "t": 112, "b": 8},
        hovermode="closest",
        xaxis={
            "title": {"text": heading, "standoff": 8},
            "side": "top",
            "range": [-0.55, len(roles) - 0.45],
            "tickvals": list(range(len(roles))),
            "ticktext": [
                ROLE_LABELS.get(r, r).replace("-", "-<br>").replace(" ", "<br>") for r in roles
            ],
            "tickangle": 0,
            "tickfont": {"size": 11},
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis={
            "range": [len(lines) - 0.45, -0.55],
            "tickvals": list(range(len(lines))),
            "ticktext": lines,
            "showgrid": False,
            "fixedrange": True,
            "tickfont": {"size": 12},
        },
    )
    return figure

"""The margins of FP32 and of the quantized run: a point per sentence."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.examples import counts, thinned
from sdq.figures.style import INK, MARKS, Theme, template
from sdq.labels import language_name


def _add_group(figure: go.Figure, part: pd.DataFrame, group: str, theme: Theme) -> None:
    quiet = INK[theme].quiet
    looks = {
        "kept right": {"color": quiet, "symbol": "circle", "size": 5, "opacity": 0.45},
        "still wrong": {"color": quiet, "symbol": "circle-open", "size": 6, "opacity": 0.7},
        "lost": {
            "color": MARKS["PTQ"].colour(theme),
            "symbol": "triangle-down",
            "size": 9,
            "opacity": 0.85,
        },
        "gained": {
            "color": MARKS["SDQ"].colour(theme),
            "symbol": "triangle-up",
            "size": 9,
            "opacity": 0.85,
        },
    }[group]
    hover = [
        f"{language_name(r.language)} · "
        f"{group}<br>{escape(r.text[:60])}{'…' if len(r.text) > 60 else ''}<br>margin "
        f"{r.before:+.1f} → {r.margin:+.1f}"
        for r in part.rename(columns={"FP32 margin": "before"}).itertuples()
    ]
    figure.add_scatter(
        x=part["FP32 margin"],
        y=part["margin"],
        mode="markers",
        marker=looks,
        name=group,
        customdata=part[["id", "language"]].to_numpy().tolist(),
        hovertext=hover,
        hoverinfo="text",
        showlegend=False,
        unselected={"marker": {"opacity": looks["opacity"]}},
    )


def margins(
    pairs: pd.DataFrame, label: str, theme: Theme = "light", chosen: tuple[str, str] | None = None
) -> go.Figure:
    """Margin of FP32 across, of the quantized run (called `label`) up; the quadrants are named and
    counted over all sentences.

    Each point carries [id, language] as customdata; the sentence `chosen` (id, language) is ringed.
    """
    drawn = thinned(pairs)
    edge = 1.05 * max(float(drawn[["FP32 margin", "margin"]].abs().to_numpy().max()), 1e-6)
    figure = go.Figure()
    for group in ("kept right", "still wrong", "gained", "lost"):
        part = drawn[drawn["group"] == group]
        if len(part):
            _add_group(figure, part, group, theme)
    ringed = (
        pairs[(pairs["id"] == chosen[0]) & (pairs["language"] == chosen[1])]
        if chosen
        else pairs.iloc[:0]
    )
    if len(ringed):
        figure.add_scatter(
            x=ringed["FP32 margin"],
            y=ringed["margin"],
            mode="markers",
            marker={
                "symbol": "circle-open",
                "size": 18,
                "color": INK[theme].text,
                "line": {"width": 2.5},
            },
            hoverinfo="skip",
            showlegend=False,
        )
    figure.update_layout(
        template=template(theme),
        height=480,
        margin={"l": 58, "r": 12, "t": 8, "b": 52},
        annotations=_quadrants(counts(pairs), edge, theme),
        shapes=_crossing(edge, theme),
        xaxis=value_axis("Margin of FP32, logits", range=[-edge, edge]),
        yaxis=value_axis(f"Margin of {label}, logits", range=[-1.25 * edge, 1.25 * edge]),
    )
    return figure


def _quadrants(count: Mapping[str, int], edge: float, theme: Theme) -> list[dict[str, Any]]:
    """The name of each quadrant and how many pairs lie in it."""
    places = {
        "gained": (-1, 1, "▲ Gained"),
        "kept right": (1, 1, "Kept right"),
        "still wrong": (-1, -1, "Still wrong"),
        "lost": (1, -1, "▼ Lost"),
    }
    return [
        {
            "text": f"<b>{text}</b> {count[group]:,}",
            "x": across * edge / 2,
            "y": up * 1.13 * edge,
            "showarrow": False,
            "font": {"size": 14, "color": INK[theme].text},
        }
        for group, (across, up, text) in places.items()
    ]


def _crossing(edge: float, theme: Theme) -> list[dict[str, Any]]:
    """The two zero lines, and the dotted one on which both margins are the same."""
    quiet = INK[theme].quiet
    line = {"type": "line", "layer": "below", "line": {"color": quiet, "width": 1.5}}
    dots = {"type": "line", "layer": "below", "line": {"color": quiet, "width": 1, "dash": "dot"}}
    return [
        {**line, "x0": 0, "x1": 0, "y0": -1.25 * edge, "y1": 1.25 * edge},
        {**line, "x0": -edge, "x1": edge, "y0": 0, "y1": 0},
        {**dots, "x0": -edge, "x1": edge, "y0": -edge, "y1": edge},
    ]

"""Scores per language, drawn: one row per language, one mark per method, the means on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import heading, row_axis, segments, value_axis
from sdq.figures.languages import damaged_label, repaired_label, series, table
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, faint, template
from sdq.results import METRICS, Report

_LANE = 0.75  # height of a line of the summary block, in rows


def _mark(label: str) -> Mark:
    return MARKS[max((m for m in MARKS if label.startswith(m)), key=len)]


def _bands(
    figure: go.Figure, spans: list[dict[str, Any]], repaired: str | None, theme: Theme
) -> None:
    """Behind the marks: what quantization lost (hatched), and the part that was recovered
    (plain)."""
    parts = {
        "lost": (_mark("PTQ").colour(theme), "still lost" if repaired else "lost"),
        "recovered": (_mark(repaired or "SDQ").colour(theme), f"recovered by {repaired}"),
    }
    for part, (colour, name) in parts.items():
        drawn = [s for s in spans if s["part"] == part and s["to"] > s["from"]]
        if not drawn:
            continue
        pattern = (
            {
                "shape": "/",
                "size": 5,
                "solidity": 0.25,
                "fgcolor": faint(colour, 0.6),
                "bgcolor": "rgba(0,0,0,0)",
            }
            if part == "lost"
            else {"shape": ""}
        )
        figure.add_bar(
            y=[s["y"] for s in drawn],
            base=[s["from"] for s in drawn],
            x=[s["to"] - s["from"] for s in drawn],
            width=[s["height"] for s in drawn],
            orientation="h",
            marker={"color": faint(colour, 0.25), "pattern": pattern, "line": {"width": 0}},
            name=name,
            hoverinfo="skip",
        )


def _spans(
    values: Mapping[str, float], damaged: str, repaired: str | None, y: float, height: float
) -> list[dict[str, Any]]:
    """The bars of one row: from the repaired (or damaged) score to FP32, and from the damaged to
    the repaired one."""
    low, full = values[damaged], values["FP32"]
    middle = min(max(values[repaired], low), full) if repaired else low
    return [
        {"part": "lost", "from": middle, "to": full, "y": y, "height": height},
        {"part": "recovered", "from": low, "to": middle, "y": y, "height": height},
    ]


@dataclass(frozen=True)
class _Places:
    """The layout: heights of the means (on top) and of the languages, and the ends of the value
    axis."""

    means: list[float]
    languages: list[float]
    left: float
    ceiling: float


def _places(rows: pd.DataFrame, mean: Mapping[str, float], unit: str) -> _Places:
    labels, zero = list(mean), int((~rows["labels in training"]).sum())
    means = [0.3 + _LANE * i for i in range(len(labels))]
    first = means[-1] + 1.9
    highest = float(rows[labels].max().max())
    ceiling = max(100.0, highest) if unit == "%" else highest
    lows = [rows[column].min() for column in rows if column.endswith(" low")]
    edge = min([*mean.values(), *(rows[label].min() for label in labels), *lows])
    return _Places(
        means,
        [first + i + (1.1 if i >= zero else 0) for i in range(len(rows))],
        max(-0.02 * ceiling, 5 * (edge // 5) - 5),  # a mark at 0 is not cut
        ceiling,
    )


def language_scores(
    reports: Sequence[Report],
    sentences: Mapping[str, pd.DataFrame] | None = None,
    theme: Theme = "light",
) -> go.Figure:
    """One row per language, one marker per method with its 95 % interval; the means are written out
    at the top."""
    rows, metric = table(reports, sentences), METRICS[reports[0].metric]
    mean = {label: 100 * scores.leading for label, (scores, _) in series(reports).items()}
    labels = list(mean)
    damaged, repaired = damaged_label(labels), repaired_label(labels)
    places = _places(rows, mean, metric.unit)

    figure = go.Figure()
    middle = sum(places.means) / len(places.means)
    spans = _spans(mean, damaged, repaired, middle, _LANE * len(labels))
    for place, (_, row) in zip(places.languages, rows.iterrows(), strict=True):
        spans += _spans({label: row[label] for label in labels}, damaged, repaired, place, 0.82)
    _bands(figure, spans, repaired, theme)
    for lane, label in enumerate(labels):
        lift = (lane - (len(labels) - 1) / 2) * 0.72 / len(labels)
        _add_languages(figure, rows, label, [y + lift for y in places.languages], theme)
        _add_mean(figure, mean, label, places, theme)

    bottom = places.languages[-1] + 0.6
    spoken = [f'<span style="color:{_mark(m).colour(theme)}"><b>{m}</b></span>' for m in labels]
    figure.update_layout(
        template=template(theme),
        barmode="overlay",
        height=int((23 + 3 * max(0, len(labels) - 4)) * (bottom + 1.1)) + 86,
        margin={"l": 100, "r": 14, "t": 8, "b": 78},
        annotations=_headings(rows, damaged, places, theme),
        showlegend=damaged != "FP32",
        legend=LEGEND,
        xaxis=value_axis(
            f"{metric.name}, {metric.unit}", range=[places.left, places.ceiling + 1.5]
        ),
        yaxis=row_axis(
            [*places.means, *places.languages], [*spoken, *rows["language"]], bottom, -1.1
        ),
    )
    return figure


def _marker(label: str, size: int, theme: Theme) -> dict[str, Any]:
    return {
        "color": _mark(label).colour(theme),
        "symbol": _mark(label).symbol,
        "size": size,
        "line": {"color": INK[theme].paper, "width": 1},
    }


def _add_languages(
    figure: go.Figure, rows: pd.DataFrame, label: str, y: list[float], theme: Theme
) -> None:
    """The scores of one method at the heights y, with their intervals where they are known."""
    mark, bounds = _mark(label), [""] * len(rows)
    if f"{label} low" in rows:
        low, high = rows[f"{label} low"], rows[f"{label} high"]
        figure.add_scatter(
            x=segments(low, high),
            y=segments(y, y),
            mode="lines",
            line={"color": mark.colour(theme), "width": 2, "dash": mark.dash},
            hoverinfo="skip",
            showlegend=False,
        )
        bounds = [
            f" [{bottom:.1f}, {top:.1f}], n = {n:.0f}"
            for bottom, top, n in zip(low, high, rows["sentences"], strict=True)
        ]
    figure.add_scatter(
        x=rows[label],
        y=y,
        mode="markers",
        marker=_marker(label, 9, theme),
        name=label,
        hovertext=[
            f"{name} · {label}<br>{value:.1f} %{bound}"
            for name, value, bound in zip(rows["language"], rows[label], bounds, strict=True)
        ],
        hoverinfo="text",
        showlegend=False,
    )


def _add_mean(
    figure: go.Figure, mean: Mapping[str, float], label: str, places: _Places, theme: Theme
) -> None:
    """The mean of one method, written on the side of its mark where there is room."""
    value, room = mean[label], 0.16 * (places.ceiling - places.left)  # of a number on a phone
    inside = places.ceiling - value < room or (
        value < max(mean.values()) and value - places.left > room
    )
    figure.add_scatter(
        x=[value],
        y=[places.means[list(mean).index(label)]],
        mode="markers+text",
        marker=_marker(label, 13, theme),
        text=[f"<b>{value:.1f}</b>  " if inside else f"  <b>{value:.1f}</b>"],
        textposition="middle left" if inside else "middle right",
        textfont={"size": 14, "color": INK[theme].text},
        hoverinfo="skip",
        showlegend=False,
    )


def _headings(
    rows: pd.DataFrame, damaged: str, places: _Places, theme: Theme
) -> list[dict[str, Any]]:
    """The headings of the means, the zero-shot languages and the trained-on one."""
    zero, first = int((~rows["labels in training"]).sum()), places.means[-1] + 1.9
    if not zero:  # a task in one language
        return [heading("Score", -0.55, -98, theme)]
    order = f"Zero-shot, largest {damaged} loss first" if damaged != "FP32" else "Zero-shot"
    headings = [
        heading(f"Mean over {zero} zero-shot languages", -0.55, -98, theme),
        heading(order, first - 0.95, -98, theme),
    ]
    if zero < len(rows):
        headings.append(heading("Trained on", places.languages[zero] - 0.95, -98, theme))
    return headings

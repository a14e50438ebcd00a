"""Weights or activations: which half of the rounding breaks the answers.

`rows` holds the numbers, `parts_picture` draws them, `reading` says them in words.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import EVERY
from sdq.figures.sensitivity import METRICS, Picture, model_floor, reach_of, where
from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, template
from sdq.labels import language_name

PARTS = {"weights": "weights only", "activations": "activations only", "both": "both"}


def rows(parts: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per part and language ("all" first): part, language, value with its interval low,
    high, in the unit of `metric`; sentences."""
    known = METRICS[metric]
    table = pd.DataFrame({"part": parts["part"].map(PARTS), "language": parts["language"]})
    for name, end in (("value", ""), ("low", "_low"), ("high", "_high")):
        table[name] = known.times * parts[known.column + end]
    return table.assign(sentences=parts["sentences"])


def parts_picture(
    parts: pd.DataFrame,
    floor: pd.DataFrame,
    metric: str,
    language: str = EVERY,
    method: str = "PTQ",
    theme: Theme = "light",
) -> Picture:
    """What rounding the weights alone, the activations alone, and both does: `language` large with
    its interval, every single one small."""
    table, known, ink, colour = (
        rows(parts, metric),
        METRICS[metric],
        INK[theme],
        MARKS[method].colour(theme),
    )
    itself = known.times * model_floor(floor, metric)
    height = {name: float(i) for i, name in enumerate(PARTS.values())}
    mine, each = table[table["language"] == language], table[table["language"] != EVERY]
    figure = go.Figure()
    figure.add_scatter(
        x=each["value"],
        y=[height[p] + 0.28 for p in each["part"]],
        mode="markers",
        name="each language",
        hoverinfo="text",
        hovertext=[
            f"{language_name(r['language'])} · {r['part']}<br>{r['value']:.3g} {known.unit}, n = "
            f"{r['sentences']}"
            for _, r in each.iterrows()
        ],
        marker={
            "color": faint(ink.quiet, 0.6),
            "symbol": "line-ns-open",
            "size": 9,
            "line": {"width": 1.5},
        },
    )
    x, y = (
        [v for _, r in mine.iterrows() for v in (r["low"], r["high"], None)],
        [v for p in mine["part"] for v in (height[p], height[p], None)],
    )
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": colour, "width": 2},
        name="95 % interval",
        hoverinfo="skip",
    )
    hover = [
        f"{r['part']}{where(language)}<br>{r['value']:.3g} {known.unit} (95 % interval "
        f"{r['low']:.3g} to {r['high']:.3g})"
        for _, r in mine.iterrows()
    ]
    figure.add_scatter(
        x=mine["value"],
        y=[height[p] for p in mine["part"]],
        mode="markers",
        name="all languages" if language == EVERY else language_name(language),
        hovertext=hover,
        hoverinfo="text",
        marker={
            "color": colour,
            "symbol": MARKS[method].symbol,
            "size": 11,
            "line": {"color": ink.paper, "width": 1},
        },
    )
    figure.add_vrect(
        x0=-itself,
        x1=itself,
        fillcolor=faint(ink.quiet, 0.25),
        line_width=0,
        layer="below",
        name="noise floor",
        showlegend=True,
    )
    below = 20 * (len(figure.data) + 1)  # a line each on a phone
    figure.update_layout(
        template=template(theme),
        height=244 + below,
        margin={"l": 116, "r": 14, "t": 8, "b": 56 + below},
        showlegend=True,
        legend=LEGEND,
        hovermode="closest",
        xaxis={
            "title": {"text": known.axis, "standoff": 6},
            "range": reach_of(pd.concat([mine, each[["value"]]]), False, itself),
            "fixedrange": True,
        },
        yaxis={
            "range": [2.6, -0.5],
            "tickvals": list(height.values()),
            "ticktext": list(height),
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return (
        figure,
        table.rename(columns={"value": known.axis}),
        reading(table, metric, itself, language),
    )


def reading(table: pd.DataFrame, metric: str, itself: float, language: str = EVERY) -> str:
    """What each half of the rounding does, and whether the smaller one stands out of what the model
    does by itself."""
    known = METRICS[metric]
    mine = table[table["language"] == language].set_index("part")["value"]
    said = {part: known.said(mine[part] / known.times) for part in PARTS.values()}
    text = (
        f"Rounding only the weights{where(language)} gives a {known.phrase} of "
        f"{said['weights only']}, only the activations {said['activations only']}, both "
        f"{said['both']}."
    )
    quiet = [
        part.removesuffix(" only")
        for part in ("weights only", "activations only")
        if abs(mine[part]) <= itself
    ]
    floor = known.said(itself / known.times)
    if not mine.abs().max():
        return (
            f"Neither half of the rounding moves the {known.phrase}{where(language)}: it is "
            f"{said['both']}."
        )
    if len(quiet) == 2:
        return (
            f"{text} Neither half does more than the model does by itself when it is only repeated "
            f"({floor})."
        )
    if quiet:
        return (
            f"{text} The {quiet[0]} do no more than the model does by itself when it is only "
            f"repeated ({floor})."
        )
    larger, smaller = sorted(
        ("weights only", "activations only"), key=lambda part: -abs(mine[part])
    )
    times = abs(mine[larger] / mine[smaller])
    more = f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
    return (
        f"{text} The {larger.removesuffix(' only')} do {more} times as much as the "
        f"{smaller.removesuffix(' only')}; by itself the model moves by up to {floor}."
    )

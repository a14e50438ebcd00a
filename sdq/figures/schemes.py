"""What each way to quantize costs a model, and what training recovers: one row per scheme.

`table` holds the numbers, `picture` draws them, `reading` says them in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import row_axis, segments, value_axis, zero_line
from sdq.figures.style import LEGEND, MARKS, Theme, template
from sdq.labels import language_name, scheme_title
from sdq.results import METRICS, Report

GROUPS = ("zero-shot", "home")  # languages without and with labels in training


def table(runs: Mapping[str, Sequence[Report]]) -> pd.DataFrame:
    """A row per scheme and method: points that it loses against FP32, below 0 where it gains.

    runs: scheme -> its runs, each of another method, on one model and task

    Columns: scheme, method; zero-shot: points of the mean over the languages without labels; home:
    points of the language with labels; language: that one's name; metric.
    """
    rows = []
    for scheme, reports in runs.items():
        for report in reports:
            sign = 100 if METRICS[report.metric].higher_is_better else -100
            before, after, home = report.reference, report.quantized, report.labelled
            rows.append(
                {
                    "scheme": scheme,
                    "method": report.method,
                    "zero-shot": sign * (before.zero_shot_mean - after.zero_shot_mean),
                    "home": sign * (before.by_language[home] - after.by_language[home]),
                    "language": language_name(home),
                    "metric": METRICS[report.metric].inside,
                }
            )
    return pd.DataFrame(rows)


def reading(rows: pd.DataFrame) -> str:
    """What PTQ costs in the scheme that costs most and in the one that costs least."""
    lost = rows[rows["method"] == "PTQ"].sort_values("zero-shot", kind="stable")
    least, most = lost.iloc[0], lost.iloc[-1]
    worst, best = scheme_title(most["scheme"]), scheme_title(least["scheme"])
    text = (
        f"{worst} costs most without training: {most['zero-shot']:.1f} points of "
        f"{most['metric']} in the zero-shot languages, {most['home']:.1f} in {most['language']}"
    )
    if len(lost) > 1:
        text += f"; {best} costs {max(0.0, least['zero-shot']):.1f}"
    trained = rows[(rows["scheme"] == most["scheme"]) & (rows["method"] == "SDQ")]
    if len(trained):
        text += f". With SDQ, {worst} costs {trained.iloc[0]['zero-shot']:.1f}"
    return f"{text[0].upper()}{text[1:]}."


def picture(rows: pd.DataFrame, theme: Theme = "light") -> go.Figure:
    """Points lost, a line of marks per scheme: filled in the zero-shot languages, open in the one
    with labels.

    rows: of `table`
    """
    schemes = list(dict.fromkeys(rows["scheme"]))
    methods = [name for name in MARKS if name in set(rows["method"])]
    figure = go.Figure()
    for lane, method in enumerate(methods):
        mark = MARKS[method]
        mine = rows[rows["method"] == method]
        lift = (lane - (len(methods) - 1) / 2) * 0.6 / len(methods)
        places = [schemes.index(name) + lift for name in mine["scheme"]]
        figure.add_scatter(
            x=segments(mine["home"], mine["zero-shot"]),
            y=segments(places, places),
            mode="lines",
            line={"color": mark.colour(theme), "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
        for group in GROUPS:
            symbol = mark.symbol + ("" if group == "zero-shot" else "-open")
            where = mine["language"].iloc[0] if group == "home" else "zero-shot mean"
            figure.add_scatter(
                x=mine[group],
                y=places,
                mode="markers",
                marker={"symbol": symbol, "size": 10, "color": mark.colour(theme)},
                name=method,
                legendgroup=method,
                showlegend=group == "zero-shot",
                text=[scheme_title(name) for name in mine["scheme"]],
                hovertemplate=f"%{{text}}<br>{method}, {where}: %{{x:.1f}} points<extra></extra>",
            )
    figure.update_layout(
        template=template(theme),
        height=44 * len(schemes) + 140,
        margin={"l": 150, "r": 14, "t": 8, "b": 100},
        legend=LEGEND,
        shapes=[zero_line(theme)],
        xaxis=value_axis("points lost against FP32"),
        yaxis=row_axis(
            list(range(len(schemes))),
            [scheme_title(name) for name in schemes],
            len(schemes) - 0.4,
            -0.6,
        ),
    )
    return figure

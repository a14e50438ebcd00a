"""Whether rounding the weights or the activations breaks the answers.

`rows` holds the numbers, `parts_picture` draws them, `reading` says them in words.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import EVERY
from sdq.figures.axes import row_axis, segments, value_axis
from sdq.figures.sensitivity import METRICS, Picture, model_floor, reach_of, where
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, faint, template
from sdq.labels import language_name

PARTS = {"weights": "weights only", "activations": "activations only", "both": "both"}
_HEIGHT = {part: float(i) for i, part in enumerate(PARTS.values())}


def rows(parts: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per part and language ("all" first): part, language, value with its interval low,
    high, in the unit of `metric`; sentences."""
    entry = METRICS[metric]
    table = pd.DataFrame({"part": parts["part"].map(PARTS), "language": parts["language"]})
    for name, end in (("value", ""), ("low", "_low"), ("high", "_high")):
        table[name] = entry.times * parts[entry.column + end]
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
    table, entry = rows(parts, metric), METRICS[metric]
    model_noise = entry.times * model_floor(floor, metric)
    each = table[table["language"] != EVERY]
    chosen = table[table["language"] == language]
    figure = go.Figure()
    _add_each(figure, each, entry.unit, theme)
    _add_chosen(figure, chosen, entry.unit, language, MARKS[method], theme)
    figure.add_vrect(
        x0=-model_noise,
        x1=model_noise,
        fillcolor=faint(INK[theme].quiet, 0.25),
        line_width=0,
        layer="below",
        name="noise floor",
        showlegend=True,
    )
    below = 20 * (len(figure.data) + 1)  # a line each on a phone
    reach = reach_of(pd.concat([chosen, each[["value"]]]), False, model_noise)
    figure.update_layout(
        template=template(theme),
        height=244 + below,
        margin={"l": 116, "r": 14, "t": 8, "b": 56 + below},
        showlegend=True,
        legend=LEGEND,
        hovermode="closest",
        xaxis=value_axis(entry.axis, range=reach),
        yaxis=row_axis(list(_HEIGHT.values()), list(_HEIGHT), 2.6, -0.5),
    )
    text = reading(table, metric, model_noise, language)
    return figure, table.rename(columns={"value": entry.axis}), text


def _add_each(figure: go.Figure, each: pd.DataFrame, unit: str, theme: Theme) -> None:
    """Every single language as a small tick, below the large mark of its part."""
    figure.add_scatter(
        x=each["value"],
        y=[_HEIGHT[part] + 0.28 for part in each["part"]],
        mode="markers",
        name="each language",
        hoverinfo="text",
        hovertext=[
            f"{language_name(r['language'])} · {r['part']}<br>{r['value']:.3g} {unit}, n = "
            f"{r['sentences']}"
            for _, r in each.iterrows()
        ],
        marker={
            "color": faint(INK[theme].quiet, 0.6),
            "symbol": "line-ns-open",
            "size": 9,
            "line": {"width": 1.5},
        },
    )


def _add_chosen(
    figure: go.Figure, chosen: pd.DataFrame, unit: str, language: str, mark: Mark, theme: Theme
) -> None:
    """The language that was chosen, or all together, with its interval."""
    y = [_HEIGHT[part] for part in chosen["part"]]
    figure.add_scatter(
        x=segments(chosen["low"], chosen["high"]),
        y=segments(y, y),
        mode="lines",
        line={"color": mark.colour(theme), "width": 2},
        name="95 % interval",
        hoverinfo="skip",
    )
    hover = [
        f"{r['part']}{where(language)}<br>{r['value']:.3g} {unit} (95 % interval "
        f"{r['low']:.3g} to {r['high']:.3g})"
        for _, r in chosen.iterrows()
    ]
    figure.add_scatter(
        x=chosen["value"],
        y=y,
        mode="markers",
        name="all languages" if language == EVERY else language_name(language),
        hovertext=hover,
        hoverinfo="text",
        marker={
            "color": mark.colour(theme),
            "symbol": mark.symbol,
            "size": 11,
            "line": {"color": INK[theme].paper, "width": 1},
        },
    )


def reading(table: pd.DataFrame, metric: str, model_noise: float, language: str = EVERY) -> str:
    """The effects of rounding weights and activations, and whether the smaller one exceeds the
    noise floor."""
    entry = METRICS[metric]
    effects = table[table["language"] == language].set_index("part")["value"]
    said = {part: entry.said(effects[part] / entry.times) for part in PARTS.values()}
    text = (
        f"Rounding only the weights{where(language)} gives a {entry.phrase} of "
        f"{said['weights only']}, only the activations {said['activations only']}, both "
        f"{said['both']}."
    )
    quiet = [
        part.removesuffix(" only")
        for part in ("weights only", "activations only")
        if abs(effects[part]) <= model_noise
    ]
    floor = entry.said(model_noise / entry.times)
    if not effects.abs().max():
        return (
            f"Rounding weights or activations does not move the {entry.phrase}{where(language)}: "
            f"it is {said['both']}."
        )
    if len(quiet) == 2:
        return f"{text} Neither exceeds the noise floor of the model ({floor})."
    if quiet:
        return f"{text} The {quiet[0]} do not exceed the noise floor of the model ({floor})."
    larger, smaller = sorted(
        ("weights only", "activations only"), key=lambda part: -abs(effects[part])
    )
    times = abs(effects[larger] / effects[smaller])
    more = f"{times:,.0f}" if times >= 100 else f"{times:.3g}"
    return (
        f"{text} The {larger.removesuffix(' only')} do {more} times as much as the "
        f"{smaller.removesuffix(' only')}; the noise floor of the model is {floor}."
    )

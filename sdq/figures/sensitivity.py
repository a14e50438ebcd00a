"""Which layers break the answers: every module alone and as the only exception, with its interval
and its noise floor.

`rows` holds the numbers, `modules_picture` draws them, the readings say them in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import EVERY
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, faint, template
from sdq.labels import ROLE_LABELS, language_name, module_label, nats

Picture = tuple[go.Figure, pd.DataFrame, str]


@dataclass(frozen=True)
class Metric:
    """A column of the scan: its name, its axis with unit and direction, its name inside a sentence,
    its unit there, and what its numbers are times."""

    column: str
    axis: str
    phrase: str
    unit: str
    times: float = 1.0
    higher_is_better: bool = False

    def said(self, value: float) -> str:
        """A value with three digits and the unit."""
        number = (
            (f"{value:.3g}" if abs(value) >= 0.001 else nats(value))
            if self.times == 1
            else f"{value * self.times:.1f}"
        )
        return f"{number} {self.unit}".replace("-", "−").replace("e−0", "e−")


METRICS = {
    "KL": Metric("kl", "KL divergence, nats (lower is better)", "KL divergence", "nats"),
    "Flips": Metric(
        "flips", "Answers that flip, % (lower is better)", "share of flipped answers", "%", 100
    ),
    "Loss": Metric(
        "loss", "Change of the loss, nats (lower is better)", "change of the loss", "nats"
    ),
    "Accuracy": Metric(
        "accuracy",
        "Change of accuracy, points (higher is better)",
        "change of accuracy",
        "points",
        100,
        True,
    ),
}
VIEWS = {"One at a time": "one", "All but one": "added"}


def rows(
    sensitivity: pd.DataFrame,
    floor: pd.DataFrame,
    metric: str,
    view: str = "One at a time",
    language: str = EVERY,
) -> pd.DataFrame:
    """One row per module in forward order: module, role, block, layer, sentences, value with its
    interval low, high, floor, above; in the unit of `metric`.

    "One at a time": what the module alone changes; its floor is its own. "All but one": what it
    adds to the others, and column `rest` what the others do without it; its floor is by how much
    that number of the whole model moves. The floor is the largest over repetitions and causes,
    always over all languages; above: the value is farther from 0.
    """
    known, column = METRICS[metric], METRICS[metric].column
    spoken = sensitivity[sensitivity["language"] == language]
    mine = spoken[spoken["measure"] == VIEWS[view]].sort_values("order", ignore_index=True)
    label = [
        module_label(name, role, int(block))
        for name, role, block in zip(mine["module"], mine["role"], mine["block"], strict=True)
    ]
    table = mine[["module", "role", "block"]].assign(layer=label, sentences=mine["sentences"])
    for name, end in (("value", ""), ("low", "_low"), ("high", "_high")):
        table[name] = known.times * mine[column + end]
    if view == "All but one":
        rest = spoken[spoken["measure"] == "but_one"].set_index("module")[column]
        table["rest"] = known.times * table["module"].map(rest)
        table["floor"] = known.times * model_floor(floor, metric, shift=True)
    else:
        table["floor"] = known.times * table["module"].map(highest(floor, "module", column))
    return table.assign(above=table["value"].abs() > table["floor"])


def highest(floor: pd.DataFrame, kind: str, measure: str) -> pd.Series:
    """Largest movement over repetitions and causes, by name."""
    mine = floor[(floor["kind"] == kind) & (floor["measure"] == measure)]
    return mine.groupby("name")["high"].max()


def model_floor(floor: pd.DataFrame, metric: str, shift: bool = False) -> float:
    """How far the whole quantized model moves by itself, in the scan's unit; `shift`: by how much
    its number of `metric` does."""
    column = METRICS[metric].column
    return float(
        highest(
            floor, "model", f"{column}_shift" if shift and column in ("kl", "flips") else column
        ).get(EVERY, math.nan)
    )


def whole(sensitivity: pd.DataFrame, metric: str, language: str = EVERY) -> float:
    """What the model does when everything quantizes, in the unit of `metric`."""
    mine = sensitivity[(sensitivity["measure"] == "all") & (sensitivity["language"] == language)]
    return METRICS[metric].times * float(mine[METRICS[metric].column].iloc[0])


# --- every module


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
    itself = METRICS[metric].times * model_floor(floor, metric)
    figure = _modules_figure(
        table,
        METRICS[metric],
        itself if view == "One at a time" else None,
        chosen,
        MARKS[method],
        theme,
    )
    text = (
        alone_reading(table, metric, itself, language)
        if view == "One at a time"
        else added_reading(table, metric, whole(sensitivity, metric, language), language)
    )
    if language != EVERY:
        text += (
            f" There are {table['sentences'].max()} sentences in {language_name(language)}: only a "
            "large effect shows."
        )
    return figure, titled(table, metric), text


def titled(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table as people see it: the value's column says what it is."""
    return table.rename(
        columns={"value": METRICS[metric].axis, "rest": "all others", "floor": "noise floor"}
    )


def _lines(table: pd.DataFrame) -> tuple[list[float], dict[float, str]]:
    """(height of each module, what stands at which height): blocks apart, under a heading."""
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


def reach_of(table: pd.DataFrame, logarithmic: bool, more: float | None = None) -> list[float]:
    """The value axis: of a logarithmic one a decade's worth below the smallest value; else with 0
    in it."""
    seen = pd.concat(
        [
            table["value"],
            table["low"],
            table["high"],
            pd.Series([more] if more else [], dtype=float),
        ]
    ).dropna()
    if logarithmic:
        positive = table["value"][table["value"] > 0]
        low, high = (
            (float(positive.min()) / 3, float(seen.max()) * 1.5) if len(positive) else (1e-9, 1.0)
        )
        return [math.log10(low), math.log10(high)]
    low, high = min(0.0, float(seen.min())), max(0.0, float(seen.max()))
    margin = 0.06 * (high - low) or 1.0
    return [low - margin, high + margin]


def _modules_figure(
    table: pd.DataFrame,
    metric: Metric,
    itself: float | None,
    chosen: str | None,
    mark: Mark,
    theme: Theme,
) -> go.Figure:
    ink, logarithmic = INK[theme], metric.column == "kl" and itself is not None
    heights, headings = _lines(table)
    reach = reach_of(table, logarithmic, itself)
    edge = 10 ** reach[0] if logarithmic else 0.0
    figure = go.Figure()
    noisy = [(h, f) for h, f in zip(heights, table["floor"], strict=True) if f > edge]
    if noisy:
        x, y = (
            [v for _, f in noisy for v in (edge if logarithmic else -f, f, None)],
            [v for h, _ in noisy for v in (h, h, None)],
        )
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": faint(ink.quiet, 0.4), "width": 14},
            name="noise floor",
            hoverinfo="skip",
        )
    if itself is not None and itself > edge:
        figure.add_scatter(
            x=[itself] * 2,
            y=[-0.6, max(heights) + 0.6],
            mode="lines",
            line={"color": ink.quiet, "width": 1.5, "dash": "dot"},
            name="the whole model by itself",
            hovertext=f"the whole quantized model, repeated: {itself:.2g} {metric.unit}",
            hoverinfo="text",
        )
    _add_dots(figure, table, heights, metric, mark, edge if logarithmic else None, theme)
    shapes = [
        {
            "type": "line",
            "x0": 0,
            "x1": 0,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": ink.text, "width": 1.5},
            "layer": "below",
        }
    ]
    band = {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "fillcolor": ink.grid,
        "line": {"width": 0},
        "layer": "below",
    }
    bands = [
        {**band, "y0": h - 0.5, "y1": h + 0.5}
        for h, name in zip(heights, table["module"], strict=True)
        if name == chosen
    ]
    font = {"size": 13, "color": ink.quiet}
    above = [
        {
            "text": f"<b>{text}</b>",
            "x": 0,
            "xref": "paper",
            "xshift": -112,
            "xanchor": "left",
            "y": h,
            "yanchor": "middle",
            "showarrow": False,
            "font": font,
        }
        for h, text in headings.items()
    ]
    ticks = [
        r["module"].rpartition(".")[2]
        if r["role"] == "head"
        else ROLE_LABELS.get(r["role"], r["role"])
        for _, r in table.iterrows()
    ]
    bottom, below = max(heights, default=0) + 0.7, 20 * len(figure.data)
    figure.update_layout(
        template=template(theme),
        height=int(19 * (bottom + 0.7)) + 64 + below,
        margin={"l": 116, "r": 14, "t": 8, "b": 56 + below},
        bargap=0,
        annotations=above,
        shapes=[*bands, *([] if logarithmic else shapes)],
        showlegend=True,
        legend=LEGEND,
        hovermode="closest",
        xaxis={
            "title": {"text": metric.axis, "standoff": 6},
            "range": reach,
            "fixedrange": True,
            "type": "log" if logarithmic else "linear",
        }
        | ({"dtick": 1, "exponentformat": "power"} if logarithmic else {}),
        yaxis={
            "range": [bottom, -0.7],
            "tickvals": heights,
            "ticktext": ticks,
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure


def _add_dots(
    figure: go.Figure,
    table: pd.DataFrame,
    heights: list[float],
    metric: Metric,
    mark: Mark,
    edge: float | None,
    theme: Theme,
) -> None:
    """A dot and its interval per module, open where it does not stand out of its floor; what is
    left of `edge` is drawn there."""
    colour, ink = mark.colour(theme), INK[theme]

    def placed(value: float) -> float:
        return value if edge is None else max(value, edge)

    x = [
        v
        for low, high in zip(table["low"], table["high"], strict=True)
        for v in (placed(low), placed(high), None)
    ]
    y = [v for h in heights for v in (h, h, None)]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": colour, "width": 2},
        name="95 % interval",
        hoverinfo="skip",
    )
    for above, name, symbol in (
        (True, "above its noise floor", mark.symbol),
        (False, "not above it: not ranked", "circle-open"),
    ):
        part = [
            (h, row)
            for h, (_, row) in zip(heights, table.iterrows(), strict=True)
            if bool(row["above"]) == above
        ]
        if not part:
            continue
        hover = [
            f"{r['layer']}<br>{r['value']:.3g} {metric.unit} (95 % interval {r['low']:.3g} to "
            f"{r['high']:.3g})<br>noise floor {r['floor']:.2g}"
            for _, r in part
        ]
        figure.add_scatter(
            x=[placed(r["value"]) for _, r in part],
            y=[h for h, _ in part],
            mode="markers",
            name=name,
            hovertext=hover,
            hoverinfo="text",
            customdata=[[r["module"]] for _, r in part],
            unselected={"marker": {"opacity": 1}},
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 9,
                "line": {
                    "color": colour if not above else ink.paper,
                    "width": 2 if not above else 1,
                },
            },
        )


def where(language: str) -> str:
    return "" if language == EVERY else f" in {language_name(language)}"


def _worst(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """What stands out of its floor to the worse, worst first."""
    sign = -1 if metric.higher_is_better else 1
    return table[table["above"] & (sign * table["value"] > 0)].sort_values(
        "value", ascending=metric.higher_is_better, kind="stable"
    )


def _spoken(row: Any, metric: Metric, interval: bool = False) -> str:
    """A module's value with its unit, and its interval."""
    low, high = (
        metric.said(row[end] / metric.times).removesuffix(metric.unit).rstrip()
        for end in ("low", "high")
    )
    bounds = f" (95 % interval {low} to {high})" if interval and not math.isnan(row["low"]) else ""
    return metric.said(row["value"] / metric.times) + bounds


def _listed(table: pd.DataFrame, metric: Metric) -> str:
    return " and ".join(f"{row['layer']} ({_spoken(row, metric)})" for _, row in table.iterrows())


def alone_reading(table: pd.DataFrame, metric: str, itself: float, language: str = EVERY) -> str:
    """Which modules do most when each alone quantizes, how many stand out of their floor, and how
    many out of what the whole model does by itself."""
    known, worst, n = METRICS[metric], _worst(table, METRICS[metric]), len(table)
    if worst.empty:
        return (
            f"Quantized alone{where(language)}, no module has a {known.phrase} beyond its noise "
            "floor."
        )
    first = worst.iloc[0]
    text = (
        f"Quantized alone{where(language)}, {first['layer']} does most harm: a {known.phrase} of "
        f"{_spoken(first, known, True)}"
    )
    text += f", then {_listed(worst.iloc[1:3], known)}." if len(worst) > 1 else "."
    quiet, highest = int((~table["above"]).sum()), known.said(table["floor"].max() / known.times)
    stay = "stays" if quiet == 1 else "stay"
    text += (
        f" {quiet} of {n} modules {stay} within the noise floor (at most {highest}) and so without "
        "a rank."
        if quiet
        else f" All {n} modules are above their noise floor, which is at most {highest}."
    )
    small = int((table["value"].abs() <= itself).sum())
    if metric == "KL" and itself > 0:
        text += (
            f" The whole quantized model moves by up to {known.said(itself / known.times)} when "
            f"the same is repeated; alone, {small} of {n} modules do no more than that."
        )
    return text


def added_reading(
    table: pd.DataFrame, metric: str, everything: float, language: str = EVERY
) -> str:
    """Which modules are worth leaving in FP32 when all others quantize, against how much the whole
    model's number moves by itself."""
    known, worst = METRICS[metric], _worst(table, METRICS[metric])
    floor = known.said(table["floor"].max() / known.times)
    text = (
        f"When everything quantizes{where(language)}, the {known.phrase} is "
        f"{known.said(everything / known.times)}."
    )
    if worst.empty:
        return (
            f"{text} Leaving one module in FP32 takes no more of it away than repeating the same "
            f"does, {floor}."
        )
    first = worst.iloc[0]
    text += (
        f" Leaving {first['layer']} in FP32 takes most of it away, {_spoken(first, known, True)}: "
        f"{known.said(first['rest'] / known.times)} remain."
    )
    text += (
        f" Then {'come' if len(worst) > 2 else 'comes'} {_listed(worst.iloc[1:3], known)}."
        if len(worst) > 1
        else ""
    )
    return (
        f"{text} Repeating the same moves it by up to {floor}; {len(table) - len(worst)} of "
        f"{len(table)} modules add no more than that."
    )

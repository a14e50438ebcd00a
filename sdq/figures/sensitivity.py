"""Which layers break the answers: every module alone and as the only exception, with its interval
and its noise floor.

`rows` holds the numbers, sdq.figures.module_scan draws them, the readings say them in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.ranking import EVERY
from sdq.labels import language_name, module_label, nats

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


def titled(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table as people see it: the value's column says what it is."""
    return table.rename(
        columns={"value": METRICS[metric].axis, "rest": "all others", "floor": "noise floor"}
    )


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

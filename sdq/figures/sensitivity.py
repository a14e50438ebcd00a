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
    entry, column = METRICS[metric], METRICS[metric].column
    spoken = sensitivity[sensitivity["language"] == language]
    scan = spoken[spoken["measure"] == VIEWS[view]].sort_values("order", ignore_index=True)
    label = [
        module_label(name, role, int(block))
        for name, role, block in zip(scan["module"], scan["role"], scan["block"], strict=True)
    ]
    table = scan[["module", "role", "block"]].assign(layer=label, sentences=scan["sentences"])
    for name, end in (("value", ""), ("low", "_low"), ("high", "_high")):
        table[name] = entry.times * scan[column + end]
    if view == "All but one":
        rest = spoken[spoken["measure"] == "but_one"].set_index("module")[column]
        table["rest"] = entry.times * table["module"].map(rest)
        table["floor"] = entry.times * model_floor(floor, metric, shift=True)
    else:
        table["floor"] = entry.times * table["module"].map(highest(floor, "module", column))
    return table.assign(above=table["value"].abs() > table["floor"])


def highest(floor: pd.DataFrame, kind: str, measure: str) -> pd.Series:
    """Largest movement over repetitions and causes, by name."""
    moves = floor[(floor["kind"] == kind) & (floor["measure"] == measure)]
    return moves.groupby("name")["high"].max()


def model_floor(floor: pd.DataFrame, metric: str, shift: bool = False) -> float:
    """The noise floor of the whole quantized model, in the scan's unit; `shift`: that of its number
    of `metric`."""
    column = METRICS[metric].column
    return float(
        highest(
            floor, "model", f"{column}_shift" if shift and column in ("kl", "flips") else column
        ).get(EVERY, math.nan)
    )


def whole(sensitivity: pd.DataFrame, metric: str, language: str = EVERY) -> float:
    """What the model does when everything quantizes, in the unit of `metric`."""
    scan = sensitivity[(sensitivity["measure"] == "all") & (sensitivity["language"] == language)]
    return METRICS[metric].times * float(scan[METRICS[metric].column].iloc[0])


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
    """The modules that do harm beyond their noise floor, worst first."""
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


def alone_reading(
    table: pd.DataFrame, metric: str, model_noise: float, language: str = EVERY
) -> str:
    """Which modules do the most harm when quantized alone, how many exceed their noise floor, and
    how many that of the whole model."""
    entry, worst, n = METRICS[metric], _worst(table, METRICS[metric]), len(table)
    if worst.empty:
        return (
            f"Quantized alone{where(language)}, no module has a {entry.phrase} beyond its noise "
            "floor."
        )
    first = worst.iloc[0]
    text = (
        f"Quantized alone{where(language)}, {first['layer']} does the most harm: a {entry.phrase} "
        f"of {_spoken(first, entry, True)}"
    )
    text += f", then {_listed(worst.iloc[1:3], entry)}." if len(worst) > 1 else "."
    quiet, highest = int((~table["above"]).sum()), entry.said(table["floor"].max() / entry.times)
    stay = "stays" if quiet == 1 else "stay"
    text += (
        f" {quiet} of {n} modules {stay} within the noise floor (at most {highest}) and "
        f"{'is' if quiet == 1 else 'are'} not ranked."
        if quiet
        else f" All {n} modules are above their noise floor, which is at most {highest}."
    )
    small = int((table["value"].abs() <= model_noise).sum())
    if metric == "KL" and model_noise > 0:
        text += (
            " The noise floor of the whole quantized model is "
            f"{entry.said(model_noise / entry.times)}; alone, {small} of {n} modules stay within "
            "it."
        )
    return text


def added_reading(
    table: pd.DataFrame, metric: str, everything: float, language: str = EVERY
) -> str:
    """Which modules are worth leaving in FP32 when all others are quantized, against the noise
    floor of the whole model."""
    entry, worst = METRICS[metric], _worst(table, METRICS[metric])
    floor = entry.said(table["floor"].max() / entry.times)
    text = (
        f"With everything quantized{where(language)}, the {entry.phrase} is "
        f"{entry.said(everything / entry.times)}."
    )
    if worst.empty:
        return (
            f"{text} Leaving one module in FP32 removes no more of it than the noise floor "
            f"({floor})."
        )
    first = worst.iloc[0]
    text += (
        f" Leaving {first['layer']} in FP32 removes the most, {_spoken(first, entry, True)}; "
        f"{entry.said(first['rest'] / entry.times)} remain."
    )
    text += (
        f" Then {'come' if len(worst) > 2 else 'comes'} {_listed(worst.iloc[1:3], entry)}."
        if len(worst) > 1
        else ""
    )
    return (
        f"{text} The noise floor is {floor}; {len(table) - len(worst)} of {len(table)} modules add "
        "no more than that."
    )

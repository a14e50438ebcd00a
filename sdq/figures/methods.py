"""Methods side by side: the scores of the runs, and their prices.

`table` holds the numbers (the first run is what the others are compared with), `printed` writes
them as people read them, `reading` says them in words; sdq.figures.prices draws them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sdq.evaluate.significance import paired_tests
from sdq.evaluate.statistics import mean_interval, p_cell, p_text
from sdq.labels import language_name, run_names, signed, width
from sdq.results import METRICS, Report


def size(report: Report) -> float:
    """MB (10^6 bytes): of the parameters of an FP32 run, simulated for a quantized one."""
    return report.size / 1e6


def zero_shot(report: Report) -> list[str]:
    """The languages without labels in training; all of them if there are no others."""
    codes = list(report.quantized.by_language)
    return [code for code in codes if code != report.labelled] or codes


def paired(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two per-sentence tables hold the same sentences."""
    left, right = (set(zip(t["language"], t["id"], strict=True)) for t in (a, b))
    return len(a) == len(b) and left == right


def table(reports: Sequence[Report], sentences: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per run, in the order given. Scores in %, differences in points against the first
    run, MB and seconds.

    `sentences` (run id -> per-sentence counts) gives the 95 % interval of the zero-shot mean
    ("low", "high") and, where both runs answered the same sentences, the paired difference
    ("difference low", "difference high") and its "p"; without it they are missing.
    """
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    names, codes, first = run_names(reports), zero_shot(reports[0]), reports[0]
    sign = 1 if METRICS[first.metric].higher_is_better else -1
    lines = []
    for report in reports:
        scores = report.quantized.by_language
        home = report.labelled
        worst = min(scores, key=lambda code: sign * scores[code])
        mean = float(np.mean([scores[code] for code in codes]))
        row: dict[str, Any] = {
            "run": names[report.run],
            "recipe": report.recipe["name"],
            "mean": 100 * report.quantized.mean,
            "zero-shot mean": 100 * mean,
            "low": math.nan,
            "high": math.nan,
            "labelled": 100 * scores.get(home, math.nan),
            "worst": 100 * scores[worst],
            "worst language": language_name(worst),
            "MB": size(report),
            "simulated": report.is_quantized,
            "seconds": sum(report.seconds.values()),
            "difference": 100
            * (mean - float(np.mean([first.quantized.by_language[code] for code in codes])))
            if report is not first
            else math.nan,
            "difference low": math.nan,
            "difference high": math.nan,
            "p": math.nan,
            "run id": report.run,
        }
        own, base = sentences.get(report.run), sentences.get(first.run)
        if own is not None:
            _, low, high = mean_interval([own], codes)
            row |= {"low": 100 * low, "high": 100 * high}
        if report is not first and own is not None and base is not None and paired(base, own):
            against = paired_tests(base, own, codes).iloc[-1]  # of the mean over the languages
            row |= {
                "difference low": against["low"],
                "difference high": against["high"],
                "p": against["p"],
            }
        lines.append(row)
    return pd.DataFrame(lines)


def bracket(low: float, high: float, sign: str = "") -> str:
    """An interval in writing, empty if there is none."""
    return "" if math.isnan(low) else f" [{low:{sign}z.1f}, {high:{sign}z.1f}]".replace("-", "−")


def printed(runs: pd.DataFrame, labelled: str, metric: str) -> pd.DataFrame:
    """The table for the page: a score with its interval in one cell, the unit in the heading."""
    unit, first = METRICS[metric].unit, runs["run"].iloc[0]
    lines = []
    for row in runs.to_dict("records"):
        own = math.isnan(row["difference"])
        lines.append(
            {
                "run": row["run"],
                f"mean, {unit}": f"{row['mean']:.1f}",
                f"zero-shot mean, {unit} [95 %]": f"{row['zero-shot mean']:.1f}"
                f"{bracket(row['low'], row['high'])}",
                f"zero-shot against {first}, points [95 %]": ""
                if own
                else signed(row["difference"])
                + bracket(row["difference low"], row["difference high"], "+"),
                "p": p_cell(row["p"]),
                f"{language_name(labelled)}, {unit}": f"{row['labelled']:.1f}",
                f"worst language, {unit}": f"{row['worst language']}, {row['worst']:.1f}",
                "size, MB": f"{row['MB']:.2f}{' simulated' if row['simulated'] else ''}",
                "time to make, s": f"{row['seconds']:.0f}",
            }
        )
    return pd.DataFrame(lines)


def reading(runs: pd.DataFrame) -> str:
    """The best and the worst quantized run against the first run, and the price of the best."""
    first = runs.iloc[0]
    quantized = runs[runs["simulated"]].sort_values("zero-shot mean", ascending=False)
    if not len(quantized):
        return (
            f"None of these runs is quantized; {first['run']} reaches "
            f"{first['zero-shot mean']:.1f} % on the zero-shot languages."
        )
    best, worst = quantized.iloc[0], quantized.iloc[-1]
    text = (
        f"Of the quantized runs, {best['run']} scores highest on the zero-shot languages: "
        f"{best['zero-shot mean']:.1f} %{_against(best, first)}."
    )
    if len(quantized) > 1:
        text += (
            f" {worst['run']} scores lowest: {worst['zero-shot mean']:.1f} "
            f"%{_against(worst, first)}."
        )
    return (
        text + f" {best['run']} took {best['seconds']:.0f} s to make and has {best['MB']:.1f} MB "
        f"(simulated); {_prices(runs, best)}."
    )


def _against(row: Any, first: Any) -> str:
    if math.isnan(row["difference"]):
        return ""
    interval = bracket(row["difference low"], row["difference high"], "+")
    p = "" if math.isnan(row["p"]) else f", {p_text(row['p'])}"
    return f", {signed(row['difference'])} points{interval} against {first['run']}{p}"


def _prices(runs: pd.DataFrame, best: Any) -> str:
    others = runs[runs["run"] != best["run"]]
    if not len(others):
        return "there is no other run"
    quick = others.sort_values("seconds").iloc[0]
    return (
        f"the fastest of the others, {quick['run']}, took {quick['seconds']:.0f} s and has "
        f"{quick['MB']:.1f} MB"
    )


def suggested(chosen: Sequence[Report], every: Sequence[Report], most: int = 4) -> list[Report]:
    """What to compare the chosen runs with: runs of the same model and task, first the same width
    by other methods, then FP32, one per method."""
    if not chosen:
        return list(every[:most])
    first, taken = chosen[0], {r.method for r in chosen}
    comparable = [
        r
        for r in every
        if (r.model, r.task) == (first.model, first.task) and r.run not in {c.run for c in chosen}
    ]
    same = [r for r in comparable if width(r.recipe) == width(first.recipe)]
    suggestions: list[Report] = []
    for report in [*same, *(r for r in comparable if r.is_reference), *comparable]:
        if report.method not in taken and len(chosen) + len(suggestions) < most:
            taken.add(report.method)
            suggestions.append(report)
    return suggestions or comparable[:1]

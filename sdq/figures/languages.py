"""Scores per language: where quantization breaks a model, and how much a method recovers.

`table` holds the numbers, `reading` says them in words, sdq.figures.scores draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pandas as pd

from sdq.evaluate.statistics import intervals
from sdq.figures.style import ORDER
from sdq.labels import language_name, listed, treatment, width
from sdq.recipe import preset_of
from sdq.results import METRICS, Report, Scores

_NEGLIGIBLE = 0.5  # points of mean zero-shot drop below which there is nothing to recover


def series(reports: Sequence[Report]) -> dict[str, tuple[Scores, str | None]]:
    """Label -> (scores, run id), FP32 first, in the order of style.ORDER: the method, of a further
    run of it with what tells it apart. FP32 comes from the reference if no run of it is given."""
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    by_label: dict[str, tuple[Scores, str | None]] = {"FP32": (reports[0].reference, None)}
    for report in sorted(reports, key=lambda r: ORDER.index(r.method)):
        named = f"{report.method} {report.recipe['name']}"
        labels = (report.method, named, f"{named}, seed {report.recipe['seed']}")
        taken = {label for label, (_, run) in by_label.items() if run is not None}
        label = next((label for label in labels if label not in taken), f"{named} {report.run}")
        by_label[label] = report.quantized, report.run
    return by_label


def damaged_label(labels: Sequence[str]) -> str:
    """The run that shows the loss: PTQ, or the only quantized run there is."""
    return "PTQ" if "PTQ" in labels else labels[-1]


def repaired_label(labels: Sequence[str]) -> str | None:
    """The run that shows the repair: SDQ, or else another trained run; None without PTQ to compare
    with."""
    if "PTQ" not in labels:
        return None
    return next((label for label in ("SDQ", "SDQ multi", "QAT", "QNAT") if label in labels), None)


def table(
    reports: Sequence[Report], sentences: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """One row per language: zero-shot ones by falling drop, then the trained-on one. Scores in %,
    drop and gain in points.

    `sentences` (run id -> per-sentence counts) adds 95 % bounds and the number of sentences.
    """
    lines = series(reports)
    labels = list(lines)
    sign = 1 if METRICS[reports[0].metric].higher_is_better else -1
    damaged, repaired = damaged_label(labels), repaired_label(labels)
    codes = list(lines["FP32"][0].by_language)
    outcomes = {
        label: sentences[run]
        for label, (_, run) in lines.items()
        if sentences is not None and run is not None and run in sentences
    }
    bounds = {label: intervals(table, codes) for label, table in outcomes.items()}
    rows: list[dict[str, Any]] = []
    for code in codes:
        row: dict[str, Any] = {
            "code": code,
            "language": language_name(code),
            "labels in training": code == reports[0].labelled,
        }
        for label, (scores, _) in lines.items():
            row[label] = 100 * scores.by_language[code]
            if label in outcomes:
                row[f"{label} low"], row[f"{label} high"] = (
                    100 * bound for bound in bounds[label][code]
                )
                row["sentences"] = int((outcomes[label]["language"] == code).sum())
        if damaged != "FP32":
            row[f"lost by {damaged}"] = sign * (row["FP32"] - row[damaged])
        if repaired:
            row[f"recovered by {repaired}"] = sign * (row[repaired] - row["PTQ"])
        rows.append(row)
    by = "FP32" if damaged == "FP32" else f"lost by {damaged}"
    return pd.DataFrame(rows).sort_values(
        ["labels in training", by], ascending=[True, False], ignore_index=True
    )


def _share(label: str, gain: float, drop: float, also: str = "") -> str:
    """What of the points that PTQ loses a method wins back, in words; `also` stands behind it."""
    what = "nothing" if gain < 0 else "all" if gain >= drop else f"{100 * gain / drop:.0f} %"
    below = f"{-gain:.1f} points below PTQ" if gain < 0 else ""
    notes = "; ".join(note for note in (below, also) if note)
    return f"{label} recovers {what}" + (f" ({notes})" if notes else "")


def _unquantized(scores: Scores, measure: str) -> str:
    """The score of the model without quantization."""
    over = (
        "on average over the languages without labels in training"
        if len(scores.by_language) > 1
        else "in its only language"
    )
    return f"Unquantized (FP32), the model reaches {100 * scores.leading:.1f} % {measure} {over}."


def reading(reports: Sequence[Report]) -> str:
    """What the picture shows, in one to three sentences with its numbers."""
    lines = series(reports)
    labels = list(lines)
    metric = METRICS[reports[0].metric]
    measure = metric.inside
    damaged, repaired = damaged_label(labels), repaired_label(labels)
    if damaged == "FP32":
        return _unquantized(lines["FP32"][0], measure)
    rows = table(reports)
    zero = rows[~rows["labels in training"]]
    home = rows[rows["labels in training"]]
    report = next(r for r in reports if r.run == lines[damaged][1])
    sign = 1 if metric.higher_is_better else -1
    mean = {label: 100 * scores.leading for label, (scores, _) in lines.items()}
    drop = sign * (mean["FP32"] - mean[damaged])
    before_after = f"{mean['FP32']:.1f} → {mean[damaged]:.1f} %"
    where = (
        f"on average over the {len(zero)} zero-shot languages"
        if len(zero)
        else "in its only language"
    )
    if drop < _NEGLIGIBLE:
        verb = f"costs only {drop:.1f} points" if drop > 0 else "costs nothing"
        rest = (
            f" There is little to recover; {repaired} reaches {mean[repaired]:.1f} %."
            if repaired
            else ""
        )
        return (
            f"{treatment(width(report.recipe), damaged)} {verb} of {measure} {where} "
            f"({before_after}).{rest}"
        )
    lost = (
        f"{treatment(width(report.recipe), damaged)} costs {drop:.1f} points of {measure} {where} "
        f"({before_after})"
    )
    if zero.empty:
        return f"{lost}{f'; {repaired} reaches {mean[repaired]:.1f} %' if repaired else ''}."
    worst = zero.iloc[0]
    lost += (
        f", against {home.iloc[0][f'lost by {damaged}']:.1f} in {home.iloc[0]['language']}, which "
        "it was trained on."
        if len(home)
        else "."
    )
    hardest = f" Hit hardest: {worst['language']}, {worst['FP32']:.1f} → {worst[damaged]:.1f} %"
    if repaired is None:
        return f"{lost}{hardest}."
    return (
        f"{lost} Of the zero-shot loss, {_recovered(reports)}{hardest}, and "
        f"{worst[repaired]:.1f} % with {repaired}."
    )


def _recovered(reports: Sequence[Report]) -> str:
    """What each run recovers of the loss by PTQ. FP32 trained longer loses
    nothing by rounding, so that it has nothing to recover: its score."""
    sign = 1 if METRICS[reports[0].metric].higher_is_better else -1
    lines, repairs = series(reports), _repairs(reports)
    mean = {label: 100 * scores.leading for label, (scores, _) in lines.items()}
    drop = sign * (mean["FP32"] - mean["PTQ"])
    shares = ", ".join(_share(label, sign * (mean[label] - mean["PTQ"]), drop) for label in repairs)
    return f"{shares}." + "".join(
        f" {label}, which is not quantized, reaches {mean[label]:.1f} %."
        for label in lines
        if label not in ("FP32", "PTQ", *repairs)
    )


def _repairs(reports: Sequence[Report]) -> list[str]:
    """Labels of the quantized runs that stand against PTQ, the one that is to repair first."""
    lines, quantized = series(reports), {r.run for r in reports if r.is_quantized}
    repaired = repaired_label(list(lines))
    labels = [label for label, (_, run) in lines.items() if run in quantized and label != "PTQ"]
    return sorted(labels, key=lambda label: label != repaired)


def over_seeds(shown: Sequence[Report], every: Iterable[Report]) -> str:
    """How a picture of one seed stands among the seeds that all of its trained methods have: what
    each recovers on average, and from which share to which. Empty where those are fewer than two,
    or PTQ loses next to nothing.

    shown: the runs of the picture
    every: finished runs of the same model and task, newest first, also of other recipes
    """
    lines, repairs = series(shown), _repairs(shown)
    ptq = next((report for report in shown if report.method == "PTQ"), None)
    if ptq is None or not repairs:
        return ""
    sign = 1 if METRICS[ptq.metric].higher_is_better else -1
    drop = 100 * sign * (ptq.reference.leading - ptq.quantized.leading)
    preset = {report.run: preset_of(report.recipe) for report in shown}
    label_of = {preset[lines[label][1] or ""]: label for label in repairs}
    won: dict[str, dict[int, float]] = {label: {} for label in repairs}  # label -> seed -> points
    for report in (*shown, *every):  # of two equal runs that of the picture, or the newer one
        if label := label_of.get(preset_of(report.recipe)):
            gain = 100 * sign * (report.quantized.leading - ptq.quantized.leading)
            won[label].setdefault(report.recipe["seed"], gain)
    seeds = sorted(set.intersection(*map(set, won.values())))
    if None in label_of or len(seeds) < 2 or drop < _NEGLIGIBLE:
        return ""
    shares = []
    for label in repairs:
        gains = [won[label][seed] for seed in seeds]
        least, most = (f"{100 * gain / drop:z.0f}" for gain in (min(gains), max(gains)))
        spread = f"single seeds: {least} to {most} %".replace("-", "−")
        shares.append(_share(label, fmean(gains), drop, spread))
    return (
        f"This is seed {ptq.recipe['seed']}. On average over the seeds {listed(map(str, seeds))}, "
        f"{', '.join(shares)}."
    )

"""Does quantization hurt the languages without labels more than the one the model was trained on?
By what was seen of them, by script, by family.

`exposures` tells from a run what it saw of each language, `table` holds the drops of the groups and
how far they go beyond that of the trained-on language (sdq.evaluate.significance.interaction),
`reading` says it in words, `figure` draws it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from sdq.data.languages import language
from sdq.evaluate.significance import HOME, ZERO_SHOT, interaction
from sdq.evaluate.statistics import p_text
from sdq.figures.axes import row_axis, value_axis, zero_line
from sdq.figures.curves import legend_height
from sdq.figures.drops import add_run, axis_range, symbols
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.labels import language_name, measure, run_names, signed, treatment, width
from sdq.recipe import Recipe
from sdq.results import Report, against_fp32

By = Literal["seen", "script", "family"]
LABELS, TEXT, RANGES, UNSEEN = (
    "labels in fine-tuning",
    "text in distillation",
    "text in calibration",
    "unseen",
)
_NAMED = 3  # languages of a group that are named; more are counted


def exposures(report: Report, with_text: Collection[str] | None = None) -> dict[str, str]:
    """Language -> the most that a run saw of it after pre-training: labels, unlabelled text (SDQ
    multi), text to calibrate on, or nothing.

    `with_text`: the languages the task has training sentences in; all of them if it is not given.
    """
    recipe = Recipe.model_validate(report.recipe)
    codes = list(report.quantized.by_language)
    texts = set(codes if with_text is None else with_text) - {report.labelled}
    distilled = texts if recipe.training is not None and recipe.training.unlabelled else set()
    chosen = recipe.calibration.languages
    calibrated = set(chosen) if not isinstance(chosen, str) else texts if chosen == "all" else set()
    calibrated = calibrated if recipe.calibrates else set()
    return {
        code: LABELS
        if code == report.labelled
        else TEXT
        if code in distilled
        else RANGES
        if code in calibrated
        else UNSEEN
        for code in codes
    }


def grouped(
    report: Report, by: By, with_text: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Group -> its zero-shot languages, the largest group first."""
    seen, groups = exposures(report, with_text), dict[str, list[str]]()
    for code in report.quantized.by_language:
        if code != report.labelled:
            name = {
                "seen": seen[code],
                "script": language(code).script_name,
                "family": language(code).family,
            }[by]
            groups.setdefault(name, []).append(code)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def table(
    reports: Sequence[Report],
    sentences: Mapping[str, pd.DataFrame],
    fp32: pd.DataFrame,
    by: By = "seen",
    with_text: Collection[str] | None = None,
) -> pd.DataFrame:
    """One row per quantized run and group: the trained-on language, the mean of all zero-shot ones,
    and the groups if there are several.

    Columns: group, run, method, label, width; then those of sdq.evaluate.significance.interaction;
    p_holm is adjusted for the number of groups. `sentences` (run id -> per-sentence table) and
    `fp32` are needed. Raises ValueError without a quantized run, without both kinds of languages,
    or for other sentences.
    """
    quantized = against_fp32(reports)
    if not quantized:
        raise ValueError("reports must hold at least one quantized run, got none")
    labels, parts = run_names(quantized), []
    for report in quantized:
        groups, home = (
            grouped(report, by, with_text),
            [code for code in report.quantized.by_language if code == report.labelled],
        )
        zero = [code for codes in groups.values() for code in codes]
        if not home or not zero:
            raise ValueError(
                f"the test languages must hold the trained-on one, {report.labelled}, and others, "
                f"got {', '.join(report.quantized.by_language)}"
            )
        effects = interaction(fp32, sentences[report.run], {ZERO_SHOT: zero}, home)
        if len(groups) > 1:
            effects = pd.concat(
                [effects, interaction(fp32, sentences[report.run], groups, home).iloc[1:]],
                ignore_index=True,
            )
        for name, value in (
            ("width", width(report.recipe)),
            ("label", labels[report.run]),
            ("method", report.method),
            ("run", report.run),
        ):
            effects.insert(1, name, value)
        parts.append(effects)
    return pd.concat(parts, ignore_index=True)


def _named(codes: str) -> str:
    names = [language_name(code) for code in codes.split()]
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} languages"


def reading(rows: pd.DataFrame, metric: str, by: By = "seen") -> str:
    """The drop of the trained-on language and of the others, whether they differ by more than
    chance, and which group differs most; of the first run."""
    first = rows[rows["run"] == rows["run"].iloc[0]].set_index("group")
    home, zero = first.loc[HOME], first.loc[ZERO_SHOT]
    many = len(zero["languages"].split())
    text = (
        f"{treatment(home['width'], home['method'])} costs {_named(home['languages'])}, which it "
        f"was trained on, {home['drop']:.1f} points of {measure(metric)} "
    )
    text += (
        f"and the {many} zero-shot languages {zero['drop']:.1f} on average: a difference of "
        f"{signed(zero['extra'])} points "
    )
    text += (
        f"(95 % interval {signed(zero['extra_low'])} to {signed(zero['extra_high'])}, "
        f"{p_text(zero['p'])}). "
    )
    if zero["p"] >= 0.05:
        text += "Other test sentences could have reversed that."
    else:
        text += (
            "That is more than the choice of test sentences explains: it hurts the languages "
            f"without labels {'more' if zero['extra'] > 0 else 'less'}."
        )
    text += (
        f" As a share of the FP32 score, they lose {zero['share']:.1f} % against "
        f"{home['share']:.1f} % ({p_text(zero['share_p'])})."
    )
    groups = first.drop([HOME, ZERO_SHOT])
    if groups.empty:
        return text
    most = groups.loc[groups["extra"].idxmax()]
    sure = int((groups["p_holm"] < 0.05).sum())
    what = {"seen": "levels of exposure", "script": "scripts", "family": "families"}[by]
    text += (
        f" Of the {len(groups)} {what}, {most.name} ({_named(most['languages'])}) loses most, "
        f"{most['drop']:.1f} points, {signed(most['extra'])} against {_named(home['languages'])}; "
    )
    return (
        text + f"{sure} of the {len(groups)} differ from it by more than chance (after Holm's "
        f"correction)."
    )


def _order(rows: pd.DataFrame) -> list[str]:
    """Groups from top to bottom: the trained-on language, all zero-shot ones, then by falling drop
    of the first run that has the group."""
    first = rows.drop_duplicates("group").set_index("group")["drop"]
    return [HOME, ZERO_SHOT, *first.drop([HOME, ZERO_SHOT]).sort_values(ascending=False).index]


def _add_languages(
    figure: go.Figure,
    groups: pd.DataFrame,
    single: pd.DataFrame,
    y: Mapping[str, float],
    theme: Theme,
) -> None:
    """The languages of each group as small ticks behind its mean."""
    drop, x, at, text = single.set_index("code")["drop"], [], [], []
    for group, codes in zip(groups["group"], groups["languages"], strict=True):
        inside = [code for code in codes.split() if code in drop.index]
        if len(inside) > 1:
            x += [float(drop[code]) for code in inside]
            at += [y[group]] * len(inside)
            text += [
                f"{language_name(code)} · {groups['label'].iloc[0]}<br>drop {drop[code]:.1f} points"
                for code in inside
            ]
    marker = {
        "symbol": "line-ns-open",
        "size": 9,
        "color": MARKS[groups["method"].iloc[0]].colour(theme),
        "opacity": 0.6,
    }
    figure.add_scatter(
        x=x, y=at, mode="markers", marker=marker, hovertext=text, hoverinfo="text", showlegend=False
    )


def figure(
    rows: pd.DataFrame, single: pd.DataFrame, metric: str, theme: Theme = "light"
) -> go.Figure:
    """One row per group, one mark per run with its 95 % interval, and a small tick per language.
    `single` is the drop table of the languages (sdq.figures.drops)."""
    order, shapes = _order(rows), symbols(rows)
    at = {group: i + 0.5 * (i > 0) + 0.5 * (i > 1) for i, group in enumerate(order)}
    runs = list(rows["run"].drop_duplicates())
    drawn = go.Figure()
    for lane, run in enumerate(runs):
        groups = rows[rows["run"] == run].reset_index(drop=True)
        y = {
            group: at[group] + (lane - (len(runs) - 1) / 2) * 0.8 / len(runs)
            for group in groups["group"]
        }
        _add_languages(drawn, groups, single[single["run"] == run], y, theme)
        shown = groups.assign(
            code=groups["group"],
            language=groups["group"],
            FP32=groups["base"],
            score=groups["base"] - groups["drop"],
            sentences=groups["n"],
        )
        add_run(drawn, shown, list(y.values()), shapes[run], theme)
    ticks = [
        f"{group}<br><span "
        f"style='font-size:11px;color:{INK[theme].quiet}'>{_named(_members(rows, group))}</span>"
        for group in order
    ]
    seen = pd.concat([rows["low"], rows["high"], single["drop"]])
    below = legend_height(list(rows["label"].drop_duplicates()))
    bottom = max(at.values()) + 0.6
    drawn.update_layout(
        template=template(theme),
        height=int((36 + 5 * max(0, len(runs) - 2)) * (bottom + 0.6)) + 70 + below,
        margin={"l": 138, "r": 14, "t": 8, "b": 60 + below},
        shapes=[zero_line(theme)],
        showlegend=True,
        legend=LEGEND,
        xaxis=value_axis(f"Drop against FP32, points of {measure(metric)}", range=axis_range(seen)),
        yaxis=row_axis(list(at.values()), ticks, bottom),
    )
    return drawn


def _members(rows: pd.DataFrame, group: str) -> str:
    """The languages of a group, of the first run that has it."""
    return str(rows.loc[rows["group"] == group, "languages"].iloc[0])

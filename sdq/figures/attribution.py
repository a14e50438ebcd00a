"""Which words the model looks at: one sentence in FP32 and quantized, and how similarly the two
models rank the words of each language.

The numbers are those of the tables "words" and "drift" (see sdq.analyses.attribution). `sentence`
picks a sentence, `marked` writes its words as HTML, `reading` says them; `drift_picture` is
(figure, table behind it, sentence).
"""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import row_axis, segments, value_axis
from sdq.figures.ranks import UNSPACED
from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, mixed, template
from sdq.figures.weights import Picture
from sdq.labels import direction, language_name
from sdq.settings import UserError

EVERY = "all"
MODELS = ("fp32", "quantized")
_DEEPEST = 0.55  # of the colour behind the word that counts most
_THICKEST = 5  # pixels of the line under it
_SPOKEN = 0.05  # of the largest attribution: a word below it is not coloured
_ROW = 26  # pixels
_ISOLATED = "\u2068{}\u2069"  # keeps right-to-left text from reordering its neighbours


def sentence(words: pd.DataFrame, language: str, example: str) -> pd.DataFrame:
    """The rows of one sentence, in its order. UserError if it was not analysed."""
    rows = words[(words["language"] == language) & (words["id"] == example)].sort_values(
        "position", ignore_index=True
    )
    if rows.empty:
        raise UserError(
            f"a sentence must be among those analysed, {example[:40]!r} in "
            f"{language_name(language)} is not; choose one from the list"
        )
    return rows


def texts(words: pd.DataFrame, language: str) -> dict[str, str]:
    """Id -> text, made of its words, of the sentences in a language; where the quantized model
    gives another answer, it says so."""
    glue, labels = "" if language in UNSPACED else " ", {}
    for example, part in words[words["language"] == language].groupby("id", sort=False):
        suffix = " (answer changes)" if (part["target"] != part["answer"]).any() else ""
        labels[str(example)] = _ISOLATED.format(glue.join(part["word"])) + suffix
    return labels


def table(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """A sentence as people read it: attributions in logits, `label` is the quantized model's
    name."""
    names = {
        "fp32": "FP32, logits",
        "quantized": f"{label}, logits",
        "nudged": f"{label} after a tiny change, logits",
        "target": "FP32 answer",
    }
    return rows[["word", "fp32", "quantized", "nudged", "target", "answer"]].rename(
        columns=names | {"answer": f"{label} answer"}
    )


def marked(rows: pd.DataFrame, label: str, theme: Theme = "light") -> str:
    """HTML of the words of one sentence, FP32 above `label`, in the direction of their script.

    Under each word its signed attribution in logits. For the answer: blue with a plain line,
    against it: orange with a dashed line; the larger the attribution, the stronger the colour and
    the thicker the line. Both models have one scale.
    """
    language = str(rows["language"].iloc[0])
    largest = float(rows[list(MODELS)].abs().to_numpy().max()) or 1.0
    digits = 1 if largest >= 2 else 2
    lines = []
    for model, name, answer in zip(MODELS, ("FP32", label), ("target", "answer"), strict=True):
        said = "" if rows[answer].nunique() > 1 else f" answers {rows[answer].iloc[0]}"
        spans = " ".join(
            _span(row.word, getattr(row, model), largest, digits, theme)
            for row in rows.itertuples()
        )
        head = f'<div style="font-size:.875rem;margin-top:.6rem">{escape(name + said)}</div>'
        lines.append(
            f'{head}<p class="words" lang="{escape(language)}" dir="{direction(language)}" '
            f'style="line-height:1.3;margin:.1rem 0">{spans}</p>'
        )
    return "".join(lines)


def _span(word: str, value: float, largest: float, digits: int, theme: Theme) -> str:
    share = abs(value) / largest
    colour = MARKS["FP32" if value > 0 else "PTQ"].colour(theme)
    paper, font = mixed(INK[theme].paper, colour, _DEEPEST * share if share >= _SPOKEN else 0.0)
    line = (
        "none"
        if share < _SPOKEN
        else f"{1 + round((_THICKEST - 1) * share)}px {'solid' if value > 0 else 'dashed'} {colour}"
    )
    number = f"{value:+.{digits}f}".replace("-", "−")
    style = (
        "display:inline-block;text-align:center;margin:.15rem .05rem;padding:.1rem "
        f".3rem;background:{paper};color:{font};border-bottom:{line}"
    )
    return (
        f'<span style="{style}"><bdi style="font-size:1.2rem">{escape(word)}</bdi><br><bdi '
        f'dir="ltr" style="font-size:.8rem">{number}</bdi></span>'
    )


def reading(rows: pd.DataFrame, label: str) -> str:
    """The word each model relies on most, how similar their rankings are, and what the words do not
    explain."""
    most = {model: rows.loc[rows[model].idxmax()] for model in MODELS}
    first, second = (
        f"“{_ISOLATED.format(most[model]['word'])}” ({most[model][model]:+.2f} logits)"
        for model in MODELS
    )
    tagged = rows["target"].nunique() > 1
    what = "the tags it gives to all words" if tagged else str(rows["target"].iloc[0])
    text = (
        f"FP32 answers {what} and relies most on {first}; for the same answer {label} relies most "
        f"on {second}."
    )
    if most["fp32"].name == most["quantized"].name:
        text = (
            f"FP32 answers {what}, and for this answer both models rely most on the same word, "
            f"{first} in FP32 and {most['quantized']['quantized']:+.2f} in {label}."
        )
    changed = int((rows["target"] != rows["answer"]).sum())
    if changed:
        text += (
            f" {label} gives {changed} of {len(rows)} words a different tag."
            if tagged
            else f" {label} answers {rows['answer'].iloc[0]} instead."
        )
    if len(rows) > 2:
        rho = float(rows["fp32"].rank().corr(rows["quantized"].rank()))
        text += (
            f" Over the {len(rows)} words the two rankings have a rank correlation of {rho:+.2f}."
            if rho == rho
            else ""
        )
    parts = ", ".join(
        f"{name} {_missing(rows, model)}"
        for model, name in zip(MODELS, ("FP32", label), strict=True)
    )
    return (
        f"{text} Convergence delta (how much of the logit's gain over the baseline the words do "
        f"not explain): {parts}."
    )


def _missing(rows: pd.DataFrame, model: str) -> str:
    delta = float(rows[f"delta_{model}"].iloc[0])
    return f"{delta:+.4f} of {float(rows[model].sum()) - delta:+.2f} logits"


# --- over languages


def drift_table(drift: pd.DataFrame) -> pd.DataFrame:
    """One row per language, lowest correlation first, then all languages: the numbers of `drift`
    with their units."""
    names = {
        "rank_correlation": "rank correlation",
        "rank_low": "low",
        "rank_high": "high",
        "floor": "noise floor",
        "sign_agreement": "same sign, share of words",
        "sign_low": "same sign low",
        "sign_high": "same sign high",
        "completeness_fp32": "completeness error of FP32, share",
        "completeness_quantized": "completeness error, quantized, share",
    }
    rows = drift.assign(code=drift["language"], last=drift["language"] == EVERY).sort_values(
        ["last", "rank_correlation"], ignore_index=True
    )
    rows["language"] = [
        "all languages" if code == EVERY else language_name(code) for code in rows["code"]
    ]
    return rows[["language", "code", "sentences", "words", *names]].rename(columns=names)


def drift_picture(
    drift: pd.DataFrame, label: str, theme: Theme = "light", chosen: str | None = None
) -> Picture:
    """One row per language: rank correlation of the words' attributions in FP32 and quantized, its
    interval, and the noise floor (a bar).

    Each mark carries [language code] as customdata; the language `chosen` is written bold.
    """
    rows = drift_table(drift)
    at = [i + (0.5 if code == EVERY else 0) for i, code in enumerate(rows["code"])]
    figure = go.Figure()
    _add_correlations(figure, rows, at, label, theme)
    figure.add_scatter(
        x=rows["noise floor"],
        y=at,
        mode="markers",
        marker={
            "symbol": "line-ns",
            "size": 14,
            "line": {"color": INK[theme].text, "width": 2},
        },
        hoverinfo="skip",
        name=f"noise floor: {label} measured twice",
        unselected={"marker": {"opacity": 1}},
    )
    least = min(0.0, float(rows[["rank correlation", "low", "noise floor"]].min().min()))
    names = [
        f"<b>{name}</b>" if code in (chosen, EVERY) else name
        for name, code in zip(rows["language"], rows["code"], strict=True)
    ]
    title = "Rank correlation of the words (1: same ranking)"
    figure.update_layout(
        template=template(theme),
        height=_ROW * len(rows) + 150,
        margin={"l": 100, "r": 14, "t": 8, "b": 116},
        legend=LEGEND,
        xaxis=value_axis(title, range=[least - 0.04, 1.04]),
        yaxis=row_axis(at, names, at[-1] + 0.7, -0.7),
    )
    return figure, rows, drift_reading(rows, label)


def _add_correlations(
    figure: go.Figure, rows: pd.DataFrame, at: list[float], label: str, theme: Theme
) -> None:
    """A mark per row at its height, and behind it the interval, where there is one."""
    mark = MARKS["PTQ"]
    bounds = [
        (low, high, y)
        for low, high, y in zip(rows["low"], rows["high"], at, strict=True)
        if low == low
    ]
    heights = [y for *_, y in bounds]
    figure.add_scatter(
        x=segments([low for low, _, _ in bounds], [high for _, high, _ in bounds]),
        y=segments(heights, heights),
        mode="lines",
        line={"color": faint(mark.colour(theme), 0.7), "width": 3},
        hoverinfo="skip",
        name="95 % interval",
    )
    hover = [
        f"{row['language']}, {row['sentences']} sentences<br>rank correlation "
        f"{row['rank correlation']:.2f}, noise floor {row['noise floor']:.2f}<br>same sign: "
        f"{100 * row['same sign, share of words']:.0f} % of the words"
        for _, row in rows.iterrows()
    ]
    figure.add_scatter(
        x=rows["rank correlation"],
        y=at,
        mode="markers",
        marker={"color": mark.colour(theme), "symbol": mark.symbol, "size": 11},
        customdata=[[code] for code in rows["code"]],
        hovertext=hover,
        hoverinfo="text",
        name=f"FP32 and {label}",
        unselected={"marker": {"opacity": 1}},
    )


def drift_reading(rows: pd.DataFrame, label: str) -> str:
    """Whether the quantized model ranks the words as FP32 does, over a table of `drift_table`."""
    whole, each = rows.iloc[-1], rows.iloc[:-1].dropna(subset=["rank correlation"])
    if whole["rank correlation"] != whole["rank correlation"]:
        return f"No sentence has enough words to compare the rankings of FP32 and {label}."
    text = (
        f"On average over {whole['sentences']} sentences, the rankings of the words by FP32 and by "
        f"{label} have a rank correlation of "
    )
    text += f"{whole['rank correlation']:.2f}{_interval(whole, 'low', 'high')} (1: same ranking)."
    if whole["rank correlation"] < whole["noise floor"]:
        text += (
            f" Measured twice, {label} agrees with itself to {whole['noise floor']:.2f}: anything "
            "below that is not noise."
        )
    else:
        text += (
            f" Measured twice, {label} agrees with itself no better "
            f"({whole['noise floor']:.2f}): this is noise."
        )
    if len(each) > 1:
        first, last = each.iloc[0], each.iloc[-1]
        text += (
            f" Lowest: {first['language']} ({first['rank correlation']:.2f}), highest: "
            f"{last['language']} ({last['rank correlation']:.2f})."
        )
    text += (
        f" {100 * whole['same sign, share of words']:.0f} % of a sentence's words keep their sign."
    )
    full, quantized = (
        100 * whole[f"completeness error{end}, share"] for end in (" of FP32", ", quantized")
    )
    return f"{text} Completeness error: FP32 {full:.2g} %, {label} {quantized:.2g} %."


def _interval(row: Any, low: str, high: str) -> str:
    return f" [{row[low]:.2f}, {row[high]:.2f}]" if row[low] == row[low] else ""


def to_page(rows: pd.DataFrame, label: str, theme: Theme, title: str, text: str) -> str:
    """One HTML file that needs no network: the words of a sentence, their title and a paragraph
    above them."""
    ink = INK[theme]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title>'
    )
    style = (
        f"background:{ink.paper};color:{ink.text};font-family:sans-serif;max-width:60rem;margin:2r"
        f"em "
        "auto;padding:0 1rem"
    )
    body = (
        f'<body style="{style}"><h1>{escape(title)}</h1><p>{escape(text)}</p>'
        f"{marked(rows, label, theme)}</body>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head>{body}</html>'

"""Drops over a property of the languages: their share of the pre-training text, or how many pieces
their words are split into.

`fertility` and `text_shares` are the properties, `rank_correlation` says whether the order of the
languages is similar, `against` draws it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.data.lines import spaced
from sdq.evaluate.statistics import p_text
from sdq.figures.axes import value_axis
from sdq.figures.drops import axis_range, first_run, symbols
from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, template
from sdq.labels import language_name, measure, signed
from sdq.models.checkpoint import EMBEDDED
from sdq.settings import ASSETS

UNSPACED = ("ja", "km", "lo", "my", "th", "zh")  # languages written without spaces between words
_SPECIAL = ("<s>", "</s>", "<pad>", "[CLS]", "[SEP]", "[PAD]")
_PHONE = (
    290,
    300,
)  # the plotting area on a phone, pixels; on wider screens the points only move further apart
_SPOTS = {
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top center": (0, 1),
    "bottom center": (0, -1),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}


class Rank(NamedTuple):
    """Spearman's rho, -1..1, its two-sided p, the number of languages, and the |rho| that n
    languages reach by chance 5 times out of 100."""

    rho: float
    p: float
    n: int
    chance: float


def text_shares(model: str) -> dict[str, float]:
    """Language -> share of the subwords read in pre-training, %. Known for the embedded models
    only; empty for others."""
    built = ASSETS / model / "build.json"
    if model not in EMBEDDED or not built.is_file():
        return {}
    counts = json.loads(built.read_text())["subwords_by_language"]
    return {code: 100 * n / sum(counts.values()) for code, n in counts.items()}


def fertility(sample: pd.DataFrame, texts: pd.DataFrame) -> pd.DataFrame:
    """Per language: sentences, subwords, words (by spaces), characters (without spaces), subwords
    per word, subwords per character.

    `sample` is a run's table of the sentences looked at (id, language, tokens), `texts` has their
    id, language and text. Languages written without spaces have no words here: theirs are missing.
    """
    both = sample.merge(texts[["id", "language", "text"]], on=["id", "language"])
    rows = []
    for code, part in both.groupby("language", sort=False):
        subwords = sum(sum(token not in _SPECIAL for token in tokens) for tokens in part["tokens"])
        characters = sum(len("".join(text.split())) for text in part["text"])
        words = (
            float("nan")
            if code in UNSPACED
            else float(sum(len(spaced(text)) for text in part["text"]))
        )
        rows.append(
            (
                code,
                language_name(str(code)),
                len(part),
                subwords,
                words,
                characters,
                subwords / words,
                subwords / characters,
            )
        )
    columns = [
        "code",
        "language",
        "sentences",
        "subwords",
        "words",
        "characters",
        "subwords per word",
        "subwords per character",
    ]
    return pd.DataFrame(rows, columns=columns)


def unspaced_note(table: pd.DataFrame) -> str:
    """Which languages of a fertility table have no words to count by, with their subwords per
    character instead."""
    left = table[table["words"].isna()]
    if left.empty:
        return ""
    parts = " and ".join(
        f"{row['language']} ({row['subwords per character']:.2f})" for _, row in left.iterrows()
    )
    return (
        f"{parts}: subwords per character, because they are written without spaces between words; "
        "they are left out of this figure and of ρ."
    )


def rank_correlation(x: pd.Series, y: pd.Series) -> Rank | None:
    """Spearman's rank correlation; None below four pairs, or if one side is the same everywhere."""
    if len(x) < 4 or x.nunique() < 2 or y.nunique() < 2:
        return None
    from scipy.stats import spearmanr  # a second of import that few pages need
    from scipy.stats import t as student

    test = spearmanr(x, y)
    edge = float(student.ppf(0.975, len(x) - 2))
    return Rank(
        float(test.statistic),
        float(test.pvalue),
        len(x),
        edge / float(np.sqrt(len(x) - 2 + edge**2)),
    )


def points(rows: pd.DataFrame, values: Mapping[str, float], run: str | None = None) -> pd.DataFrame:
    """The drop table of one run with the property as column `x`; languages without it are left
    out."""
    drops = first_run(rows, run)
    drops["x"] = [values.get(code, float("nan")) for code in drops["code"]]
    return drops[drops["x"].notna()].reset_index(drop=True)


def rank_reading(table: pd.DataFrame, what: str) -> str:
    """Whether the drop depends on the property `what`, over the zero-shot languages, in two or
    three sentences."""
    zero = table[~table["labels in training"]]
    rank = rank_correlation(zero["x"], zero["drop"])
    if rank is None:
        return (
            f"The {len(zero)} zero-shot languages shown are too few, or too similar in {what}, to "
            "tell whether their drop depends on it."
        )
    rho = signed(rank.rho, 2)
    text = (
        f"Over the {rank.n} zero-shot languages, {what} and the drop with {table['label'].iloc[0]} "
        "have Spearman's rank correlation "
    )
    text += f"ρ = {rho} ({p_text(rank.p)}, n = {rank.n})."
    if rank.p >= 0.05:
        often = f"anything between −{rank.chance:.2f} and +{rank.chance:.2f}"
        return (
            f"{text} That is not distinguishable from zero: with {rank.n} languages, chance alone "
            f"often gives {often}."
        )
    way = "smaller" if rank.rho < 0 else "larger"
    return (
        f"{text} More {what} goes with a {way} drop here, more clearly than chance alone usually "
        "gives; that does not make it the cause."
    )


def label_places(x: list[float], y: list[float]) -> list[str]:
    """Plotly text positions of two-letter labels at points given in pixels, such that labels keep
    off points, each other and the rim where possible."""
    boxes = [(px - 6, px + 6, py - 6, py + 6) for px, py in zip(x, y, strict=True)]
    places = []
    for px, py in zip(x, y, strict=True):
        best: tuple[int, str, tuple[float, float, float, float]] | None = None
        for name, (right, up) in _SPOTS.items():
            cx, cy = px + 16 * right, py + 14 * up
            box = (cx - 9, cx + 9, cy - 7, cy + 7)
            hits = sum(
                box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in boxes
            )
            hits += box[0] < 0 or box[1] > _PHONE[0] or box[2] < 0 or box[3] > _PHONE[1]
            if best is None or hits < best[0]:
                best = (hits, name, box)
        assert best is not None
        boxes.append(best[2])
        places.append(best[1])
    return places


def _add_group(
    figure: go.Figure, part: pd.DataFrame, title: str, places: list[str], mark: Mark, theme: Theme
) -> None:
    """The languages that are all zero-shot, or all trained on (with an open mark)."""
    ink, trained = INK[theme], bool(part["labels in training"].iloc[0])
    colour = mark.colour(theme)
    figure.add_scatter(
        x=part["x"],
        y=part["drop"],
        mode="markers+text",
        name="trained on (not in ρ)" if trained else "zero-shot",
        text=part["code"],
        textposition=[places[i] for i in part.index],
        textfont={"size": 13, "color": ink.text},
        customdata=[[code] for code in part["code"]],
        hovertext=[
            f"{r.language}<br>{title}: {r.x:.1f}<br>drop {r.drop:.1f} points"
            for r in part[["language", "x", "drop"]].itertuples()
        ],
        hoverinfo="text",
        marker={
            "color": colour,
            "symbol": "circle-open" if trained else mark.symbol,
            "size": 10,
            "line": {"color": colour, "width": 2} if trained else {"color": ink.paper, "width": 1},
        },
        unselected={"marker": {"opacity": 1}, "textfont": {"color": ink.text}},
    )


def against(
    table: pd.DataFrame, metric: str, title: str, theme: Theme = "light", chosen: str | None = None
) -> go.Figure:
    """Drop over a property, one mark per language with its code beside it; the trained-on language
    is open, the language `chosen` ringed.

    `table` is that of `points`, `title` the property with its unit. Each mark carries [language
    code] as customdata.
    """
    ink = INK[theme]
    symbol = next(iter(symbols(table).values()))
    mark = replace(MARKS[table["method"].iloc[0]], symbol=symbol)
    x_range, y_range = axis_range(table["x"]), axis_range(table["drop"])
    px = [_PHONE[0] * (v - x_range[0]) / (x_range[1] - x_range[0]) for v in table["x"]]
    py = [_PHONE[1] * (v - y_range[0]) / (y_range[1] - y_range[0]) for v in table["drop"]]
    places = label_places(px, py)
    figure = go.Figure()
    ringed = table[table["code"] == chosen]
    if len(ringed):
        ring = {"symbol": "circle-open", "size": 22, "color": ink.text, "line": {"width": 2}}
        figure.add_scatter(
            x=ringed["x"],
            y=ringed["drop"],
            mode="markers",
            marker=ring,
            hoverinfo="skip",
            showlegend=False,
        )
    for trained in (False, True):
        part = table[table["labels in training"] == trained]
        if not part.empty:
            _add_group(figure, part, title, places, mark, theme)
    figure.add_hline(y=0, line={"color": ink.text, "width": 1.5}, layer="below")
    figure.update_layout(
        template=template(theme),
        height=400,
        margin={"l": 62, "r": 14, "t": 10, "b": 90},
        showlegend=True,
        legend=LEGEND,
        xaxis=value_axis(title, range=x_range),
        yaxis=value_axis(f"Drop, points of {measure(metric)}", range=y_range),
    )
    return figure

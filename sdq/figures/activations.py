"""The inputs of each layer: values per language, their ranges, and each language's rounding error.

`table` holds the numbers of one layer, `reading` says them in words. Each picture comes as (figure,
table behind it, sentence).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.style import INK, LEGEND, MARKS, Theme, faint, template
from sdq.figures.weights import Picture, error_share, find, label_of
from sdq.labels import language_name
from sdq.results import NO_ERROR_DB

MOST = 4  # languages drawn besides the one with labels
# light, dark, dash: one per language besides the one with labels, which is drawn in the colour of
# the text
_LINES = (
    ("#0072B2", "#56B4E9", "dash"),
    ("#D55E00", "#E69F00", "dot"),
    ("#009E73", "#009E73", "dashdot"),
    ("#CC79A7", "#CC79A7", "longdash"),
)


def modules(activations: pd.DataFrame) -> pd.DataFrame:
    """One row per module, in forward order: module, role, block."""
    return activations.drop_duplicates("module")[["module", "role", "block"]].reset_index(drop=True)


def _of(activations: pd.DataFrame, layer: str) -> pd.DataFrame:
    """The rows of a module, one per language. UserError if there is none."""
    find(modules(activations), layer)
    return activations[activations["module"] == layer].reset_index(drop=True)


def table(activations: pd.DataFrame, layer: str, home: str) -> pd.DataFrame:
    """One row per language: code, language, lowest, highest, span (highest − lowest), span as a
    multiple of that of `home`, SQNR in dB and clipped values in % (NaN where inputs are not
    rounded). `home` is the language with labels; if it is not among them, spans count against their
    median."""
    rows = _of(activations, layer)
    spans = pd.DataFrame(
        {"code": rows["language"], "language": [language_name(code) for code in rows["language"]]}
    )
    spans["lowest"], spans["highest"] = (
        rows["language_low"].astype(float),
        rows["language_high"].astype(float),
    )
    spans["span"] = spans["highest"] - spans["lowest"]
    base = spans.loc[spans["code"] == home, "span"]
    unit = float(base.iloc[0]) if len(base) else float(spans["span"].median())
    spans["times the span of " + (language_name(home) if len(base) else "the median")] = (
        spans["span"] / unit if unit > 0 else math.nan
    )
    spans["SQNR, dB"] = rows["sqnr_db"].astype(float) if "sqnr_db" in rows else math.nan
    spans["clipped, %"] = 100 * rows["clipped"].astype(float) if "clipped" in rows else math.nan
    return spans


def compared(
    activations: pd.DataFrame, layer: str, home: str, wanted: str | None = None
) -> list[str]:
    """The languages worth drawing besides `home`: the one `wanted`, the one of lowest SQNR, and the
    two of widest span; at most MOST, each once."""
    rows = table(activations, layer, home)
    rows = rows[rows["code"] != home]
    first = rows["code"][rows["code"] == wanted]
    worst = rows.dropna(subset=["SQNR, dB"]).nsmallest(1, "SQNR, dB")["code"]
    return list(dict.fromkeys([*first, *worst, *rows.nlargest(2, "span")["code"]]))[:MOST]


def reading(activations: pd.DataFrame, layer: str, home: str) -> str:
    """What flows into this layer and whether languages differ, in two sentences with numbers."""
    rows = table(activations, layer, home)
    label, widest = label_of(_of(activations, layer).iloc[0]), rows.loc[rows["span"].idxmax()]
    text = (
        f"The inputs of {label} range from {rows['lowest'].min():.3g} to "
        f"{rows['highest'].max():.3g}; {widest['language']} has the widest range"
    )
    base = rows[rows["code"] == home]
    if len(base) and widest["code"] != home and base.iloc[0]["span"] > 0:
        text += (
            f", {widest['span'] / base.iloc[0]['span']:.2f} times that of "
            f"{base.iloc[0]['language']}"
        )
    measured = rows.dropna(subset=["SQNR, dB"])
    if measured.empty:
        return f"{text}. These inputs are not rounded in this run."
    worst, best = (
        measured.loc[measured["SQNR, dB"].idxmin()],
        measured.loc[measured["SQNR, dB"].idxmax()],
    )
    if len(measured) == 1 or worst["SQNR, dB"] == best["SQNR, dB"]:
        return (
            f"{text}. After rounding, {'they' if len(measured) == 1 else 'all languages'} have an "
            f"SQNR of {worst['SQNR, dB']:.1f} dB."
        )
    spread = best["SQNR, dB"] - worst["SQNR, dB"]
    return (
        f"{text}. Rounding hurts {worst['language']} most: SQNR {worst['SQNR, dB']:.1f} dB (an "
        f"error of {error_share(worst['SQNR, dB'])} of the values), {spread:.1f} dB below "
        f"{best['language']}, which it hurts least."
    )


def _bounds(row: Any) -> dict[str, tuple[float, float]]:
    """Name -> (low, high) of the ranges the observer chose."""
    if row["bits"] >= 32:
        return {}
    chosen, widest = (row["range_low"], row["range_high"]), (row["widest_low"], row["widest_high"])
    return {"chosen range": chosen, **({"widest range": widest} if widest != chosen else {})}


def _ranges_sentence(row: Any) -> str:
    """Which ranges the observer chose."""
    bounds = _bounds(row)
    if not bounds:
        return "Inputs are not rounded in this run, so no range was chosen."
    (low, high), (bottom, top) = bounds["chosen range"], bounds.get("widest range", (None, None))
    apart = int(row["apart"]) if pd.notna(row.get("apart")) else 0
    without = f", but for {apart} unit{'s that are' if apart > 1 else ' that is'} held apart"
    without = without if apart else ""
    if not row["dynamic"]:
        return f"They share one static range: {low:.3g} to {high:.3g}{without}."
    own = (
        f"Every {'token' if row['granularity'] == 'token' else 'batch'} has its own range: the "
        f"median is {low:.3g} to {high:.3g}"
    )
    own += "" if bottom is None else f", the widest {bottom:.3g} to {top:.3g}"
    return f"{own}{without}."


def _axes(x: str, y: str, **more: Any) -> dict[str, Any]:
    """Layout of a small picture with titled axes."""
    axes: dict[str, Any] = {
        "xaxis": {"title": {"text": x, "standoff": 6}, "nticks": 7, "fixedrange": True},
        "yaxis": {"title": {"text": y}, "fixedrange": True},
    }
    return {
        "margin": {"l": 64, "r": 14, "t": 8, "b": 90},
        "hovermode": "closest",
        "legend": LEGEND,
        **axes,
        **more,
    }


def _shares(rows: pd.DataFrame, codes: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Language -> how often each bin of values occurs, %."""
    counts = {
        code: np.asarray(c, dtype=float)
        for code, c in zip(rows["language"], rows["counts"], strict=True)
        if code in codes
    }
    return {code: 100 * counts[code] / max(1.0, counts[code].sum()) for code in codes}


def _add_languages(
    figure: go.Figure,
    centres: np.ndarray[Any, Any],
    shares: dict[str, np.ndarray[Any, Any]],
    home: str,
    log: bool,
    theme: Theme,
) -> None:
    """A line per language; on a logarithmic axis empty bins are gaps."""
    ink, styles = INK[theme], cycle(_LINES)
    for code, share in shares.items():
        light, dark, dash = (ink.text, ink.text, "solid") if code == home else next(styles)
        figure.add_scatter(
            x=centres,
            y=[s if s > 0 or not log else None for s in share],
            mode="lines",
            line={
                "color": light if theme == "light" else dark,
                "dash": dash,
                "width": 2.5 if code == home else 2,
            },
            name=language_name(code),
            hovertemplate=f"{language_name(code)}<br>%{{x:.3g}}: %{{y:.3g}} %<extra></extra>",
        )


def histogram_picture(
    activations: pd.DataFrame,
    layer: str,
    codes: Sequence[str],
    home: str,
    log: bool = True,
    theme: Theme = "light",
) -> Picture:
    """How often each value flows into the layer, one line per language of `codes`, as a share of
    its values; the observer's ranges as vertical lines."""
    rows = _of(activations, layer)
    codes = [code for code in codes if code in set(rows["language"])] or [rows.iloc[0]["language"]]
    first, shares = rows.iloc[0], _shares(rows, codes)
    bins = len(first["counts"])
    width = (first["high"] - first["low"]) / bins or 1.0
    centres = first["low"] + (np.arange(bins) + 0.5) * width
    named = {language_name(code): share for code, share in shares.items()}
    behind = pd.DataFrame({"from": centres - width / 2, "to": centres + width / 2, **named})
    figure = go.Figure()
    _add_languages(figure, centres, shares, home, log, theme)
    seen = np.concatenate(list(shares.values()))
    top = float(seen.max())
    floor = float(seen[seen > 0].min()) / 2 if log else 0.0
    ceiling = top * 2 if log else top * 1.08
    for (name, ends), dash in zip(_bounds(first).items(), ("longdashdot", "dot"), strict=False):
        figure.add_scatter(
            x=[ends[0], ends[0], None, ends[1], ends[1]],
            y=[floor, ceiling, None, floor, ceiling],
            mode="lines",
            line={"color": INK[theme].quiet, "dash": dash, "width": 2},
            name=name,
            hovertemplate="%{x:.3g}<extra></extra>",
        )
    layout = _axes("Input value", "Share of the values, %", height=400)
    layout["margin"]["b"] = 128
    reach = [math.log10(floor), math.log10(ceiling)] if log else [floor, ceiling]
    layout["yaxis"] |= {"range": reach}
    if log:
        layout["yaxis"] |= {"type": "log", "dtick": 1, "tickformat": "~g"}
    figure.update_layout(template=template(theme), **layout)
    low, high = (f"{first[end]:.3g}" for end in ("low", "high"))
    span = (
        f"all values are {low}" if first["low"] == first["high"] else f"values from {low} to {high}"
    )
    text = f"{label_of(first)}: {span} over all languages. "
    return figure, behind, text + _ranges_sentence(first)


def _add_dots(figure: go.Figure, drawn: pd.DataFrame, home: str, theme: Theme) -> None:
    """A dot and its number per language; the one with labels has a mark of its own."""
    for own, name, symbol in (
        (True, "labels in training", "diamond"),
        (False, "zero-shot", "circle"),
    ):
        part = drawn[(drawn["code"] == home) == own]
        if part.empty:
            continue
        colour = INK[theme].text if own else MARKS["FP32"].colour(theme)
        figure.add_scatter(
            x=part["SQNR, dB"],
            y=part["language"],
            mode="markers+text",
            marker={"symbol": symbol, "size": 11, "color": colour},
            name=name,
            hovertext=[
                f"{r['language']}<br>SQNR {r['SQNR, dB']:.1f} dB, {r['clipped, %']:.2g} % clipped"
                for _, r in part.iterrows()
            ],
            hoverinfo="text",
            text=[f"  {v:.1f}" for v in part["SQNR, dB"]],
            textposition="middle right",
        )


def sqnr_picture(
    activations: pd.DataFrame, layer: str, home: str, theme: Theme = "light"
) -> Picture | None:
    """SQNR of the rounded inputs, one dot per language, lowest first; None where inputs are not
    rounded."""
    rows = (
        table(activations, layer, home)
        .dropna(subset=["SQNR, dB"])
        .sort_values("SQNR, dB", ignore_index=True)
    )
    if rows.empty:
        return None
    drawn = rows[rows["SQNR, dB"] < NO_ERROR_DB]
    values = drawn["SQNR, dB"]
    figure = go.Figure()
    _add_dots(figure, drawn, home, theme)
    layout = _axes("SQNR, dB (higher is better)", "", height=25 * max(3, len(drawn)) + 116)
    layout["margin"]["l"] = 92
    layout["yaxis"] |= {
        "categoryorder": "array",
        "categoryarray": list(drawn["language"]),
        "autorange": "reversed",
    }
    if len(values):
        pad = max(float(values.max() - values.min()), 0.5)
        layout["xaxis"] |= {"range": [values.min() - 0.08 * pad, values.max() + 0.25 * pad]}
    figure.update_layout(template=template(theme), **layout)
    low, high = rows.iloc[0], rows.iloc[-1]
    text = (
        f"SQNR of the rounded inputs, by language: {low['SQNR, dB']:.1f} dB in {low['language']} "
        f"to {high['SQNR, dB']:.1f} dB in {high['language']}"
    )
    text += f", median {rows['SQNR, dB'].median():.1f} dB."
    exact = len(rows) - len(drawn)
    return figure, rows, text + (f" {exact} without any error are not shown." if exact else "")


def position_picture(profiles: pd.DataFrame, layer: str, theme: Theme = "light") -> Picture | None:
    """Smallest and largest input per token position, as a band; None for a layer that sees one
    vector per sentence."""
    row = find(profiles, layer)
    low, high = (
        np.asarray(row["position_low"], dtype=float),
        np.asarray(row["position_high"], dtype=float),
    )
    if not len(low):
        return None
    rows = pd.DataFrame({"position": np.arange(len(low)), "lowest": low, "highest": high})
    blue = MARKS["FP32"].colour(theme)
    figure = go.Figure()
    for name, dash in (("highest", "solid"), ("lowest", "dash")):
        fill = {"fill": "tonexty", "fillcolor": faint(blue, 0.2)} if name == "lowest" else {}
        hover = f"position %{{x}}<br>{name} %{{y:.3g}}<extra></extra>"
        figure.add_scatter(
            x=rows["position"],
            y=rows[name],
            mode="lines",
            line={"color": blue, "width": 2, "dash": dash},
            name=name,
            hovertemplate=hover,
            **fill,
        )
    figure.update_layout(
        template=template(theme),
        **_axes("Token position (0: start of the sentence)", "Input value", height=300),
    )
    span = rows["highest"] - rows["lowest"]
    at, usual = int(span.idxmax()), float(span.median())
    if usual <= 0:
        return figure, rows, f"{label_of(row)}: all inputs are equal at most positions."
    text = (
        f"{label_of(row)}: the range is widest at token position {at}, from {low[at]:.3g} to "
        f"{high[at]:.3g}, "
    )
    text += f"{span[at] / usual:.1f} times the median over {len(rows)} positions."
    return figure, rows, text

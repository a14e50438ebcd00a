"""What each language pays for quantization: drops against FP32 with paired intervals.

sdq.evaluate.drops holds the numbers, `reading` says them in words, `drop_figure` draws them;
sdq.figures.heat shows all of them at once, sdq.figures.ranks over a property of the languages.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.drops import SURE
from sdq.figures.axes import heading, row_axis, segments, shade, value_axis, zero_line
from sdq.figures.curves import SHAPES
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.labels import measure, treatment


def first_run(rows: pd.DataFrame, run: str | None = None) -> pd.DataFrame:
    """The rows of one run of a drop table; of its first run if none is named."""
    return rows[rows["run"] == (run or rows["run"].iloc[0])].reset_index(drop=True)


def reading(rows: pd.DataFrame, metric: str) -> str:
    """What the drops of the first run are, in one to three sentences with their numbers."""
    drops = first_run(rows)
    zero, home = drops[~drops["labels in training"]], drops[drops["labels in training"]]
    has_intervals = bool(drops["low"].notna().all())
    if zero.empty:
        only = drops.iloc[0]
        return (
            f"{treatment(only['width'], only['method'])} costs {only['drop']:.1f} points of "
            f"{measure(metric)} in {only['language']}."
        )
    most, least = zero.iloc[0], zero.iloc[-1]
    bounds = f" (95 % interval {most['low']:.1f} to {most['high']:.1f})" if has_intervals else ""
    setting = treatment(most["width"], most["method"])
    if most["drop"] > 0:
        text = (
            f"{setting} costs {most['language']} most: {most['drop']:.1f} points of "
            f"{measure(metric)}{bounds}"
        )
        other = (
            f"{least['language']} least: {least['drop']:.1f}"
            if least["drop"] >= 0
            else f"{least['language']} nothing: it gains {-least['drop']:.1f}"
        )
        text += f", and {other}." if len(zero) > 1 else "."
    else:
        text = (
            f"{setting} costs no zero-shot language any {measure(metric)}; {most['language']} "
            f"gains least, {-most['drop']:.1f} points."
        )
    if len(home):
        text += (
            f" {home.iloc[0]['language']}, which it was trained on, loses "
            f"{home.iloc[0]['drop']:.1f}."
        )
    if has_intervals:
        sure = int(((zero["p_holm"] < SURE) & (zero["drop"] > 0)).sum())
        text += (
            f" In {sure} of the {len(zero)} zero-shot languages the drop is larger than chance "
            f"would give (p < {SURE} after Holm's correction for {len(drops)} languages)."
        )
    return text


def sentence_count(rows: pd.DataFrame) -> str:
    """n per language in words; empty if it is not known."""
    counts = sorted(set(rows["sentences"].dropna()))
    if not counts:
        return ""
    return (
        f"n = {counts[0]} test sentences per language"
        if len(counts) == 1
        else f"n = {counts[0]} to {counts[-1]} test sentences per language"
    )


def symbols(rows: pd.DataFrame) -> dict[str, str]:
    """Run id -> marker symbol: the method's; a second run of the same method gets it open."""
    seen: dict[str, int] = {}
    by_run = {}
    for run, method in rows[["run", "method"]].drop_duplicates().itertuples(index=False):
        by_run[str(run)] = MARKS[method].symbol + SHAPES[seen.get(method, 0) % len(SHAPES)]
        seen[method] = seen.get(method, 0) + 1
    return by_run


def axis_range(values: pd.Series) -> list[float]:
    """Axis range that holds all values and zero, with a margin."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    pad = 0.06 * (high - low) or 1.0
    return [low - pad, high + pad]


def _legend_lines(labels: pd.Series) -> int:
    """How many lines a legend below the plot takes on a phone (370 px)."""
    names = list(labels.drop_duplicates())
    return math.ceil(len(names) / max(1, 370 // (44 + 7 * max(map(len, names)))))


def _heights(drops: pd.DataFrame) -> dict[str, float]:
    """Language code -> height of its row: the trained-on one apart, below all others."""
    zero = int((~drops["labels in training"]).sum())
    return {code: i + (1.4 if i >= zero else 0.0) for i, code in enumerate(drops["code"])}


def _headings(drops: pd.DataFrame, at: dict[str, float], theme: Theme) -> list[dict[str, Any]]:
    """The headings of the zero-shot languages and of the trained-on one."""
    codes, zero = list(drops["code"]), int((~drops["labels in training"]).sum())
    first = f"Zero-shot, largest {drops['label'].iloc[0]} drop first"
    headings = [heading(first, -0.95, -98, theme)] if zero else []
    if zero < len(codes):
        headings.append(heading("Trained on", at[codes[zero]] - 0.9, -98, theme))
    return headings


def add_run(
    figure: go.Figure, drops: pd.DataFrame, y: list[float], symbol: str, theme: Theme
) -> None:
    """One run: its marks, and its intervals as lines in the dash of its method."""
    mark = MARKS[drops["method"].iloc[0]]
    colour = mark.colour(theme)
    if drops["low"].notna().any():
        figure.add_scatter(
            x=segments(drops["low"], drops["high"]),
            y=segments(y, y),
            mode="lines",
            line={"color": colour, "width": 2, "dash": mark.dash},
            hoverinfo="skip",
            showlegend=False,
        )
    hover = []
    for row in drops.itertuples():
        bounds = (
            ""
            if pd.isna(row.low)
            else f"<br>95 % interval {row.low:.1f} to {row.high:.1f}, n = {row.sentences}"
        )
        hover.append(
            f"{row.language} · {row.label}<br>drop {row.drop:.1f} points ({row.FP32:.1f} → "
            f"{row.score:.1f} %){bounds}"
        )
    line = (
        {"color": colour, "width": 2}
        if "open" in symbol
        else {"color": INK[theme].paper, "width": 1}
    )
    figure.add_scatter(
        x=drops["drop"],
        y=y,
        mode="markers",
        name=drops["label"].iloc[0],
        customdata=[[code] for code in drops["code"]],
        hovertext=hover,
        hoverinfo="text",
        marker={"color": colour, "symbol": symbol, "size": 10, "line": line},
        unselected={"marker": {"opacity": 1}},
    )


def drop_figure(
    rows: pd.DataFrame, metric: str, theme: Theme = "light", chosen: str | None = None
) -> go.Figure:
    """One row per language, one mark per run with its paired 95 % interval, zero drop as a line;
    the language `chosen` is shaded.

    Each mark carries [language code] as customdata.
    """
    first = first_run(rows)
    at, shapes = _heights(first), symbols(rows)
    runs = list(rows["run"].drop_duplicates())
    figure = go.Figure()
    for lane, run in enumerate(runs):
        part = first_run(rows, run)
        lift = (lane - (len(runs) - 1) / 2) * 0.72 / len(runs)
        add_run(figure, part, [at[code] + lift for code in part["code"]], shapes[run], theme)
    bands = [shade(at[chosen], theme)] if chosen in at else []
    seen = pd.concat([rows["drop"], rows["low"].dropna(), rows["high"].dropna()])
    bottom, lines = max(at.values()) + 0.6, _legend_lines(rows["label"])
    figure.update_layout(
        template=template(theme),
        height=int((24 + 4 * max(0, len(runs) - 3)) * (bottom + 1.5)) + 64 + 20 * lines,
        margin={"l": 100, "r": 14, "t": 8, "b": 56 + 20 * lines},
        annotations=_headings(first, at, theme),
        shapes=[*bands, zero_line(theme)],
        showlegend=True,
        legend=LEGEND,
        xaxis=value_axis(f"Drop against FP32, points of {measure(metric)}", range=axis_range(seen)),
        yaxis=row_axis(list(at.values()), list(first["language"]), bottom, -1.5),
    )
    return figure

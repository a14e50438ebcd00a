"""What each language pays for quantization: drops against FP32 with paired intervals, what they go
along with, and all of them at once.

`drop_table` holds the numbers, `reading` says them in words, `drop_figure` and `heat` draw them;
`against`, which draws them over a property of the languages, is in sdq.figures.ranks.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.drops import SURE
from sdq.figures.curves import SHAPES
from sdq.figures.style import INK, LEGEND, MARKS, Theme, mixed, template
from sdq.labels import language_name, measure

Cells = Literal["score", "drop"]


def first_run(rows: pd.DataFrame, run: str | None = None) -> pd.DataFrame:
    """The rows of one run of a drop table; of its first run if none is named."""
    return rows[rows["run"] == (run or rows["run"].iloc[0])].reset_index(drop=True)


def reading(rows: pd.DataFrame, metric: str) -> str:
    """What the drops of the first run are, in one to three sentences with their numbers."""
    mine = first_run(rows)
    zero, home = mine[~mine["labels in training"]], mine[mine["labels in training"]]
    known = bool(mine["low"].notna().all())
    if zero.empty:
        only = mine.iloc[0]
        return (
            f"{only['width']} by {only['method']} costs {only['drop']:.1f} points of "
            f"{measure(metric)} in {only['language']}."
        )
    most, least = zero.iloc[0], zero.iloc[-1]
    bounds = f" (95 % interval {most['low']:.1f} to {most['high']:.1f})" if known else ""
    setting = f"{most['width']} by {most['method']}"
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
    if known:
        sure = int(((zero["p_holm"] < SURE) & (zero["drop"] > 0)).sum())
        text += (
            f" In {sure} of the {len(zero)} zero-shot languages the drop is more than chance would "
            f"give (p < {SURE} after Holm's correction for {len(mine)} languages)."
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


def heat_reading(rows: pd.DataFrame, cells: Cells, metric: str) -> str:
    """The worst cell of the heat map and the zero-shot mean of each run."""
    zero = rows[~rows["labels in training"]]
    if zero.empty:
        zero = rows
    worst = rows.loc[rows["drop"].idxmax() if cells == "drop" else rows["score"].idxmin()]
    means = zero.groupby("label", sort=False)[cells].mean()
    parts = [f"{label} {value:.1f}" for label, value in means.items()]
    if cells == "score":
        parts.insert(0, f"FP32 {first_run(zero)['FP32'].mean():.1f}")
        return (
            f"Lowest {measure(metric)}: {worst['language']} with {worst['label']}, "
            f"{worst['score']:.1f} %. Zero-shot means in %: {', '.join(parts)}."
        )
    text = (
        f"Largest drop: {worst['language']} with {worst['label']}, {worst['drop']:.1f} points of "
        f"{measure(metric)}."
    )
    return f"{text} Zero-shot means in points: {', '.join(parts)}."


def symbols(rows: pd.DataFrame) -> dict[str, str]:
    """Run id -> marker symbol: the method's; a second run of the same method gets it open."""
    seen: dict[str, int] = {}
    found = {}
    for run, method in rows[["run", "method"]].drop_duplicates().itertuples(index=False):
        found[str(run)] = MARKS[method].symbol + SHAPES[seen.get(method, 0) % len(SHAPES)]
        seen[method] = seen.get(method, 0) + 1
    return found


def axis_range(values: pd.Series) -> list[float]:
    """Axis range that holds all values and zero, with a margin."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    pad = 0.06 * (high - low) or 1.0
    return [low - pad, high + pad]


def _legend_lines(labels: pd.Series) -> int:
    """How many lines a legend below the plot takes on a phone (370 px)."""
    names = list(labels.drop_duplicates())
    return math.ceil(len(names) / max(1, 370 // (44 + 7 * max(map(len, names)))))


def _heading(text: str, y: float, theme: Theme) -> dict[str, Any]:
    font = {"size": 13, "color": INK[theme].quiet}
    return {
        "text": f"<b>{text}</b>",
        "x": 0,
        "xref": "paper",
        "xshift": -98,
        "xanchor": "left",
        "y": y,
        "showarrow": False,
        "font": font,
    }


def add_run(
    figure: go.Figure, mine: pd.DataFrame, y: list[float], symbol: str, theme: Theme
) -> None:
    """One run: its marks, and its intervals as lines in the dash of its method."""
    mark = MARKS[mine["method"].iloc[0]]
    colour = mark.colour(theme)
    if mine["low"].notna().any():
        x_bars = [
            v
            for low, high in zip(mine["low"], mine["high"], strict=True)
            for v in (low, high, None)
        ]
        y_bars = [v for height in y for v in (height, height, None)]
        figure.add_scatter(
            x=x_bars,
            y=y_bars,
            mode="lines",
            line={"color": colour, "width": 2, "dash": mark.dash},
            hoverinfo="skip",
            showlegend=False,
        )
    hover = []
    for row in mine.itertuples():
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
        x=mine["drop"],
        y=y,
        mode="markers",
        name=mine["label"].iloc[0],
        customdata=[[code] for code in mine["code"]],
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
    ink, mine = INK[theme], first_run(rows)
    seen = pd.concat([rows["drop"], rows["low"].dropna(), rows["high"].dropna()])
    codes, zero = list(mine["code"]), int((~mine["labels in training"]).sum())
    at = {code: i + (1.4 if i >= zero else 0.0) for i, code in enumerate(codes)}
    runs = list(rows["run"].drop_duplicates())
    shapes = symbols(rows)
    figure = go.Figure()
    for lane, run in enumerate(runs):
        part = first_run(rows, run)
        add_run(
            figure,
            part,
            [at[code] + (lane - (len(runs) - 1) / 2) * 0.72 / len(runs) for code in part["code"]],
            shapes[run],
            theme,
        )
    headings = (
        [_heading(f"Zero-shot, largest {mine['label'].iloc[0]} drop first", -0.95, theme)]
        if zero
        else []
    )
    if zero < len(codes):
        headings.append(_heading("Trained on", at[codes[zero]] - 0.9, theme))
    band = {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "fillcolor": ink.grid,
        "line": {"width": 0},
        "layer": "below",
    }
    bands = [{**band, "y0": at[chosen] - 0.5, "y1": at[chosen] + 0.5}] if chosen in at else []
    nought = {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": ink.text, "width": 1.5},
        "layer": "below",
    }
    bottom, lines = at[codes[-1]] + 0.6, _legend_lines(rows["label"])
    figure.update_layout(
        template=template(theme),
        height=int((24 + 4 * max(0, len(runs) - 3)) * (bottom + 1.5)) + 64 + 20 * lines,
        margin={"l": 100, "r": 14, "t": 8, "b": 56 + 20 * lines},
        annotations=headings,
        shapes=[*bands, nought],
        showlegend=True,
        legend=LEGEND,
        xaxis={
            "title": {"text": f"Drop against FP32, points of {measure(metric)}", "standoff": 6},
            "range": axis_range(seen),
            "fixedrange": True,
        },
        yaxis={
            "range": [bottom, -1.5],
            "tickvals": list(at.values()),
            "ticktext": list(mine["language"]),
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure


def wide_table(rows: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """Languages x runs: language, then one column per run's label; for scores FP32 comes first."""
    mine = first_run(rows)
    wide = (
        rows.pivot(index="code", columns="label", values=cells)
        .loc[list(mine["code"]), list(rows["label"].drop_duplicates())]
        .reset_index(drop=True)
    )
    if cells == "score":
        wide.insert(0, "FP32", mine["FP32"])
    wide.insert(0, "language", mine["language"])
    wide.columns.name = None
    return wide


def _ink(ends: list[str], share: float) -> str:
    """Colour of the text on a cell whose own colour lies at `share` (0 to 1) of a scale through
    evenly spaced colours."""
    place = share * (len(ends) - 1)
    left = min(int(place), len(ends) - 2)
    return mixed(ends[left], ends[left + 1], place - left)[1]


def heat(
    rows: pd.DataFrame, cells: Cells, metric: str, theme: Theme = "light", chosen: str | None = None
) -> go.Figure:
    """Languages x runs with the number in each cell: the score in % (FP32 in the first column) or
    the drop in points.

    The deeper the orange, the worse: low scores, large drops. Cells below zero (gains) are blue in
    the drop view.
    """
    ink, mine = INK[theme], first_run(rows)
    codes, zero = list(mine["code"]), int((~mine["labels in training"]).sum())
    wide = wide_table(rows, cells).drop(columns="language")
    loss, gain = MARKS["PTQ"].colour(theme), MARKS["FP32"].colour(theme)
    edge = float(wide.abs().to_numpy().max()) or 1.0
    ends = [loss, ink.paper] if cells == "score" else [gain, ink.paper, loss]
    scale = [[i / (len(ends) - 1), colour] for i, colour in enumerate(ends)]
    bounds = (
        {"zmin": float(wide.to_numpy().min()), "zmax": 100.0}
        if cells == "score"
        else {"zmin": -edge, "zmax": edge}
    )
    unit = f"% {measure(metric)}" if cells == "score" else f"points of {measure(metric)}"
    names = [
        f"{name} (trained)" if trained else f"<b>{name}</b>" if code == chosen else name
        for code, name, trained in zip(
            codes, mine["language"], mine["labels in training"], strict=True
        )
    ]
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(),
            x=list(range(len(wide.columns))),
            y=list(range(len(codes))),
            colorscale=scale,
            showscale=False,
            xgap=2,
            ygap=2,
            customdata=[
                [f"{language_name(code)} · {label}" for label in wide.columns] for code in codes
            ],
            hovertemplate="%{customdata}<br>%{z:.1f} " + unit + "<extra></extra>",
            **bounds,
        )
    )
    for column, label in enumerate(
        wide.columns
    ):  # plotly's own choice of colour for the numbers is hard to read on orange
        inks = [
            _ink(ends, (z - bounds["zmin"]) / ((bounds["zmax"] - bounds["zmin"]) or 1))
            for z in wide[label]
        ]
        figure.add_scatter(
            x=[column] * len(codes),
            y=list(range(len(codes))),
            text=[f"{z:.1f}" for z in wide[label]],
            mode="text",
            textfont={"color": inks},
            hoverinfo="skip",
            showlegend=False,
        )
    heads = [str(label).replace(" ", "<br>") for label in wide.columns]
    long = max(len(part) for head in heads for part in head.split("<br>")) > 8
    top = 140 if long else 16 + 16 * max(len(head.split("<br>")) for head in heads)
    rule = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": zero - 0.5,
        "y1": zero - 0.5,
        "line": {"color": ink.text, "width": 1.5},
    }
    figure.update_layout(
        template=template(theme),
        height=26 * len(codes) + top + 10,
        margin={"l": 118, "r": 14, "t": top, "b": 10},
        shapes=[rule] if 0 < zero < len(codes) else [],
        xaxis={
            "side": "top",
            "range": [-0.5, len(heads) - 0.5],
            "tickvals": list(range(len(heads))),
            "ticktext": heads,
            "tickangle": -60 if long else 0,
            "showgrid": False,
            "fixedrange": True,
        },
        yaxis={
            "range": [len(codes) - 0.5, -0.5],
            "tickvals": list(range(len(codes))),
            "ticktext": names,
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure

"""How many test sentences it takes: each language's drop with the interval that more or fewer
sentences would give it.

`needed` is the table, `at` the intervals at another number of sentences, `reading` says it in
words, `figure` draws it. More sentences are taken to be more of the same kind: as many of a frame,
as often flipped.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import axis_title, row_axis, segments, value_axis, zero_line
from sdq.figures.drops import axis_range, first_run
from sdq.figures.style import INK, MARKS, Theme, template
from sdq.labels import measure

STEPS = (25, 50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 5000, 10_000)


def needed(rows: pd.DataFrame, run: str | None = None) -> pd.DataFrame:
    """Of one run of a drop table (sdq.figures.drops; with intervals), languages by falling drop:
    code, language, drop, low, high, sentences (as tested), detectable (the smallest drop they show
    4 times out of 5, points), and `needed`, how many would show this drop 4 times out of 5.

    Raises ValueError for a table without intervals.
    """
    drops = first_run(rows, run)
    if drops["low"].isna().any():
        raise ValueError(
            "the drop table must have intervals, it has none; give it the sentences of the FP32 run"
        )
    drop = drops["drop"].abs().to_numpy()
    with np.errstate(divide="ignore"):
        drops["needed"] = np.ceil(
            drops["sentences"].to_numpy(float) * (drops["detectable"].to_numpy() / drop) ** 2
        )
    kept = [
        "code",
        "language",
        "label",
        "method",
        "width",
        "labels in training",
        "drop",
        "low",
        "high",
        "sentences",
        "detectable",
        "needed",
    ]
    return drops.sort_values("drop", ascending=False, ignore_index=True)[kept]


def at(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """The bounds that n sentences per language would give, by the square root of n: low, high, and
    whether they exclude zero."""
    wider = np.sqrt(table["sentences"].to_numpy(float) / n)
    low, high = (
        table["drop"] + (table[bound] - table["drop"]) * wider for bound in ("low", "high")
    )
    return pd.DataFrame({"low": low, "high": high, "told": (low > 0) | (high < 0)})


def steps(table: pd.DataFrame) -> list[int]:
    """Where a slider on their number stops: STEPS, and the number of sentences there are."""
    return sorted({*STEPS, int(table["sentences"].max())})


def _count(n: float) -> str:
    return "infinitely many" if math.isinf(n) else "over a million" if n > 1e6 else f"{n:,.0f}"


def reading(table: pd.DataFrame) -> str:
    """In how many languages the interval excludes zero, and how many sentences the others would
    take."""
    n, bounds = int(table["sentences"].max()), at(table, int(table["sentences"].max()))
    text = (
        f"With {n:,} test sentences per language, the interval excludes zero in "
        f"{int(bounds['told'].sum())} of {len(table)} languages. "
    )
    least, most = table.loc[table["needed"].idxmin()], table.loc[table["needed"].idxmax()]
    text += (
        f"Detecting the drop of {least['language']} ({least['drop']:.1f} points) 4 times out of 5 "
        f"takes {_count(least['needed'])} sentences"
    )
    if len(table) > 1:
        text += f", that of {most['language']} ({most['drop']:.1f} points) {_count(most['needed'])}"
    return (
        f"{text}. With 100 per language, the interval would exclude zero in "
        f"{int(at(table, 100)['told'].sum())} of {len(table)}."
    )


def figure(
    table: pd.DataFrame, metric: str, n: int | None = None, theme: Theme = "light"
) -> go.Figure:
    """One row per language: its drop with the interval at n sentences (as tested, if not given);
    filled where the interval excludes zero, else open."""
    tested = int(table["sentences"].max())
    n = n or tested
    bounds, widest = at(table, n), at(table, min(100, n))
    drawn = go.Figure()
    _add_drops(drawn, table, bounds, n, theme)
    said = (
        f"<b>n = {n:,}</b>{' (as tested)' if n == tested else ''}: {int(bounds['told'].sum())} of "
        f"{len(table)} exclude zero"
    )
    font = {"size": 13, "color": INK[theme].text}
    drawn.update_layout(
        template=template(theme),
        height=24 * len(table) + 100,
        margin={"l": 100, "r": 14, "t": 40, "b": 44},
        annotations=[axis_title(said, -98, 8, 13, theme) | {"font": font, "align": "left"}],
        shapes=[zero_line(theme)],
        xaxis=value_axis(
            f"Drop against FP32, points of {measure(metric)}",
            range=axis_range(pd.concat([widest["low"], widest["high"]])),
        ),
        yaxis=row_axis(
            [float(i) for i in range(len(table))], list(table["language"]), len(table) - 0.4
        ),
    )
    return drawn


def _add_drops(
    drawn: go.Figure, table: pd.DataFrame, bounds: pd.DataFrame, n: int, theme: Theme
) -> None:
    """The drops with their `bounds` at n sentences, open where they could be noise."""
    mark, y = MARKS[table["method"].iloc[0]], [float(i) for i in range(len(table))]
    colour = mark.colour(theme)
    drawn.add_scatter(
        x=segments(bounds["low"], bounds["high"]),
        y=segments(y, y),
        mode="lines",
        line={"color": colour, "width": 2, "dash": mark.dash},
        hoverinfo="skip",
        showlegend=False,
    )
    hover = [
        f"{name}: drop {drop:.1f} points<br>95 % interval at n = {n:,}: {low:.1f} to "
        f"{high:.1f}<br>{'excludes zero' if clear else 'could be noise'}"
        for name, drop, low, high, clear in zip(
            table["language"],
            table["drop"],
            bounds["low"],
            bounds["high"],
            bounds["told"],
            strict=True,
        )
    ]
    drawn.add_scatter(
        x=table["drop"].tolist(),
        y=y,
        mode="markers",
        hovertext=hover,
        hoverinfo="text",
        showlegend=False,
        marker={
            "color": colour,
            "symbol": [mark.symbol if clear else f"{mark.symbol}-open" for clear in bounds["told"]],
            "size": 11,
            "line": {"color": colour, "width": 2},
        },
    )

"""Which answers become which when the model is quantized, label by label."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import row_axis
from sdq.figures.style import INK, MARKS, Theme, mixed, template
from sdq.figures.weights import Picture

OTHERS = "others"
_MOST = 14  # answers that a matrix shows
_SIDE = 26  # pixels of a cell
# answers to the documents of a query; other labels may have a space in them
_RANKED = re.compile(r"\d{1,2}( \d{1,2})*")


def positions(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per answer: id, language, FP32 (label of FP32), now (label of the quantized run). A
    word has an answer of its own where words have tags."""
    rows = [
        (row.id, row.language, before, now)
        for row in pairs.rename(columns={"FP32 answer": "before"})[
            ["id", "language", "words", "before", "answer"]
        ].itertuples()
        for before, now in (
            zip(row.before.split(" "), row.answer.split(" "), strict=False)
            if row.words or _RANKED.fullmatch(row.before)
            else [(row.before, row.answer)]
        )
    ]
    return pd.DataFrame(rows, columns=["id", "language", "FP32", "now"])


def matrix(answers: pd.DataFrame) -> pd.DataFrame:
    """Disagreement matrix of `positions`, most frequent change first, then what did not change: one
    row per pair of labels that occurs.

    FP32, now, count, share (of FP32's answers of that label, 0..1).
    """
    cells = answers.groupby(["FP32", "now"], sort=True).size().rename("count").reset_index()
    cells["share"] = cells["count"] / cells.groupby("FP32")["count"].transform("sum")
    order = (cells["FP32"] == cells["now"]).map({True: 1, False: 0})
    return (
        cells.assign(same=order)
        .sort_values(["same", "count"], ascending=[True, False], kind="stable", ignore_index=True)
        .drop(columns="same")
    )


def shown_labels(cells: pd.DataFrame) -> list[str]:
    """The labels a matrix shows, in alphabetical order: the _MOST that take part in most changes;
    all others are OTHERS, at the end."""
    apart = cells[cells["FP32"] != cells["now"]]
    total = (
        apart.groupby("FP32")["count"]
        .sum()
        .add(apart.groupby("now")["count"].sum(), fill_value=0)
        .sort_values(ascending=False, kind="stable")
    )
    named = sorted(total.index[:_MOST])
    return named + ([OTHERS] if set(cells["FP32"]) | set(cells["now"]) != set(named) else [])


def matrix_picture(
    cells: pd.DataFrame, label: str, theme: Theme = "light", chosen: tuple[str, str] | None = None
) -> Picture:
    """FP32's answer down, that of the run `label` across, the number of changes in each cell; each
    cell carries [FP32, now] as customdata.

    What did not change, on the diagonal, is grey and not counted. The cell `chosen` is outlined.
    """
    names = shown_labels(cells)
    figure = go.Figure()
    _add_cells(figure, _grid(cells, names), names, theme)
    box: list[dict[str, Any]] = []
    if chosen is not None and set(chosen) <= set(names):
        x, y = names.index(chosen[1]), names.index(chosen[0])
        box = [
            {
                "type": "rect",
                "x0": x - 0.5,
                "x1": x + 0.5,
                "y0": y - 0.5,
                "y1": y + 0.5,
                "line": {"color": INK[theme].text, "width": 3},
            }
        ]
    end, at, font = len(names) - 0.5, list(range(len(names))), {"size": 11}
    figure.update_layout(
        template=template(theme),
        shapes=box,
        height=_SIDE * len(names) + 150,
        margin={"l": 118, "r": 8, "t": 130, "b": 8},
        hovermode="closest",
        xaxis=row_axis(at, names, -0.5, end, side="top", tickangle=-90, tickfont=font),
        yaxis=row_axis(at, names, end, -0.5, tickfont=font),
    )
    return figure, cells, matrix_reading(cells, label)


def _grid(cells: pd.DataFrame, names: list[str]) -> list[tuple[str, str, int]]:
    """(FP32, now, number of changes) of every cell shown, with the labels not shown folded into
    OTHERS."""
    folded = cells.assign(
        **{
            side: [name if name in names else OTHERS for name in cells[side]]
            for side in ("FP32", "now")
        }
    )
    counts = folded[cells["FP32"] != cells["now"]].groupby(["FP32", "now"])["count"].sum()
    return [(before, now, int(counts.get((before, now), 0))) for before in names for now in names]


def _add_cells(
    figure: go.Figure, grid: list[tuple[str, str, int]], names: list[str], theme: Theme
) -> None:
    """The cells as bars one wide, which carry what they are when clicked; a heat map does not."""
    ink, most = INK[theme], max((n for *_, n in grid), default=0) or 1
    paints = [
        (ink.grid, ink.quiet)
        if before == now and before != OTHERS
        else mixed(ink.paper, MARKS["PTQ"].colour(theme), (n / most) ** 0.5)
        for before, now, n in grid
    ]
    figure.add_bar(
        y=[names.index(before) for before, _, _ in grid],
        base=[names.index(now) - 0.5 for _, now, _ in grid],
        x=[1.0] * len(grid),
        width=1.0,
        orientation="h",
        customdata=[[before, now] for before, now, _ in grid],
        marker={"color": [cell for cell, _ in paints], "line": {"color": ink.paper, "width": 1}},
        text=[str(n) if n else "" for *_, n in grid],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"color": [font for _, font in paints], "size": 11},
        hoverinfo="text",
        showlegend=False,
        hovertext=[
            f"{before} → {now}<br>{n:,} answers" if before != now else f"{before}: unchanged"
            for before, now, n in grid
        ],
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def matrix_reading(cells: pd.DataFrame, label: str) -> str:
    """How many answers change, and the most frequent change."""
    apart, total = cells[cells["FP32"] != cells["now"]], int(cells["count"].sum())
    n = int(apart["count"].sum())
    if not n:
        return f"{label} gives the same {total:,} answers as FP32."
    first = apart.iloc[0]
    text = (
        f"{label} disagrees with FP32 in {n:,} of {total:,} answers ({100 * n / total:.1f} %). The "
        f"most frequent change is {first['FP32']} → {first['now']} "
    )
    text += (
        f"({first['count']:,} times, {100 * first['share']:.1f} % of what FP32 calls "
        f"{first['FP32']})."
    )
    back = apart[(apart["FP32"] == first["now"]) & (apart["now"] == first["FP32"])]["count"]
    return text + f" The reverse change: {int(back.iloc[0]) if len(back) else 0:,} times."

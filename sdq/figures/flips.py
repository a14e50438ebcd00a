"""Which answers change when the model is quantized: into which, in which languages, and how sure
FP32 was of them.

All of it is counted from the pairs of answers that sdq.figures.examples.pair makes of two stored
runs. Each picture is (figure, table behind it, sentence). An answer is changed if it is another one
than that of FP32, right or wrong; for tasks with a tag per word a sentence's answer is all of its
tags. Which module alone changes a sentence is drawn by sdq.figures.alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.style import INK, LEGEND, MARKS, Mark, Theme, faint, mixed, template
from sdq.figures.weights import Picture
from sdq.labels import language_name

KINDS = ("lost", "gained", "one wrong answer for another")
OTHERS = "others"
POOLED = "all runs"
_MOST = 14  # answers that a matrix shows
_BINS = 8
_RANKED = re.compile(
    r"\d{1,2}( \d{1,2})*"
)  # answers to the documents of a query; other labels may have a space in them
_NORMAL = 1.959964  # 97.5 % of a normal distribution lie below
_SIDE = 26  # pixels of a cell
_ROW = 24


def changed(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose answer is another one than that of FP32, with a column `kind`, one of KINDS;
    the least sure of FP32's answers first."""
    found = pairs[pairs["FP32 answer"] != pairs["answer"]]
    kind = found["group"].where(found["group"].isin(KINDS[:2]), KINDS[2])
    return found.assign(kind=kind).sort_values(
        "FP32 margin", key=lambda margin: margin.abs(), ignore_index=True
    )


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
    found = answers.groupby(["FP32", "now"], sort=True).size().rename("count").reset_index()
    found["share"] = found["count"] / found.groupby("FP32")["count"].transform("sum")
    order = (found["FP32"] == found["now"]).map({True: 1, False: 0})
    return (
        found.assign(same=order)
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
    names, ink = shown_labels(cells), INK[theme]
    fold = {name: name for name in names}
    small = cells.assign(
        **{side: [fold.get(name, OTHERS) for name in cells[side]] for side in ("FP32", "now")}
    )
    counts = small[cells["FP32"] != cells["now"]].groupby(["FP32", "now"])["count"].sum()
    most = int(counts.max()) if len(counts) else 1
    grid = [(before, now, int(counts.get((before, now), 0))) for before in names for now in names]
    paints = [
        (ink.grid, ink.quiet)
        if before == now and before != OTHERS
        else mixed(ink.paper, MARKS["PTQ"].colour(theme), (n / most) ** 0.5)
        for before, now, n in grid
    ]
    figure = go.Figure()
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
                "line": {"color": ink.text, "width": 3},
            }
        ]
    end = len(names) - 0.5
    figure.update_layout(
        template=template(theme),
        shapes=box,
        height=_SIDE * len(names) + 150,
        margin={"l": 118, "r": 8, "t": 130, "b": 8},
        hovermode="closest",
        xaxis={
            "side": "top",
            "range": [-0.5, end],
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "tickangle": -90,
            "showgrid": False,
            "fixedrange": True,
            "tickfont": {"size": 11},
        },
        yaxis={
            "range": [end, -0.5],
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "showgrid": False,
            "fixedrange": True,
            "tickfont": {"size": 11},
        },
    )
    return figure, cells, matrix_reading(cells, label)


def matrix_reading(cells: pd.DataFrame, label: str) -> str:
    """How many answers change, and the most frequent change."""
    apart, total = cells[cells["FP32"] != cells["now"]], int(cells["count"].sum())
    n = int(apart["count"].sum())
    if not n:
        return f"{label} gives all {total:,} answers that FP32 gives."
    first = apart.iloc[0]
    text = (
        f"{label} gives another answer than FP32 in {n:,} of {total:,} cases "
        f"({100 * n / total:.1f} %). Most often {first['FP32']} becomes {first['now']} "
    )
    text += (
        f"({first['count']:,} times, {100 * first['share']:.1f} % of what FP32 calls "
        f"{first['FP32']})."
    )
    back = apart[(apart["FP32"] == first["now"]) & (apart["now"] == first["FP32"])]["count"]
    return text + f" The other way round: {int(back.iloc[0]) if len(back) else 0:,} times."


# --- by language


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share k / n, 0..1 (Wilson 1927); NaN for n = 0."""
    if not n:
        return float("nan"), float("nan")
    z, p = _NORMAL, k / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float(max(0.0, (middle - half) / (1 + z * z / n))), float(
        min(1.0, (middle + half) / (1 + z * z / n))
    )


def language_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per language, most changes first: sentences, changed, the counts of KINDS, changed in
    % with its 95 % interval (Wilson)."""
    found, rows = changed(pairs), []
    for code, part in pairs.groupby("language", sort=False):
        kinds = found[found["language"] == code]["kind"].value_counts()
        each = {kind: int(kinds.get(kind, 0)) for kind in KINDS}
        n, k = len(part), sum(each.values())
        low, high = wilson(k, n)
        rows.append(
            {
                "language": language_name(str(code)),
                "code": code,
                "sentences": n,
                "changed": k,
                **each,
                "changed, %": 100 * k / n,
                "low": 100 * low,
                "high": 100 * high,
            }
        )
    return pd.DataFrame(rows).sort_values(
        "changed, %", ascending=False, kind="stable", ignore_index=True
    )


def language_picture(
    pairs: pd.DataFrame,
    label: str,
    theme: Theme = "light",
    chosen: str | None = None,
    floor: float | None = None,
) -> Picture:
    """A bar per language: the share of its sentences that lose a right answer, gain one, or change
    from one wrong answer to another.

    The line at a bar's end is the interval of all three together, the upright one the noise `floor`
    (share, 0..1; see `floor_of`). Each bar carries [language code] as customdata; `chosen` is
    written bold.
    """
    rows, ink = language_table(pairs), INK[theme]
    y = list(range(len(rows)))
    looks = {
        KINDS[0]: (MARKS["PTQ"], ""),
        KINDS[1]: (MARKS["SDQ"], "/"),
        KINDS[2]: (MARKS["FP32"], "."),
    }
    figure = go.Figure()
    for kind, (mark, shape) in looks.items():
        colour = mark.colour(theme)
        pattern = (
            {"shape": shape, "bgcolor": ink.paper, "fgcolor": colour, "solidity": 0.4, "size": 6}
            if shape
            else {"shape": ""}
        )
        figure.add_bar(
            x=100 * rows[kind] / rows["sentences"],
            y=y,
            orientation="h",
            name=kind,
            customdata=[[code] for code in rows["code"]],
            marker={"color": colour, "pattern": pattern, "line": {"color": colour, "width": 1}},
            hoverinfo="text",
            hovertext=[
                f"{row['language']}: {row[kind]:,} of {row['sentences']:,} sentences {kind}"
                for _, row in rows.iterrows()
            ],
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    ends = [
        v for low, high in zip(rows["low"], rows["high"], strict=True) for v in (low, high, None)
    ]
    lines = {
        "mode": "lines",
        "line": {"color": ink.text, "width": 2},
        "hoverinfo": "skip",
        "name": "95 % interval of all three",
    }
    figure.add_scatter(x=ends, y=[v for place in y for v in (place, place, None)], **lines)
    if floor is not None:
        look = {"color": ink.text, "dash": "dot", "width": 2}
        figure.add_scatter(
            x=[100 * floor] * 2,
            y=[-0.6, len(rows) - 0.4],
            mode="lines",
            line=look,
            hoverinfo="skip",
            name="noise floor",
        )
    names = [
        f"<b>{name}</b>" if code == chosen else name
        for name, code in zip(rows["language"], rows["code"], strict=True)
    ]
    figure.update_layout(
        template=template(theme),
        barmode="stack",
        bargap=0.35,
        height=_ROW * len(rows) + 184,
        margin={"l": 100, "r": 14, "t": 8, "b": 150},
        legend=LEGEND | {"traceorder": "normal"},
        xaxis={
            "title": {"text": "Sentences whose answer changes, %", "standoff": 6},
            "rangemode": "tozero",
            "fixedrange": True,
        },
        yaxis={
            "range": [len(rows) - 0.4, -0.6],
            "tickvals": y,
            "ticktext": names,
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return (
        figure,
        rows,
        language_reading(rows, label)
        + _above(floor, rows["changed"].sum() / max(1, rows["sentences"].sum()), label),
    )


def language_reading(rows: pd.DataFrame, label: str) -> str:
    """Flips in both directions, and the languages with most and fewest of them."""
    sums, n = rows[list(KINDS)].sum(), int(rows["sentences"].sum())
    text = (
        f"{label} loses {sums[KINDS[0]]:,} right answers, gains {sums[KINDS[1]]:,} and gives "
        f"{sums[KINDS[2]]:,} times one wrong answer for another: "
    )
    text += (
        f"{int(rows['changed'].sum()):,} of {n:,} sentences change, while the number of right "
        f"answers moves by {sums[KINDS[1]] - sums[KINDS[0]]:+,}."
    )
    if len(rows) > 1:
        first, last = rows.iloc[0], rows.iloc[-1]
        text += (
            f" Most in {first['language']} ({first['changed, %']:.1f} %), fewest in "
            f"{last['language']} ({last['changed, %']:.1f} %)."
        )
    return text


def floor_of(floor: pd.DataFrame) -> float:
    """The share (0..1) of the quantized model's answers that change when it is run again: the most
    of any repetition (see sdq.analyses.noise_floor)."""
    return float(floor[(floor["kind"] == "model") & (floor["measure"] == "flips")]["high"].max())


def _above(floor: float | None, share: float, label: str) -> str:
    """What the noise floor says of a share of changed answers, if it was measured."""
    if floor is None:
        return ""
    text = (
        f" Run again with a tiny change, {label} gives {100 * floor:.1f} % other answers than it "
        "gave before (noise floor)"
    )
    less = "that is less than what quantization changes."
    return f"{text}: {less if share > floor else 'what changes here is no more than that.'}"


# --- by margin


def odds(pairs: Mapping[str, pd.DataFrame], bins: int = _BINS) -> pd.DataFrame:
    """How often an answer changes by how sure FP32 was of it: for each run and, if there are
    several, for all together (POOLED), one row per bin of margins.

    Bins hold about equally many sentences (of all runs). run, bin, from, to, margin (mean; FP32's
    lead, logits), sentences, changed, share (0..1), low, high (Wilson). A run's sentences without
    any in a bin have no row.
    """
    each = [
        table.assign(
            run=name, lead=table["FP32 margin"].abs(), other=table["FP32 answer"] != table["answer"]
        )
        for name, table in pairs.items()
    ]
    whole = pd.concat(each, ignore_index=True)
    edges = np.unique(np.quantile(whole["lead"], np.linspace(0, 1, bins + 1)))
    whole["bin"] = np.clip(
        np.searchsorted(edges, whole["lead"], side="right") - 1, 0, max(len(edges) - 2, 0)
    )
    parts = [(name, whole[whole["run"] == name]) for name in pairs] + (
        [(POOLED, whole)] if len(pairs) > 1 else []
    )
    rows = []
    for name, table in parts:
        for number, part in table.groupby("bin"):
            k, n = int(part["other"].sum()), len(part)
            low, high = wilson(k, n)
            known = {
                "run": name,
                "bin": int(number),
                "from": float(edges[int(number)]),
                "to": float(edges[min(int(number) + 1, len(edges) - 1)]),
            }
            rows.append(
                known
                | {
                    "margin": float(part["lead"].mean()),
                    "sentences": n,
                    "changed": k,
                    "share": k / n,
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def odds_picture(rows: pd.DataFrame, marks: Mapping[str, Mark], theme: Theme = "light") -> Picture:
    """Share of changed answers over FP32's margin, a line per run with its intervals, and a thick
    one for all runs together."""
    ink, figure = INK[theme], go.Figure()
    for name, part in rows.groupby("run", sort=False):
        pooled = name == POOLED
        mark = Mark(ink.text, ink.text, "solid", "circle") if pooled else marks[str(name)]
        colour = mark.colour(theme)
        hover = [
            f"{name}: margin {row['from']:.1f} to {row['to']:.1f}<br>{row['changed']:,} of "
            f"{row['sentences']:,} change ({100 * row['share']:.1f} %)"
            for _, row in part.iterrows()
        ]
        bars = {
            "array": 100 * (part["high"] - part["share"]),
            "arrayminus": 100 * (part["share"] - part["low"]),
            "color": faint(colour, 0.7) if not pooled else colour,
            "thickness": 1.5,
        }
        figure.add_scatter(
            x=part["margin"],
            y=100 * part["share"],
            mode="lines+markers",
            name=str(name),
            error_y=bars,
            hovertext=hover,
            hoverinfo="text",
            line={"color": colour, "dash": mark.dash, "width": 4 if pooled else 2},
            marker={"symbol": mark.symbol, "size": 9, "color": colour},
        )
    figure.update_layout(
        template=template(theme),
        height=400,
        margin={"l": 58, "r": 14, "t": 8, "b": 110},
        legend=LEGEND,
        xaxis={
            "title": {"text": "Margin of FP32, logits", "standoff": 6},
            "rangemode": "tozero",
            "fixedrange": True,
        },
        yaxis={
            "title": {"text": "Answers that change, %", "standoff": 6},
            "rangemode": "tozero",
            "fixedrange": True,
        },
    )
    return figure, rows, odds_reading(rows, list(marks))


def odds_reading(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """How often the least sure and the surest answers change, of the one run or of all together."""
    who = POOLED if POOLED in set(rows["run"]) else names[0]
    mine = rows[rows["run"] == who]
    first, last = mine.iloc[0], mine.iloc[-1]
    text = (
        f"Where FP32 is least sure (margin up to {first['to']:.1f} logits), "
        f"{100 * first['share']:.1f} % of the answers change "
    )
    text += (
        f"[{100 * first['low']:.1f}, {100 * first['high']:.1f}]; where it is surest (from "
        f"{last['from']:.1f}), {100 * last['share']:.1f} %"
    )
    text += f" [{100 * last['low']:.1f}, {100 * last['high']:.1f}]."
    every = int(mine["changed"].sum())
    near = int(mine.iloc[: len(mine) // 2]["changed"].sum())
    return text + (
        f" The less sure half of the sentences holds {100 * near / every:.0f} % of all changes."
        if every
        else ""
    )

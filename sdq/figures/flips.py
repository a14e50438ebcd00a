"""Which answers change when the model is quantized, and in which languages.

Into which other answers they change is drawn by sdq.figures.disagreement, how sure FP32 was of them
by sdq.figures.odds. All of it is counted from the pairs of answers that sdq.figures.examples.pair
makes of two stored runs. Each picture is (figure, table behind it, sentence). An answer is changed
if it is another one than that of FP32, right or wrong; for tasks with a tag per word a sentence's
answer is all of its tags. Which module alone changes a sentence is drawn by sdq.figures.alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import bold, row_axis, segments, value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.labels import language_name

KINDS = ("lost", "gained", "one wrong answer for another")
_NORMAL = 1.959964  # 97.5 % of a normal distribution lie below
_ROW = 24


def changed(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose answer is another one than that of FP32, with a column `kind`, one of KINDS;
    the least sure of FP32's answers first."""
    flips = pairs[pairs["FP32 answer"] != pairs["answer"]]
    kind = flips["group"].where(flips["group"].isin(KINDS[:2]), KINDS[2])
    return flips.assign(kind=kind).sort_values(
        "FP32 margin", key=lambda margin: margin.abs(), ignore_index=True
    )


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
    flips, rows = changed(pairs), []
    for code, part in pairs.groupby("language", sort=False):
        kinds = flips[flips["language"] == code]["kind"].value_counts()
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
    figure = go.Figure()
    _add_kinds(figure, rows, theme)
    figure.add_scatter(
        x=segments(rows["low"], rows["high"]),
        y=segments(y, y),
        mode="lines",
        line={"color": ink.text, "width": 2},
        hoverinfo="skip",
        name="95 % interval of the total",
    )
    if floor is not None:
        figure.add_scatter(
            x=[100 * floor] * 2,
            y=[-0.6, len(rows) - 0.4],
            mode="lines",
            line={"color": ink.text, "dash": "dot", "width": 2},
            hoverinfo="skip",
            name="noise floor",
        )
    figure.update_layout(
        template=template(theme),
        barmode="stack",
        bargap=0.35,
        height=_ROW * len(rows) + 184,
        margin={"l": 100, "r": 14, "t": 8, "b": 150},
        legend=LEGEND | {"traceorder": "normal"},
        xaxis=value_axis("Sentences whose answer changes, %", rangemode="tozero"),
        yaxis=row_axis(y, bold(rows["language"], rows["code"], chosen), len(rows) - 0.4),
    )
    share = rows["changed"].sum() / max(1, rows["sentences"].sum())
    return figure, rows, language_reading(rows, label) + _above(floor, share, label)


def _add_kinds(figure: go.Figure, rows: pd.DataFrame, theme: Theme) -> None:
    """The parts of each bar, one per kind of change, told apart by their pattern as well."""
    looks = {
        KINDS[0]: (MARKS["PTQ"], ""),
        KINDS[1]: (MARKS["SDQ"], "/"),
        KINDS[2]: (MARKS["FP32"], "."),
    }
    for kind, (mark, shape) in looks.items():
        colour = mark.colour(theme)
        pattern = {
            "shape": shape,
            "bgcolor": INK[theme].paper,
            "fgcolor": colour,
            "solidity": 0.4,
            "size": 6,
        }
        figure.add_bar(
            x=100 * rows[kind] / rows["sentences"],
            y=list(range(len(rows))),
            orientation="h",
            name=kind,
            customdata=[[code] for code in rows["code"]],
            marker={
                "color": colour,
                "pattern": pattern if shape else {"shape": ""},
                "line": {"color": colour, "width": 1},
            },
            hoverinfo="text",
            hovertext=[
                f"{row['language']}: {row[kind]:,} of {row['sentences']:,} sentences {kind}"
                for _, row in rows.iterrows()
            ],
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )


def language_reading(rows: pd.DataFrame, label: str) -> str:
    """Flips in both directions, and the languages with most and fewest of them."""
    sums, n = rows[list(KINDS)].sum(), int(rows["sentences"].sum())
    text = (
        f"{label} loses {sums[KINDS[0]]:,} right answers and gains {sums[KINDS[1]]:,}; "
        f"{sums[KINDS[2]]:,} {'goes' if sums[KINDS[2]] == 1 else 'go'} from one wrong answer to "
        "another. In total, "
    )
    text += (
        f"{int(rows['changed'].sum()):,} of {n:,} sentences change, and the number of right "
        f"answers changes by {sums[KINDS[1]] - sums[KINDS[0]]:+,}."
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
        f" Run again with a tiny change, {label} changes {100 * floor:.1f} % of its own answers "
        "(noise floor)"
    )
    less = "that is less than what quantization changes."
    return f"{text}: {less if share > floor else 'quantization changes no more than that.'}"

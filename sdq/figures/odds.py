"""How often an answer changes by how sure FP32 was of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.flips import wilson
from sdq.figures.style import INK, LEGEND, Mark, Theme, faint, template
from sdq.figures.weights import Picture

POOLED = "all runs"
_BINS = 8


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
            place = {
                "run": name,
                "bin": int(number),
                "from": float(edges[int(number)]),
                "to": float(edges[min(int(number) + 1, len(edges) - 1)]),
            }
            rows.append(
                place
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
    """How often the least and the most sure answers change, of the one run or of all together."""
    who = POOLED if POOLED in set(rows["run"]) else names[0]
    bins = rows[rows["run"] == who]
    first, last = bins.iloc[0], bins.iloc[-1]
    text = (
        f"Where FP32 is least sure (margin up to {first['to']:.1f} logits), "
        f"{100 * first['share']:.1f} % of the answers change "
    )
    text += (
        f"[{100 * first['low']:.1f}, {100 * first['high']:.1f}]; where it is most sure (from "
        f"{last['from']:.1f}), {100 * last['share']:.1f} %"
    )
    text += f" [{100 * last['low']:.1f}, {100 * last['high']:.1f}]."
    every = int(bins["changed"].sum())
    near = int(bins.iloc[: len(bins) // 2]["changed"].sum())
    return text + (
        f" The less sure half of the sentences has {100 * near / every:.0f} % of all changes."
        if every
        else ""
    )

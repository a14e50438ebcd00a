"""Methods side by side: what each run gives, and at what price.

`table` holds the numbers (the first run is what the others are compared with), `printed` writes
them as people read them, `reading` says them in words; `pareto` and `histograms` draw them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sdq.evaluate.significance import verdicts
from sdq.evaluate.statistics import mean_interval, p_cell, p_text
from sdq.figures.curves import grid, legend_height, run_marks
from sdq.figures.style import INK, LEGEND, Theme, template
from sdq.labels import language_name, run_names, width
from sdq.results import METRICS, Report

Price = Literal["size", "time"]
PRICES: dict[Price, tuple[str, str]] = {
    "size": ("MB", "Size, MB (simulated if quantized; less is better)"),
    "time": ("seconds", "Time to make the run, s (less is better)"),
}


def size(report: Report) -> float:
    """MB (10^6 bytes): of the parameters of an FP32 run, simulated for a quantized one."""
    return report.size_bytes["quantized_simulated" if report.recipe["rules"] else "fp32"] / 1e6


def zero_shot(report: Report) -> list[str]:
    """The languages without labels in training; all of them if there are no others."""
    codes = list(report.quantized.by_language)
    return [code for code in codes if code != report.labelled] or codes


def paired(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two per-sentence tables hold the same sentences."""
    left, right = (set(zip(t["language"], t["id"], strict=True)) for t in (a, b))
    return len(a) == len(b) and left == right


def table(reports: Sequence[Report], sentences: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per run, in the order given. Scores in %, differences in points against the first
    run, MB and seconds.

    `sentences` (run id -> per-sentence counts) gives the 95 % interval of the zero-shot mean
    ("low", "high") and, where both runs answered the same sentences, the paired difference
    ("difference low", "difference high") and its "p"; without it they are missing.
    """
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    names, codes, first = run_names(reports), zero_shot(reports[0]), reports[0]
    sign = 1 if METRICS[first.metric].higher_is_better else -1
    found = []
    for report in reports:
        scores = report.quantized.by_language
        home = report.labelled
        worst = min(scores, key=lambda code: sign * scores[code])
        mean = float(np.mean([scores[code] for code in codes]))
        row: dict[str, Any] = {
            "run": names[report.run],
            "recipe": report.recipe["name"],
            "mean": 100 * report.quantized.mean,
            "zero-shot mean": 100 * mean,
            "low": math.nan,
            "high": math.nan,
            "labelled": 100 * scores.get(home, math.nan),
            "worst": 100 * scores[worst],
            "worst language": language_name(worst),
            "MB": size(report),
            "simulated": bool(report.recipe["rules"]),
            "seconds": sum(report.seconds.values()),
            "difference": 100
            * (mean - float(np.mean([first.quantized.by_language[code] for code in codes])))
            if report is not first
            else math.nan,
            "difference low": math.nan,
            "difference high": math.nan,
            "p": math.nan,
            "run id": report.run,
        }
        mine, base = sentences.get(report.run), sentences.get(first.run)
        if mine is not None:
            _, low, high = mean_interval([mine], codes)
            row |= {"low": 100 * low, "high": 100 * high}
        if report is not first and mine is not None and base is not None and paired(base, mine):
            against = verdicts(base, mine, codes).iloc[-1]  # of the mean over the languages
            row |= {
                "difference low": against["low"],
                "difference high": against["high"],
                "p": against["p"],
            }
        found.append(row)
    return pd.DataFrame(found)


def bracket(low: float, high: float, sign: str = "") -> str:
    """An interval in writing, empty if there is none."""
    return "" if math.isnan(low) else f" [{low:{sign}.1f}, {high:{sign}.1f}]".replace("-", "−")


def _points(difference: float) -> str:
    return f"{difference:+.1f}".replace("-", "−")


def printed(found: pd.DataFrame, labelled: str, metric: str) -> pd.DataFrame:
    """The table as it stands on the page: a score with its interval in one cell, the unit in the
    heading."""
    unit, first = METRICS[metric].unit, found["run"].iloc[0]
    lines = []
    for row in found.to_dict("records"):
        own = math.isnan(row["difference"])
        lines.append(
            {
                "run": row["run"],
                f"mean, {unit}": f"{row['mean']:.1f}",
                f"zero-shot mean, {unit} [95 %]": f"{row['zero-shot mean']:.1f}"
                f"{bracket(row['low'], row['high'])}",
                f"zero-shot against {first}, points [95 %]": ""
                if own
                else f"{_points(row['difference'])}"
                f"{bracket(row['difference low'], row['difference high'], '+')}",
                "p": p_cell(row["p"]),
                f"{language_name(labelled)}, {unit}": f"{row['labelled']:.1f}",
                f"worst language, {unit}": f"{row['worst language']}, {row['worst']:.1f}",
                "size, MB": f"{row['MB']:.2f}{' simulated' if row['simulated'] else ''}",
                "time to make, s": f"{row['seconds']:.0f}",
            }
        )
    return pd.DataFrame(lines)


def front(found: pd.DataFrame, price: Price) -> list[str]:
    """Names of the runs that no other run beats: none scores as high for as little, and better in
    one of the two. Cheapest first."""
    cost = PRICES[price][0]
    kept = []
    for _, row in found.sort_values([cost, "zero-shot mean"], ascending=[True, False]).iterrows():
        as_good = (found["zero-shot mean"] >= row["zero-shot mean"]) & (found[cost] <= row[cost])
        better = (found["zero-shot mean"] > row["zero-shot mean"]) | (found[cost] < row[cost])
        if not (as_good & better).any():
            kept.append(str(row["run"]))
    return kept


def reading(found: pd.DataFrame) -> str:
    """The best and the worst quantized run against the first run, and the price of the best."""
    first = found.iloc[0]
    quantized = found[found["simulated"]].sort_values("zero-shot mean", ascending=False)
    if not len(quantized):
        return (
            f"None of these runs is quantized; {first['run']} reaches "
            f"{first['zero-shot mean']:.1f} % on the zero-shot languages."
        )
    best, worst = quantized.iloc[0], quantized.iloc[-1]
    text = (
        f"Of the quantized runs, {best['run']} scores highest on the zero-shot languages: "
        f"{best['zero-shot mean']:.1f} %{_against(best, first)}."
    )
    if len(quantized) > 1:
        text += (
            f" {worst['run']} scores lowest: {worst['zero-shot mean']:.1f} "
            f"%{_against(worst, first)}."
        )
    return (
        text + f" Making {best['run']} took {best['seconds']:.0f} s and gives {best['MB']:.1f} MB "
        f"(simulated); {_prices(found, best)}."
    )


def _against(row: Any, first: Any) -> str:
    if math.isnan(row["difference"]):
        return ""
    interval = bracket(row["difference low"], row["difference high"], "+")
    p = "" if math.isnan(row["p"]) else f", {p_text(row['p'])}"
    return f", {_points(row['difference'])} points{interval} against {first['run']}{p}"


def _prices(found: pd.DataFrame, best: Any) -> str:
    others = found[found["run"] != best["run"]]
    if not len(others):
        return "there is no other run"
    quick = others.sort_values("seconds").iloc[0]
    return (
        f"the quickest of the others, {quick['run']}, took {quick['seconds']:.0f} s and gives "
        f"{quick['MB']:.1f} MB"
    )


def suggested(chosen: Sequence[Report], every: Sequence[Report], most: int = 4) -> list[Report]:
    """What to compare the chosen runs with: runs of the same model and task, first the same width
    by other methods, then FP32, one per method."""
    if not chosen:
        return list(every[:most])
    first, taken = chosen[0], {r.method for r in chosen}
    alike = [
        r
        for r in every
        if (r.model, r.task) == (first.model, first.task) and r.run not in {c.run for c in chosen}
    ]
    same = [r for r in alike if width(r.recipe) == width(first.recipe)]
    found: list[Report] = []
    for report in [*same, *(r for r in alike if not r.recipe["rules"]), *alike]:
        if report.method not in taken and len(chosen) + len(found) < most:
            taken.add(report.method)
            found.append(report)
    return found or alike[:1]


def _apart(values: Sequence[float]) -> list[float]:
    """Equal prices side by side: values within 1 % of the span are moved apart by 2 % of it."""
    span = max(values) - min(values) or max(values) or 1.0
    placed = list(values)
    for value in values:
        group = [i for i, v in enumerate(values) if abs(v - value) <= 0.01 * span]
        for place, i in enumerate(group):
            placed[i] = value + (place - (len(group) - 1) / 2) * 0.02 * span
    return placed


def pareto(
    found: pd.DataFrame, reports: Sequence[Report], price: Price, theme: Theme = "light"
) -> go.Figure:
    """Zero-shot mean with its 95 % interval against a price; a stair joins the runs that no other
    run beats."""
    ink, marks, (cost, title) = INK[theme], run_marks(reports), PRICES[price]
    place = dict(zip(found["run"], _apart(found[cost].tolist()), strict=True))
    best, score = front(found, price), dict(zip(found["run"], found["zero-shot mean"], strict=True))
    figure = go.Figure()
    if len(best) > 1:
        stair = {"color": ink.quiet, "width": 1.5, "dash": "dot", "shape": "hv"}
        figure.add_scatter(
            x=[place[n] for n in best],
            y=[score[n] for n in best],
            mode="lines",
            line=stair,
            name="not beaten",
            hoverinfo="skip",
        )
    for row in found.to_dict("records"):
        mark = marks[row["run"]]
        colour, known = mark.colour(theme), not math.isnan(row["low"])
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["zero-shot mean"]],
            "arrayminus": [row["zero-shot mean"] - row["low"]],
            "thickness": 1.5,
            "width": 4,
        }
        text = (
            f"{escape(row['run'])} · {escape(row['recipe'])}<br>{row['zero-shot mean']:.1f} "
            f"%{bracket(row['low'], row['high'])}<br>{row[cost]:.1f} "
            f"{cost}{' simulated' if row['simulated'] and cost == 'MB' else ''}"
        )
        figure.add_scatter(
            x=[place[row["run"]]],
            y=[row["zero-shot mean"]],
            mode="markers",
            name=row["run"],
            error_y=bars if known else None,
            hovertext=[text],
            hoverinfo="text",
            customdata=[row["run id"]],
            marker={
                "color": colour,
                "symbol": mark.symbol,
                "size": 14,
                "line": {"color": colour, "width": 1.5},
            },
        )
    below = legend_height([*found["run"], "not beaten"])
    metric = METRICS[reports[0].metric]
    heading = {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "xshift": -46,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "yshift": 6,
        "showarrow": False,
    }
    figure.update_layout(
        template=template(theme),
        height=330 + 58 + below,
        margin={"l": 52, "r": 14, "t": 30, "b": 58 + below},
        showlegend=True,
        legend=LEGEND,
        annotations=[
            {
                **heading,
                "text": f"{metric.name}, zero-shot mean, {metric.unit}",
                "font": {"size": 13, "color": ink.quiet},
            }
        ],
        xaxis={"title": {"text": title, "standoff": 4}, "rangemode": "tozero", "fixedrange": True},
        yaxis={"fixedrange": True, "nticks": 7},
    )
    return figure


def histogram_table(
    weights: Mapping[str, pd.DataFrame], names: Mapping[str, str], module: str
) -> pd.DataFrame:
    """One row per run and bin: run, weight (middle of the bin), before, after (share of the
    module's weights in %, `after` missing where nothing is rounded).

    `weights`: run id -> its table of weights. A run without the module is left out.
    """
    parts = []
    for run, stored in weights.items():
        mine = stored[stored["module"] == module]
        if not len(mine):
            continue
        row = mine.iloc[0]
        before, after = np.asarray(row["fp32"], dtype=float), row.get("quantized")
        edges = np.linspace(row["low"], row["high"], len(before) + 1)
        rounded = (
            np.asarray(after, dtype=float)
            if isinstance(after, np.ndarray | list)
            else np.full(len(before), math.nan)
        )
        shares = {
            "before": 100 * before / before.sum(),
            "after": 100 * rounded / np.nansum(rounded) if not np.isnan(rounded).all() else rounded,
        }
        parts.append(
            pd.DataFrame({"run": names[run], "weight": (edges[1:] + edges[:-1]) / 2, **shares})
        )
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["run", "weight", "before", "after"])
    )


def histogram_reading(
    weights: Mapping[str, pd.DataFrame], names: Mapping[str, str], module: str, label: str
) -> str:
    """Bits and SQNR of the rounded weights, run by run."""
    parts = []
    for run, stored in weights.items():
        for row in stored[stored["module"] == module].to_dict("records"):
            exact = row["bits"] == 32 or "sqnr_db" not in row or math.isnan(row["sqnr_db"])
            parts.append(
                f"{names[run]} not rounded"
                if exact
                else f"{names[run]} {row['bits']:.0f} bits, SQNR {row['sqnr_db']:.1f} dB"
            )
    return (
        f"Weights of {label}: {'; '.join(parts)}."
        if parts
        else f"None of these runs has weights of {label}."
    )


def histograms(found: pd.DataFrame, theme: Theme = "light") -> go.Figure:
    """Weights before and after rounding, a panel per run, all with the same axes; the shares are on
    a log axis, because rounded weights pile up on few values."""
    ink, runs = INK[theme], list(dict.fromkeys(found["run"]))
    columns = min(2, len(runs))
    count = math.ceil(len(runs) / columns)
    inner = 150 * count + 54 * (count - 1)
    figure = make_subplots(
        count,
        columns,
        specs=grid(len(runs), columns),
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[escape(run) for run in runs],
        horizontal_spacing=0.05,
        vertical_spacing=54 / inner if count > 1 else 0,
    )
    drawn = {
        "before": ("before rounding", ink.quiet, 0.45),
        "after": ("after rounding", ink.text, 1.0),
    }
    for i, run in enumerate(runs):
        mine = found[found["run"] == run]
        bin_width = float(mine["weight"].diff().median())
        for column, (name, colour, opacity) in drawn.items():
            share = mine[column].where(mine[column] > 0)
            if share.isna().all():
                continue
            text = [
                f"{escape(run)}, {name}<br>weight {x:.4g}: {y:.3g} %"
                for x, y in zip(mine["weight"], share, strict=True)
            ]
            figure.add_bar(
                x=mine["weight"].tolist(),
                y=[None if math.isnan(y) else y for y in share],
                width=bin_width,
                name=name,
                legendgroup=name,
                opacity=opacity,
                showlegend=not any(t.name == name for t in figure.data),
                marker={"color": colour, "line": {"width": 0}},
                hovertext=text,
                hoverinfo="text",
                row=i // columns + 1,
                col=i % columns + 1,
            )
    shares = found[["before", "after"]].to_numpy(dtype=float)
    least = float(np.nanmin(np.where(shares > 0, shares, np.nan)))
    figure.update_annotations(font={"size": 13, "color": ink.text}, yshift=2)
    figure.update_xaxes(showticklabels=True, fixedrange=True, nticks=5)
    figure.update_xaxes(title={"text": "Weight", "standoff": 4}, row=count)
    figure.update_yaxes(
        type="log",
        range=[math.log10(least) - 0.2, 2.1],
        dtick=1,
        exponentformat="none",
        fixedrange=True,
    )
    figure.add_annotation(
        text="Share of the weights, % (log scale)",
        x=0,
        xref="paper",
        xanchor="left",
        xshift=-46,
        y=1,
        yref="paper",
        yanchor="bottom",
        yshift=28,
        showarrow=False,
        font={"size": 13, "color": ink.quiet},
    )
    figure.update_layout(
        template=template(theme),
        barmode="overlay",
        bargap=0,
        height=inner + 52 + 78,
        margin={"l": 52, "r": 12, "t": 52, "b": 78},
        showlegend=True,
        legend=LEGEND,
    )
    return figure

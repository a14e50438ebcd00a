"""Scores per language: where quantization breaks a model, and how much of that a method wins back.

`table` holds the numbers, `reading` says them in words, `language_scores` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.evaluate.statistics import intervals
from sdq.figures.style import INK, LEGEND, MARKS, ORDER, Mark, Theme, faint, template
from sdq.labels import language_name, width
from sdq.results import METRICS, Report, Scores

_NEGLIGIBLE = 0.5  # points of mean zero-shot drop below which there is nothing to win back
_LANE = 0.75  # height of a line of the summary block, in rows


def series(reports: Sequence[Report]) -> dict[str, tuple[Scores, str | None]]:
    """Label -> (scores, run id), FP32 first, in the order of style.ORDER. FP32 comes from the
    reference if no run of it is given."""
    if not reports:
        raise ValueError("reports must hold at least one report, got none")
    found: dict[str, tuple[Scores, str | None]] = {"FP32": (reports[0].reference, None)}
    for report in sorted(reports, key=lambda r: ORDER.index(r.method)):
        twin = report.method in found and found[report.method][1] is not None
        found[f"{report.method} {report.recipe['name']}" if twin else report.method] = (
            report.quantized,
            report.run,
        )
    return found


def _mark(label: str) -> Mark:
    return MARKS[max((m for m in MARKS if label.startswith(m)), key=len)]


def _damaged(labels: Sequence[str]) -> str:
    """What the loss is read off: PTQ, or the only quantized run there is."""
    return "PTQ" if "PTQ" in labels else labels[-1]


def _repaired(labels: Sequence[str]) -> str | None:
    """What the repair is read off: SDQ, or else another trained run; None without PTQ to compare
    with."""
    if "PTQ" not in labels:
        return None
    return next((label for label in ("SDQ", "SDQ multi", "QAT", "QNAT") if label in labels), None)


def table(
    reports: Sequence[Report], sentences: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """One row per language: zero-shot ones by falling drop, then the trained-on one. Scores in %,
    drop and gain in points.

    `sentences` (run id -> per-sentence counts) adds 95 % bounds and the number of sentences.
    """
    lines = series(reports)
    labels = list(lines)
    sign = 1 if METRICS[reports[0].metric].higher_is_better else -1
    damaged, repaired = _damaged(labels), _repaired(labels)
    codes = list(lines["FP32"][0].by_language)
    known = {
        label: sentences[run]
        for label, (_, run) in lines.items()
        if sentences is not None and run is not None and run in sentences
    }
    bounds = {label: intervals(table, codes) for label, table in known.items()}
    rows: list[dict[str, Any]] = []
    for code in codes:
        row: dict[str, Any] = {
            "code": code,
            "language": language_name(code),
            "labels in training": code == reports[0].labelled,
        }
        for label, (scores, _) in lines.items():
            row[label] = 100 * scores.by_language[code]
            if label in known:
                row[f"{label} low"], row[f"{label} high"] = (
                    100 * bound for bound in bounds[label][code]
                )
                row["sentences"] = int((known[label]["language"] == code).sum())
        if damaged != "FP32":
            row[f"lost by {damaged}"] = sign * (row["FP32"] - row[damaged])
        if repaired:
            row[f"won back by {repaired}"] = sign * (row[repaired] - row["PTQ"])
        rows.append(row)
    by = "FP32" if damaged == "FP32" else f"lost by {damaged}"
    return pd.DataFrame(rows).sort_values(
        ["labels in training", by], ascending=[True, False], ignore_index=True
    )


def _share(label: str, gain: float, drop: float) -> str:
    if gain < 0:
        return f"{label} wins back nothing ({-gain:.1f} points below PTQ)"
    return f"{label} wins back " + ("all" if gain >= drop else f"{100 * gain / drop:.0f} %")


def reading(reports: Sequence[Report]) -> str:
    """What the picture shows, in one to three sentences with its numbers."""
    lines = series(reports)
    labels = list(lines)
    metric = METRICS[reports[0].metric]
    measure = metric.inside
    damaged, repaired = _damaged(labels), _repaired(labels)
    if damaged == "FP32":
        scores = lines["FP32"][0]
        over = (
            "on average over the languages it had no labels for"
            if len(scores.by_language) > 1
            else "in its only language"
        )
        return (
            f"Unquantized (FP32), the model reaches {100 * scores.leading:.1f} % {measure} {over}."
        )
    rows = table(reports)
    zero = rows[~rows["labels in training"]]
    home = rows[rows["labels in training"]]
    report = next(r for r in reports if r.run == lines[damaged][1])
    sign = 1 if metric.higher_is_better else -1
    mean = {label: 100 * scores.leading for label, (scores, _) in lines.items()}
    drop = sign * (mean["FP32"] - mean[damaged])
    before_after = f"{mean['FP32']:.1f} → {mean[damaged]:.1f} %"
    where = (
        f"on average over the {len(zero)} zero-shot languages"
        if len(zero)
        else "in its only language"
    )
    if drop < _NEGLIGIBLE:
        verb = f"costs only {drop:.1f} points" if drop > 0 else "costs nothing"
        rest = (
            f" There is little to win back; {repaired} ends at {mean[repaired]:.1f} %."
            if repaired
            else ""
        )
        return (
            f"{width(report.recipe)} by {damaged} {verb} of {measure} {where} "
            f"({before_after}).{rest}"
        )
    lost = (
        f"{width(report.recipe)} by {damaged} costs {drop:.1f} points of {measure} {where} "
        f"({before_after})"
    )
    if zero.empty:
        return f"{lost}{f'; {repaired} ends at {mean[repaired]:.1f} %' if repaired else ''}."
    worst = zero.iloc[0]
    lost += (
        f", against {home.iloc[0][f'lost by {damaged}']:.1f} in {home.iloc[0]['language']}, which "
        "it was trained on."
        if len(home)
        else "."
    )
    hardest = f" Hit hardest: {worst['language']}, {worst['FP32']:.1f} → {worst[damaged]:.1f} %"
    if repaired is None:
        return f"{lost}{hardest}."
    others = [label for label in labels if label not in ("FP32", "PTQ", repaired)]
    shares = ", ".join(
        _share(label, sign * (mean[label] - mean["PTQ"]), drop) for label in (repaired, *others)
    )
    return (
        f"{lost} Of the zero-shot loss, {shares}.{hardest}, and {worst[repaired]:.1f} % with "
        f"{repaired}."
    )


def _bands(
    figure: go.Figure, spans: list[dict[str, Any]], repaired: str | None, theme: Theme
) -> None:
    """Behind the marks: what quantization took (hatched), and the part of it that was won back
    (plain)."""
    parts = {
        "lost": (_mark("PTQ").colour(theme), "still lost" if repaired else "lost"),
        "won": (_mark(repaired or "SDQ").colour(theme), f"won back by {repaired}"),
    }
    for part, (colour, name) in parts.items():
        drawn = [s for s in spans if s["part"] == part and s["to"] > s["from"]]
        if not drawn:
            continue
        pattern = (
            {
                "shape": "/",
                "size": 5,
                "solidity": 0.25,
                "fgcolor": faint(colour, 0.6),
                "bgcolor": "rgba(0,0,0,0)",
            }
            if part == "lost"
            else {"shape": ""}
        )
        figure.add_bar(
            y=[s["y"] for s in drawn],
            base=[s["from"] for s in drawn],
            x=[s["to"] - s["from"] for s in drawn],
            width=[s["height"] for s in drawn],
            orientation="h",
            marker={"color": faint(colour, 0.25), "pattern": pattern, "line": {"width": 0}},
            name=name,
            hoverinfo="skip",
        )


def _spans(
    values: Mapping[str, float], damaged: str, repaired: str | None, y: float, height: float
) -> list[dict[str, Any]]:
    """The bars of one row: from the repaired (or damaged) score to FP32, and from the damaged to
    the repaired one."""
    low, full = values[damaged], values["FP32"]
    middle = min(max(values[repaired], low), full) if repaired else low
    return [
        {"part": "lost", "from": middle, "to": full, "y": y, "height": height},
        {"part": "won", "from": low, "to": middle, "y": y, "height": height},
    ]


def language_scores(
    reports: Sequence[Report],
    sentences: Mapping[str, pd.DataFrame] | None = None,
    theme: Theme = "light",
) -> go.Figure:
    """One row per language, one marker per method with its 95 % interval; the means are written out
    at the top."""
    rows = table(reports, sentences)
    lines = series(reports)
    labels, ink, metric = list(lines), INK[theme], METRICS[reports[0].metric]
    damaged, repaired = _damaged(labels), _repaired(labels)
    zero = int((~rows["labels in training"]).sum())

    top = [0.3 + _LANE * i for i in range(len(labels))]
    first = top[-1] + 1.9
    at = [first + i + (1.1 if i >= zero else 0) for i in range(len(rows))]
    mean = {label: 100 * scores.leading for label, (scores, _) in lines.items()}

    figure = go.Figure()
    spans = _spans(mean, damaged, repaired, sum(top) / len(top), _LANE * len(top))
    for place, (_, row) in zip(at, rows.iterrows(), strict=True):
        spans += _spans({label: row[label] for label in labels}, damaged, repaired, place, 0.82)
    _bands(figure, spans, repaired, theme)

    edge = min(
        [
            *mean.values(),
            *(rows[label].min() for label in labels),
            *(rows[c].min() for c in rows if c.endswith(" low")),
        ]
    )
    ceiling = (
        max(100.0, float(rows[labels].max().max()))
        if metric.unit == "%"
        else float(rows[labels].max().max())
    )
    left = max(-0.02 * ceiling, 5 * (edge // 5) - 5)  # a mark at nothing is drawn whole
    room = 0.16 * (ceiling - left)  # what a number takes on a phone
    for lane, label in enumerate(labels):
        mark = _mark(label)
        colour = mark.colour(theme)
        y = [v + (lane - (len(labels) - 1) / 2) * 0.72 / len(labels) for v in at]
        if f"{label} low" in rows:
            x_bars = [
                v
                for low, high in zip(rows[f"{label} low"], rows[f"{label} high"], strict=True)
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
        bounds = [
            f" [{row[f'{label} low']:.1f}, {row[f'{label} high']:.1f}], n = {row['sentences']:.0f}"
            if f"{label} low" in rows
            else ""
            for _, row in rows.iterrows()
        ]
        marker = {
            "color": colour,
            "symbol": mark.symbol,
            "size": 9,
            "line": {"color": ink.paper, "width": 1},
        }
        hover = [
            f"{name} · {label}<br>{value:.1f} %{bound}"
            for name, value, bound in zip(rows["language"], rows[label], bounds, strict=True)
        ]
        figure.add_scatter(
            x=rows[label],
            y=y,
            mode="markers",
            marker=marker,
            name=label,
            hovertext=hover,
            hoverinfo="text",
            showlegend=False,
        )
        inside = ceiling - mean[label] < room or (
            mean[label] < max(mean.values()) and mean[label] - left > room
        )
        figure.add_scatter(
            x=[mean[label]],
            y=[top[lane]],
            mode="markers+text",
            marker={**marker, "size": 13},
            text=[f"<b>{mean[label]:.1f}</b>  " if inside else f"  <b>{mean[label]:.1f}</b>"],
            textposition="middle left" if inside else "middle right",
            textfont={"size": 14, "color": ink.text},
            hoverinfo="skip",
            showlegend=False,
        )

    def heading(text: str, y: float) -> dict[str, Any]:
        return {
            "text": text,
            "x": 0,
            "xref": "paper",
            "xshift": -98,
            "xanchor": "left",
            "y": y,
            "showarrow": False,
            "font": {"size": 13, "color": ink.quiet},
        }

    lost_first = f"Zero-shot, largest {damaged} loss first" if damaged != "FP32" else "Zero-shot"
    headings = [
        heading(f"<b>Mean over {zero} zero-shot languages</b>", -0.55),
        heading(f"<b>{lost_first}</b>", first - 0.95),
    ]
    if zero < len(rows):
        headings.append(heading("<b>Trained on</b>", at[zero] - 0.95))
    bottom = at[-1] + 0.6
    figure.update_layout(
        template=template(theme),
        barmode="overlay",
        height=int((23 + 3 * max(0, len(labels) - 4)) * (bottom + 1.1)) + 86,
        margin={"l": 100, "r": 14, "t": 8, "b": 78},
        annotations=headings,
        showlegend=damaged != "FP32",
        legend=LEGEND,
        xaxis={
            "title": {"text": f"{metric.name}, {metric.unit}", "standoff": 6},
            "range": [left, ceiling + 1.5],
            "fixedrange": True,
        },
        yaxis={
            "range": [bottom, -1.1],
            "tickvals": [*top, *at],
            "ticktext": [
                *(
                    f'<span style="color:{_mark(m).colour(theme)}"><b>{m}</b></span>'
                    for m in labels
                ),
                *rows["language"],
            ],
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure

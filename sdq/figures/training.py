"""Loss of a training, split by term, and the score on dev sentences: during the run and after it.

`history` collects the numbers from the events of a run under way; a finished run has them in
`Report.history`. `table` holds them, `reading` says them in words, `curves` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sdq.figures.style import INK, LEGEND, Mark, Theme, template

TERMS = {
    "ce": "labels (CE)",
    "kld": "predictions (KLD)",
    "attention": "attention outputs",
    "hidden": "layer outputs",
}
TOTAL, DEV = "loss", "dev score, %"
_MARKS = {
    "ce": Mark("#0072B2", "#56B4E9", "solid", "circle"),
    "kld": Mark("#D55E00", "#E69F00", "dash", "square"),
    "attention": Mark("#009E73", "#009E73", "dot", "diamond"),
    "hidden": Mark("#CC79A7", "#CC79A7", "dashdot", "triangle-up"),
}
_SPARE = (
    Mark("#E69F00", "#F0E442", "longdash", "cross"),
    Mark("#56B4E9", "#0072B2", "longdashdot", "star"),
)  # for terms that are new
_FEW = 40  # points up to which each is marked


def history(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a training did so far, in the shape of `Report.history`, from the events of a run; `of`
    is the planned number of steps."""
    steps: dict[float, dict[str, Any]] = {}
    checks: dict[float, dict[str, Any]] = {}
    for e in events:
        if e.get("event") == "step":
            steps[e["step"]] = {k: v for k, v in e.items() if k not in ("event", "of", "time")}
        elif e.get("event") == "check":
            checks[e["step"]] = {"step": e["step"], "dev": e["dev"]}
        elif e.get("event") == "resumed":  # what came after the saved step is done again
            steps, checks = (
                {step: row for step, row in rows.items() if step <= e["step"]}
                for rows in (steps, checks)
            )
    of = [e["of"] for e in events if e.get("event") in ("step", "check") and e.get("of")]
    return {
        "steps": list(steps.values()),
        "checks": list(checks.values()),
        "kept": None,
        "of": of[-1] if of else None,
    }


def weights(training: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Factor of each term in the loss, from the training part of a recipe; None if that is not
    known."""
    if training is None:
        return None
    factors = {"ce": 1.0}
    for term in training["distillation"]:
        factors[term["kind"]] = factors.get(term["kind"], 0.0) + term["weight"]
    return factors


def terms(of: Mapping[str, Any]) -> list[str]:
    """The terms of the loss that a history has, labels first."""
    seen = dict.fromkeys(
        name for row in of["steps"] for name in row if name not in ("step", "loss")
    )
    return sorted(seen, key=lambda name: list(TERMS).index(name) if name in TERMS else len(TERMS))


def label(term: str) -> str:
    """The label of a term."""
    return TERMS.get(term, term.replace("_", " "))


def table(of: Mapping[str, Any], factors: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row per logged step or look at dev: step, loss, each term as it was measured, its part of
    the loss ("..., weighted", if `factors` are known), and the dev score in %. Loss is of one
    batch, lower is better; dev higher. Empty without steps and looks."""
    names = terms(of)
    logged = pd.DataFrame(
        [
            {"step": int(row["step"]), TOTAL: row["loss"], **{label(n): row.get(n) for n in names}}
            for row in of["steps"]
        ]
    )
    for name in names if factors else ():
        logged[f"{label(name)}, weighted"] = logged[label(name)] * (factors or {}).get(name, 1.0)
    checks = pd.DataFrame(
        [{"step": int(row["step"]), DEV: 100 * row["dev"]} for row in of["checks"]]
    )
    if logged.empty or checks.empty:
        return checks if logged.empty else logged
    return logged.merge(checks, on="step", how="outer").sort_values("step", ignore_index=True)


def reading(
    of: Mapping[str, Any], factors: Mapping[str, float] | None = None, language: str = ""
) -> str:
    """What the figure shows, in one to three sentences with its numbers. `language`: that of the
    dev sentences, if it is known."""
    steps, checks = of["steps"], of["checks"]
    if not steps:
        return "No training step has been logged yet."
    first, last = steps[0], steps[-1]
    planned = f" of {of['of']}" if of.get("of") else ""
    verb = (
        "fell from"
        if last["loss"] < first["loss"]
        else "rose from"
        if last["loss"] > first["loss"]
        else "is the same as"
    )
    text = f"After {last['step']:.0f}{planned} steps the loss of a batch is {last['loss']:.3g}"
    text += (
        f"; it {verb} {first['loss']:.3g} at step {first['step']:.0f}." if len(steps) > 1 else "."
    )
    if factors is not None and len(names := terms(of)) > 1:
        text += (
            " Of it, "
            + ", ".join(
                f"{last[n] * factors.get(n, 1.0):.3g} from {label(n)}" for n in names if n in last
            )
            + "."
        )
    if checks:
        best = max(
            checks, key=lambda row: (row["dev"], row["step"])
        )  # the later one at a tie, as the training keeps it
        text += (
            f" Best score on {f'{language} ' if language else ''}dev sentences: "
            f"{100 * best['dev']:.1f} % at step {best['step']:.0f}"
        )
        text += f"; the weights of step {of['kept']:.0f} were kept." if of.get("kept") else "."
    return text


def _lines(
    figure: go.Figure, rows: pd.DataFrame, of: Mapping[str, Any], weighted: bool, theme: Theme
) -> None:
    """Traces of the upper panel: the loss, and each of its terms where there are several."""
    names = terms(of)
    spare = iter(_SPARE * len(names))
    mode = "lines+markers" if len(rows) <= _FEW else "lines"
    if len(names) != 1:
        solid = {"color": INK[theme].text, "width": 3}
        figure.add_scatter(
            x=rows["step"],
            y=rows[TOTAL],
            mode=mode,
            line=solid,
            marker={"size": 4},
            name="loss, all terms",
            row=1,
            col=1,
        )
    for name in names:
        mark = _MARKS.get(name) or next(spare)
        column = f"{label(name)}, weighted" if weighted else label(name)
        line = {"color": mark.colour(theme), "dash": mark.dash, "width": 2}
        marker = {"color": mark.colour(theme), "symbol": mark.symbol, "size": 6}
        figure.add_scatter(
            x=rows["step"],
            y=rows[column],
            mode=mode,
            line=line,
            marker=marker,
            name=label(name),
            row=1,
            col=1,
        )


def _looks(figure: go.Figure, rows: pd.DataFrame, kept: float | None, theme: Theme) -> None:
    """Traces of the lower panel: the dev scores, and the one whose weights were kept."""
    quiet = {"color": INK[theme].quiet, "width": 2}
    marker = {"color": INK[theme].paper, "size": 8, "line": {"color": INK[theme].quiet, "width": 2}}
    figure.add_scatter(
        x=rows["step"],
        y=rows[DEV],
        mode="lines+markers",
        line=quiet,
        marker=marker,
        name="dev score",
        row=2,
        col=1,
    )
    star_at = rows[rows["step"] == kept]
    if len(star_at):
        star = {
            "symbol": "star",
            "size": 15,
            "color": INK[theme].text,
            "line": {"color": INK[theme].paper, "width": 1},
        }
        figure.add_scatter(
            x=star_at["step"],
            y=star_at[DEV],
            mode="markers",
            marker=star,
            name="weights kept",
            row=2,
            col=1,
        )


def curves(
    of: Mapping[str, Any], factors: Mapping[str, float] | None = None, theme: Theme = "light"
) -> go.Figure:
    """The loss over the steps, split by term; below it the dev score. `factors` make the terms add
    up to the loss.

    Raises ValueError if nothing was logged yet.
    """
    rows = table(of, factors)
    if rows.empty:
        raise ValueError(
            "a history must hold at least one logged step or look at dev to be drawn, got none"
        )
    has_checks = DEV in rows
    figure = make_subplots(
        rows=2 if has_checks else 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        row_heights=[0.64, 0.36] if has_checks else [1],
    )
    if of["steps"]:
        _lines(figure, rows.dropna(subset=[TOTAL]), of, factors is not None, theme)
    if has_checks:
        _looks(figure, rows.dropna(subset=[DEV]), of.get("kept"), theme)
        scores = rows[DEV].dropna()
        figure.update_yaxes(
            title={"text": "Dev score, %", "standoff": 6},
            range=[max(-1.0, scores.min() - 3), min(101.0, scores.max() + 3)],
            row=2,
            col=1,
        )
    title = (
        "Loss of a batch"
        if factors is not None or len(terms(of)) < 2
        else "Loss of a batch, terms unweighted"
    )
    figure.update_yaxes(title={"text": title, "standoff": 6}, rangemode="tozero", row=1, col=1)
    last = float(of.get("of") or rows["step"].max())
    figure.update_xaxes(range=[0, 1.02 * last])
    figure.update_xaxes(
        title={"text": "Training step", "standoff": 6}, row=2 if has_checks else 1, col=1
    )
    figure.for_each_xaxis(lambda axis: axis.update(fixedrange=True))
    figure.for_each_yaxis(lambda axis: axis.update(fixedrange=True))
    figure.update_layout(
        template=template(theme),
        height=430 if has_checks else 320,
        margin={"l": 62, "r": 14, "t": 10, "b": 118},
        hovermode="x unified",
        legend=LEGEND,
        showlegend=True,
    )
    return figure

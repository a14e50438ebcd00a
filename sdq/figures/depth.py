"""Error through depth: where in the network it arises, and whether it adds up.

sdq.figures.depth_rows picks the numbers of stored depth tables, `draw` and `token_map` draw them,
the readings say them in words. Rounding error and teacher gap are picked apart and never share an
axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sdq.figures import noise
from sdq.figures.curves import MEASURES, OTHERS, axis, curves, run_marks, said
from sdq.figures.depth_rows import language_rows, rows, titled
from sdq.figures.style import INK, MARKS, Mark, Theme, template
from sdq.labels import ROLE_LABELS, language_name, run_names
from sdq.models.families import SITE_ROLES
from sdq.results import EVERY, Report

INSIDE = ("q", "k", "v", "qkv", "attention_output", "ffn_in", "ffn_out")
_PHRASES = {
    "relative_l2": "relative L2 error",
    "sqnr_db": "SQNR",
    "mean_abs": "mean absolute error",
    "frobenius": "Frobenius norm of the error",
}
_STRONG = Mark("#000000", "#ffffff", "solid", "pentagon")
_APART = [
    role for role in INSIDE if role != "qkv"
]  # no model has qkv as well as q, k and v: it takes the mark of q
TYPE_MARKS = {  # there are more marks than roles
    ROLE_LABELS[role]: mark for role, mark in zip(_APART, MARKS.values(), strict=False)
} | {ROLE_LABELS["attention"]: _STRONG}
TYPE_MARKS[ROLE_LABELS["qkv"]] = TYPE_MARKS[ROLE_LABELS["q"]]


@dataclass(frozen=True)
class View:
    """What a picture draws: the roles at which errors are read, a curve per `line` and a panel per
    `panel` (columns of `rows`).

    `errors`: the kinds that can be chosen, default first. `measure`: set where the picture follows
    the paper.
    """

    roles: tuple[str, ...] = ("block",)
    errors: tuple[str, ...] = ("accumulated",)
    line: str = "run"
    panel: str | None = None
    measure: str | None = None


VIEWS = {
    "Blocks": View(),
    "Roles": View(INSIDE, ("local", "accumulated"), panel="type"),
    "Activations": View(SITE_ROLES, ("local", "accumulated"), panel="type"),
    "Languages": View(line="line"),
    "Tokens": View(measure="relative_l2"),
    "Paper: error by layer type": View(
        (*INSIDE, "attention"),
        ("accumulated", "local"),
        line="type",
        panel="run",
        measure="mean_abs",
    ),
    "Paper: self-attention": View(("attention",), measure="frobenius"),
}


def possible(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The views that stored depth tables have rows for."""
    roles = set[str]().union(*(table["role"] for table in tables))
    return [name for name, how in VIEWS.items() if roles & {*how.roles}]


def language_marks(table: pd.DataFrame) -> dict[str, Mark]:
    """How the lines of `language_rows` are drawn."""
    marks = {}
    for line in table["line"].unique():
        kind = "PTQ" if line.endswith("(worst)") else "SDQ" if line.endswith("(best)") else "FP32"
        marks[line] = _STRONG if line.startswith("mean of") else MARKS[kind]
    return marks


def token_map(table: pd.DataFrame, theme: Theme = "light") -> go.Figure:
    """Block by token, one map per run, all with the same colours; forward is downwards."""
    runs = list(dict.fromkeys(table["run"]))
    blocks = table["block"].nunique()
    each = max(90, 20 * blocks)
    inner = each * len(runs) + 40 * (len(runs) - 1)
    figure = make_subplots(
        len(runs),
        1,
        shared_xaxes=True,
        subplot_titles=[escape(run) for run in runs],
        vertical_spacing=40 / inner if len(runs) > 1 else 0,
    )
    for i, run in enumerate(runs):
        _add_map(figure, table[table["run"] == run], run, i + 1)
    token = table.drop_duplicates("position").sort_values("position")
    short = [escape(t if len(t) <= 12 else t[:11] + "…") for t in token["token"]]
    figure.update_annotations(font={"size": 13, "color": INK[theme].text}, x=0, xanchor="left")
    figure.update_xaxes(showgrid=False, fixedrange=True)
    figure.update_xaxes(
        tickvals=token["position"].tolist(), ticktext=short, tickangle=-90, row=len(runs)
    )
    figure.update_yaxes(
        autorange="reversed",
        showgrid=False,
        fixedrange=True,
        dtick=1 if blocks <= 12 else 2,
        title={"text": "Block", "standoff": 4},
    )
    bar = {
        "orientation": "h",
        "thickness": 10,
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "len": 1,
        "title": {"text": axis("relative_l2"), "side": "top"},
    }
    figure.update_layout(
        template=template(theme),
        height=inner + 200,
        margin={"l": 52, "r": 12, "t": 28, "b": 172},
        coloraxis={"colorscale": "Cividis", "cmin": 0, "colorbar": bar},
    )
    return figure


def _add_map(figure: go.Figure, errors: pd.DataFrame, run: str, row: int) -> None:
    """The map of one run."""
    z = errors.pivot(index="block", columns="position", values="value")
    token = errors.drop_duplicates("position").set_index("position")["token"]
    text = [
        [
            f"{escape(run)} · block {b} · {escape(token[p])}<br>{said(z.loc[b, p], 'relative_l2')}"
            for p in z
        ]
        for b in z.index
    ]
    figure.add_heatmap(
        z=z.to_numpy(),
        x=list(z),
        y=list(z.index),
        hovertext=text,
        hoverinfo="text",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        row=row,
        col=1,
    )


def draw(
    view: str,
    reports: Sequence[Report],
    errors: Mapping[str, pd.DataFrame],
    measure: str,
    error: str,
    language: str,
    one: str,
    theme: Theme = "light",
    floors: Mapping[str, pd.DataFrame] | None = None,
) -> tuple[go.Figure, pd.DataFrame, str]:
    """(figure, table, what it shows) of one of VIEWS but "Tokens". `error`: local, accumulated or
    gap. `one` is the run id of the view "Languages".

    `floors`: run id -> table of the noise floor, drawn with accumulated errors; the floor of a
    layer type or language is that of its run.
    """
    how, names = VIEWS[view], run_names(reports)
    if view == "Languages":
        table = language_rows(errors[one], one, names[one], reports[0].labelled, measure)
        marks, text = language_marks(table), language_reading(table, names[one], measure)
    else:
        table = rows(errors, names, measure, error=error, roles=how.roles, language=language)
        by_type = how.line == "type"
        marks = TYPE_MARKS if by_type else run_marks(reports)
        if error == "gap":
            text = gap_reading(table, measure)
        elif by_type:
            text = type_reading(table, measure)
        else:
            text = reading(
                errors,
                names,
                measure,
                language,
                "attention" if how.roles == ("attention",) else "block",
            )
    table = noise.with_floor(table, (floors or {}) if error == "accumulated" else {}, measure)
    return (
        curves(table, measure, marks, theme, how.line, how.panel),
        titled(table, measure),
        text + noise.reading(table, measure),
    )


def _where(language: str) -> str:
    return "" if language == EVERY else f" in {language_name(language)}"


def _pair(names: Sequence[str]) -> list[str]:
    """The runs a sentence speaks of: PTQ and SDQ, or the first and the last."""
    first, second = (
        next((n for n in names if n.split()[0] == method and not n.startswith("SDQ multi")), None)
        for method in ("PTQ", "SDQ")
    )
    return list(dict.fromkeys([first or names[0], second or names[-1]]))


def reading(
    errors: Mapping[str, pd.DataFrame],
    names: Mapping[str, str],
    measure: str,
    language: str = EVERY,
    role: str = "block",
) -> str:
    """Error at the first and last block, where it grows most, and the role with the largest local
    error, with numbers."""
    errors_at = rows(errors, names, measure, roles=(role,), language=language).dropna(
        subset="value"
    )
    if not len(errors_at):
        return f"No error was measured{_where(language)}."
    chosen = _pair(list(dict.fromkeys(errors_at["run"])))
    sign = -1 if MEASURES[measure].higher_is_better else 1
    first = errors_at[errors_at["run"] == chosen[0]].reset_index(drop=True)
    parts = [_ends(errors_at[errors_at["run"] == name], name, measure) for name in chosen]
    site = "block outputs" if role == "block" else "outputs of self-attention"
    text = (
        f"The accumulated {_PHRASES[measure]} at the {site}{_where(language)} goes "
        f"{' and '.join(parts)}."
    )
    growth = sign * first["value"].diff()
    if growth.max() > 0:
        at = int(growth.idxmax())
        verb = "falls" if sign < 0 else "grows"
        text += (
            f" With {chosen[0]} it {verb} most from block {first['block'][at - 1]} to block "
            f"{first['block'][at]} (by {said(growth[at], measure)})."
        )
    elif len(first) > 1:
        text += f" With {chosen[0]} no block makes it worse."
    run = next(run for run, name in names.items() if name == chosen[0])
    local = rows(
        {run: errors[run]},
        names,
        measure,
        error="local",
        roles=list(ROLE_LABELS),
        language=language,
    ).dropna(subset="value")
    if len(local):
        means = local.groupby("type")["value"].mean()
        kind = means.idxmin() if sign < 0 else means.idxmax()
        text += (
            f" The role with the {'lowest local SQNR' if sign < 0 else 'largest local error'} is "
            f"{kind} "
            f"({said(means[kind], measure)} on average)."
        )
    return text


def _ends(blocks: pd.DataFrame, name: str, measure: str) -> str:
    """From the first to the last block of one run."""
    first, last = blocks.iloc[0], blocks.iloc[-1]
    times = (
        f" ({last['value'] / first['value']:.1f} times)"
        if measure != "sqnr_db" and first["value"] > 0 and len(blocks) > 1
        else ""
    )
    return (
        f"from {said(first['value'], measure)} at block {first['block']} to "
        f"{said(last['value'], measure)} at block {last['block']}{times} with {name}"
    )


def type_reading(table: pd.DataFrame, measure: str) -> str:
    """Which layer type has the largest error on average over the blocks, with PTQ and SDQ."""
    worst_last = not MEASURES[measure].higher_is_better
    parts, measured = [], table.dropna(subset="value")
    for name in _pair(list(dict.fromkeys(measured["run"]))) if len(measured) else []:
        of_run = measured[measured["run"] == name]
        means = of_run.groupby("type")["value"].mean().sort_values(ascending=worst_last)
        parts.append(
            f"with {name} at {means.index[-1]} ({said(means.iloc[-1], measure)}), against "
            f"{said(means.iloc[0], measure)} at {means.index[0]}"
        )
    if not parts:
        return "No error was measured."
    return (
        f"On average over the blocks, the {table['error'].iloc[0]} {_PHRASES[measure]} is "
        f"{'largest' if worst_last else 'lowest'} " + "; ".join(parts) + "."
    )


def language_reading(table: pd.DataFrame, name: str, measure: str) -> str:
    """Error of each drawn language at the last block."""
    last = table[(table["block"] == table["block"].max()) & (table["line"] != OTHERS)].dropna(
        subset="value"
    )
    values = "; ".join(
        f"{line}, {said(value, measure)}"
        for line, value in zip(last["line"], last["value"], strict=True)
    )
    return (
        f"Accumulated {_PHRASES[measure]} of {name} at the output of block {table['block'].max()}: "
        f"{values}."
    )


def token_reading(table: pd.DataFrame) -> str:
    """The token with the largest error at the last block, run by run."""
    last = table[table["block"] == table["block"].max()]
    parts = []
    for name, tokens in last.groupby("run", sort=False):
        top = tokens.loc[tokens["value"].idxmax()]
        parts.append(
            f"{top['token']!r} ({said(top['value'], 'relative_l2')}; mean over all tokens "
            f"{said(tokens['value'].mean(), 'relative_l2')}) with {name}"
        )
    return (
        f"At the output of block {last['block'].max()} the token with the largest relative L2 "
        f"error is {', '.join(parts)}."
    )


def gap_reading(table: pd.DataFrame, measure: str) -> str:
    """Teacher gap at the first and last block of every trained run."""
    parts = [
        _ends(blocks, str(name), measure)
        for name, blocks in table.dropna(subset="value").groupby("run", sort=False)
    ]
    return (
        f"The {_PHRASES[measure].replace('error', 'difference')} between student and FP32 teacher "
        f"goes {'; '.join(parts)}."
    )

"""Which module's quantization alone changes the answer to one sentence, over the table "alone" (see
sdq.analyses.sensitivity.alone)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.style import INK, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.labels import language_name, module_label

_ROW = 26  # pixels


def rows(alone: pd.DataFrame, id: str, language: str) -> pd.DataFrame:
    """The modules listed for one sentence, largest KL first, with their labels (`part`); empty if
    the sentence was not scanned."""
    modules = alone[(alone["id"] == id) & (alone["language"] == language)].sort_values(
        "kl", ascending=False, kind="stable", ignore_index=True
    )
    return modules.assign(
        part=[
            module_label(m, role, block)
            for m, role, block in zip(
                modules["module"], modules["role"], modules["block"], strict=True
            )
        ]
    )


def picture(modules: pd.DataFrame, theme: Theme = "light") -> Picture:
    """A bar per module of `rows`: KL when it alone quantizes; one that changes the answer is filled
    and marked ✗. Bars carry [module] as customdata."""
    ink, y = INK[theme], list(range(len(modules)))
    colour = MARKS["PTQ"].colour(theme)
    flips = modules["flips"] > 0
    figure = go.Figure()
    figure.add_bar(
        x=modules["kl"],
        y=y,
        orientation="h",
        customdata=[[module] for module in modules["module"]],
        marker={
            "color": [colour if flip else ink.paper for flip in flips],
            "line": {"color": colour, "width": 1.5},
        },
        text=["  ✗ changes the answer" if flip else "  keeps the answer" for flip in flips],
        textposition="outside",
        textfont={"color": ink.text},
        cliponaxis=False,
        hovertext=[f"{row['part']}<br>KL {row['kl']:.3g} nats" for _, row in modules.iterrows()],
        hoverinfo="text",
        showlegend=False,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    figure.update_layout(
        template=template(theme),
        height=_ROW * len(modules) + 70,
        margin={"l": 150, "r": 14, "t": 8, "b": 52},
        bargap=0.3,
        xaxis={
            "title": {"text": "KL divergence from FP32, nats", "standoff": 6},
            "range": [0, 1.7 * max(float(modules["kl"].max()), 1e-9)],
            "fixedrange": True,
        },
        yaxis={
            "range": [len(modules) - 0.4, -0.6],
            "tickvals": y,
            "ticktext": list(modules["part"]),
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure, modules, reading(modules)


def reading(modules: pd.DataFrame) -> str:
    """Which modules alone change the answer, and what it means if none does."""
    flips = modules[modules["flips"] > 0]
    where = language_name(str(modules["language"].iloc[0]))
    if flips.empty:
        first = modules.iloc[0]
        most = f"{first['part']} moves it most ({first['kl']:.3g} nats)"
        return (
            f"No module alone changes the answer to this sentence in {where}; {most}. It takes "
            "several of them together."
        )
    named = ", ".join(
        f"{row['part']} ({row['kl']:.3g} nats)" for _, row in flips.head(5).iterrows()
    )
    many = (
        f"{len(flips)} modules, each alone, change"
        if len(flips) > 1
        else "One module alone changes"
    )
    return (
        f"{many} the answer to this sentence in {where}: "
        f"{named}{' and others' if len(flips) > 5 else ''}."
    )

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
    """The modules listed for one sentence, largest KL first, with what each is called (`part`);
    empty if the sentence was not looked at."""
    found = alone[(alone["id"] == id) & (alone["language"] == language)].sort_values(
        "kl", ascending=False, kind="stable", ignore_index=True
    )
    return found.assign(
        part=[
            module_label(m, role, block)
            for m, role, block in zip(found["module"], found["role"], found["block"], strict=True)
        ]
    )


def picture(found: pd.DataFrame, theme: Theme = "light") -> Picture:
    """A bar per module of `rows`: KL when it alone quantizes; one that changes the answer is filled
    and marked ✗. Bars carry [module] as customdata."""
    ink, y = INK[theme], list(range(len(found)))
    colour = MARKS["PTQ"].colour(theme)
    flips = found["flips"] > 0
    figure = go.Figure()
    figure.add_bar(
        x=found["kl"],
        y=y,
        orientation="h",
        customdata=[[module] for module in found["module"]],
        marker={
            "color": [colour if flip else ink.paper for flip in flips],
            "line": {"color": colour, "width": 1.5},
        },
        text=["  ✗ changes the answer" if flip else "  keeps it" for flip in flips],
        textposition="outside",
        textfont={"color": ink.text},
        cliponaxis=False,
        hovertext=[f"{row['part']}<br>KL {row['kl']:.3g} nats" for _, row in found.iterrows()],
        hoverinfo="text",
        showlegend=False,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    figure.update_layout(
        template=template(theme),
        height=_ROW * len(found) + 70,
        margin={"l": 150, "r": 14, "t": 8, "b": 52},
        bargap=0.3,
        xaxis={
            "title": {"text": "KL of FP32's answer, nats", "standoff": 6},
            "range": [0, 1.7 * max(float(found["kl"].max()), 1e-9)],
            "fixedrange": True,
        },
        yaxis={
            "range": [len(found) - 0.4, -0.6],
            "tickvals": y,
            "ticktext": list(found["part"]),
            "showgrid": False,
            "fixedrange": True,
        },
    )
    return figure, found, reading(found)


def reading(found: pd.DataFrame) -> str:
    """Which modules alone change the answer, and what it means if none does."""
    flips = found[found["flips"] > 0]
    where = language_name(str(found["language"].iloc[0]))
    if flips.empty:
        first = found.iloc[0]
        most = f"{first['part']} moves it most ({first['kl']:.3g} nats)"
        return (
            f"No module alone changes the answer to this sentence in {where}; {most}. It takes "
            "several together."
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

"""How every figure looks: colours, dashes, markers, template, export. Imports no streamlit (it
would replace plotly's template)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import plotly.graph_objects as go

Theme = Literal["light", "dark"]


@dataclass(frozen=True)
class Mark:
    """How a method is drawn. Meaning never rests on the colour alone: dash and symbol differ as
    well."""

    light: str
    dark: str
    dash: str
    symbol: str

    def colour(self, theme: Theme) -> str:
        return self.light if theme == "light" else self.dark


# Okabe-Ito colours; FP32 solid, PTQ dashed, QAT dotted, SDQ dash-dot
MARKS = {
    "FP32": Mark("#0072B2", "#56B4E9", "solid", "circle"),
    "PTQ": Mark("#D55E00", "#E69F00", "dash", "x"),
    "QAT": Mark("#CC79A7", "#CC79A7", "dot", "square"),
    "QNAT": Mark("#E69F00", "#D55E00", "longdash", "triangle-up"),
    "SDQ": Mark("#009E73", "#009E73", "dashdot", "diamond"),
    "SDQ multi": Mark("#56B4E9", "#F0E442", "longdashdot", "star"),
    "FP32 longer": Mark("#595959", "#C8C8C8", "8px,3px,2px,3px,2px,3px", "triangle-down"),
}
# in pictures and tables: what is not quantized, then by effort
ORDER = ("FP32", "FP32 longer", "PTQ", "QAT", "QNAT", "SDQ", "SDQ multi")


@dataclass(frozen=True)
class Ink:
    """The colours that are not data."""

    text: str
    quiet: str
    grid: str
    paper: str


INK: dict[Theme, Ink] = {
    "light": Ink(text="#1a1f2b", quiet="#59616f", grid="#e3e6eb", paper="#ffffff"),
    "dark": Ink(text="#f2f4f8", quiet="#a9b1bf", grid="#2b3140", paper="#0f131a"),
}


# below the picture, where it may wrap on a narrow screen
LEGEND = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
}


def faint(colour: str, opacity: float) -> str:
    """The colour "#rrggbb" let through: opacity 0 (nothing) to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def mixed(start: str, end: str, share: float) -> tuple[str, str]:
    """("#rrggbb" on the way from `start` (share 0) to `end` (1), black or white: the text that is
    read best on it)."""
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (start, end)]
    rgb = [round(a + (b - a) * share) for a, b in zip(*ends, strict=True)]
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000000" if light > 0.179 else "#ffffff"


@cache
def template(theme: Theme) -> go.layout.Template:
    """Explicit template: the same picture in the app, in an exported file and in a notebook."""
    ink = INK[theme]
    axis = {
        "gridcolor": ink.grid,
        "linecolor": ink.grid,
        "zeroline": False,
        "tickfont": {"color": ink.text, "size": 13},
        "title": {"font": {"color": ink.quiet, "size": 13}},
    }
    layout = go.Layout(
        font={
            "family": "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif",
            "size": 13,
            "color": ink.text,
        },
        paper_bgcolor=ink.paper,
        plot_bgcolor=ink.paper,
        xaxis=axis,
        yaxis=axis,
        colorway=[mark.colour(theme) for mark in MARKS.values()],
        hoverlabel={
            "bgcolor": ink.paper,
            "bordercolor": ink.quiet,
            "font": {"color": ink.text, "size": 13},
        },
        legend={"font": {"color": ink.text, "size": 13}},
    )
    return go.layout.Template(layout=layout)


def to_html(figure: go.Figure, title: str, text: str = "") -> str:
    """One HTML file that needs no network: the figure, its title, and a paragraph of plain text
    above it."""
    from html import escape

    ink = figure.layout.template.layout
    body = figure.to_html(
        full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
    )
    style = (
        f"background:{ink.paper_bgcolor};color:{ink.font.color};font-family:{ink.font.family};max-"
        f"width:60rem;margin:2rem "
        "auto;padding:0 1rem"
    )
    head = (
        f'<meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body '
        f'style="{escape(style)}"><h1>{escape(title)}</h1><p>{escape(text)}</p>{body}</body></html'
        f">"
    )

"""Parts shared by many figures: axes, lines, bands, headings, and intervals as one trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sdq.figures.style import INK, Theme


def value_axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of values that cannot be dragged, with a title close to it."""
    return {"title": {"text": title, "standoff": 6}, **more, "fixedrange": True}


def row_axis(
    at: Sequence[float], names: Sequence[str], bottom: float, top: float = -0.6, **more: Any
) -> dict[str, Any]:
    """An axis with a name at each height of `at`, the first above, from `top` to `bottom`."""
    return {
        "range": [bottom, top],
        "tickvals": at,
        "ticktext": names,
        "showgrid": False,
        "fixedrange": True,
        **more,
    }


def segments(starts: Iterable[float], ends: Iterable[float]) -> list[float | None]:
    """One coordinate of separate lines drawn as one trace: start, end, gap, start, end, gap."""
    return [value for pair in zip(starts, ends, strict=True) for value in (*pair, None)]


def bold(names: Iterable[str], codes: Iterable[str], chosen: str | None) -> list[str]:
    """The names, that of the code `chosen` in bold."""
    return [
        f"<b>{name}</b>" if code == chosen else name
        for name, code in zip(names, codes, strict=True)
    ]


def zero_line(theme: Theme) -> dict[str, Any]:
    """The shape of an upright line at x = 0, behind the data."""
    return {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": INK[theme].text, "width": 1.5},
        "layer": "below",
    }


def shade(y: float, theme: Theme) -> dict[str, Any]:
    """The shape of a grey band behind the row at height y."""
    return {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": y - 0.5,
        "y1": y + 0.5,
        "fillcolor": INK[theme].grid,
        "line": {"width": 0},
        "layer": "below",
    }


def heading(text: str, y: float, xshift: float, theme: Theme, **more: Any) -> dict[str, Any]:
    """The annotation of a bold heading at height y, `xshift` pixels from the left edge of the
    plot."""
    return {
        "text": f"<b>{text}</b>",
        "x": 0,
        "xref": "paper",
        "xshift": xshift,
        "xanchor": "left",
        "y": y,
        "showarrow": False,
        "font": {"size": 13, "color": INK[theme].quiet},
        **more,
    }


def axis_title(text: str, xshift: float, yshift: float, size: int, theme: Theme) -> dict[str, Any]:
    """The annotation of a title above the plot, where a phone has room for it (not along the
    axis)."""
    return {
        "text": text,
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "xshift": xshift,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "yshift": yshift,
        "showarrow": False,
        "font": {"size": size, "color": INK[theme].quiet},
    }

"""A figure on a page with its alt text, data table, exports and link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.glossary import glossary_button
from sdq.figures.style import Theme, to_html
from sdq.io.quoting import csv
from sdq.results import Report


def theme() -> Theme:
    """The theme the visitor sees."""
    return "dark" if st.context.theme.type == "dark" else "light"


def drawn(make: Callable[..., Any], *arguments: Any) -> Any:
    """make(*arguments), cached: a class that looks at the same run draws it once.

    Tables among the arguments must come from a function under `st.cache_resource`: they are
    compared by identity, not by content. Callers must not modify the result.
    """
    return _drawn(f"{make.__module__}.{make.__qualname__}", arguments, make)[0]


@st.cache_resource(
    max_entries=64,
    show_spinner=False,
    hash_funcs={pd.DataFrame: id, Report: lambda report: report.run},
)
def _drawn(
    name: str, arguments: tuple[Any, ...], _make: Callable[..., Any]
) -> tuple[Any, tuple[Any, ...]]:
    return (
        _make(*arguments),
        arguments,
    )  # keeping the arguments alive keeps the ids of their tables unique


def _address(query: dict[str, str]) -> str:
    base = (st.context.url or "").split("?")[0]
    return base + ("?" + urlencode(query, safe=",") if query else "")


def _digits(column: pd.Series[float]) -> str:
    """A number format that suits the size of the column's values."""
    largest = column.abs().max()
    return "%.1f" if not largest < 10 else "%.3f" if largest >= 0.1 else "%.2e"


def show(
    figure: go.Figure,
    table: pd.DataFrame,
    *,
    key: str,
    title: str,
    text: str,
    query: dict[str, str],
    terms: tuple[str, ...],
    clicked: Callable[[list[dict[str, Any]]], None] | None = None,
) -> None:
    """Draw the figure. `text` describes it (alt text and export), `query` holds the parameters of a
    link to it.

    `clicked` is called with the clicked points before the page reruns.
    """
    image = {"format": "svg", "filename": key, "width": 900, "height": figure.layout.height}
    config = {
        "displayModeBar": True,
        "displaylogo": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": image,
    }
    if clicked is None:
        st.plotly_chart(figure, theme=None, key=key, config=config, alt=text)
    else:

        def on_select() -> None:
            points = st.session_state[key]["selection"]["points"]
            if points:
                clicked(points)

        st.plotly_chart(
            figure,
            theme=None,
            key=key,
            config=config,
            alt=text,
            on_select=on_select,
            selection_mode="points",
        )
    figure_tools(
        lambda: to_html(figure, title, text),
        table,
        key=key,
        text=text,
        query=query,
        terms=terms,
        camera=True,
    )


def figure_tools(
    page: Callable[[], str],
    table: pd.DataFrame,
    *,
    key: str,
    text: str,
    query: dict[str, str],
    terms: tuple[str, ...],
    camera: bool = False,
) -> None:
    """Below a figure: exports (`page` returns the HTML file; `camera`: the figure can save itself
    as SVG), a link, the glossary and the data table."""
    with st.container(horizontal=True, key=f"{key}-tools"):
        with st.popover("Export", icon=":material/download:"):
            st.download_button(
                "Web page (HTML)",
                page,
                f"{key}.html",
                "text/html",
                on_click="ignore",
                width="stretch",
            )
            st.download_button(
                "Table (CSV)",
                lambda: csv(table),
                f"{key}.csv",
                "text/csv",
                on_click="ignore",
                width="stretch",
            )
            if camera:
                st.caption("Figure (SVG): use the camera icon at the top right of the figure.")
        with st.popover("Link", icon=":material/link:"):
            st.caption("This address opens the same view again.")
            st.code(_address(query), language=None, wrap_lines=True)
        glossary_button(*terms)
    with st.expander("Numbers behind the figure"):
        numbers = {
            c: st.column_config.NumberColumn(format=_digits(table[c]))
            for c in table.select_dtypes("float")
        }
        st.dataframe(table, hide_index=True, column_config=numbers, alt=text)

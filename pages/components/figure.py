"""A figure on a page, with what belongs to it: alt text, the table behind it, exports, a link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.glossary import words
from sdq.figures.style import Theme, to_html
from sdq.io.quoting import csv
from sdq.results import Report


def theme() -> Theme:
    """The theme the visitor sees."""
    return "dark" if st.context.theme.type == "dark" else "light"


def drawn(make: Callable[..., Any], *arguments: Any) -> Any:
    """make(*arguments), or what it gave for the same before: a class that looks at one run draws it
    once.

    Tables among the arguments must be shared ones (what a function under `st.cache_resource` gave):
    they are told apart by which they are, not by what is in them. Nobody may change what comes
    back.
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
    )  # while it is kept, no other table can take the place in memory that a table here is known by


def _address(query: dict[str, str]) -> str:
    base = (st.context.url or "").split("?")[0]
    return base + ("?" + urlencode(query, safe=",") if query else "")


def _digits(column: pd.Series[float]) -> str:
    """As many digits as tell the column's numbers apart."""
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
    """Draw the figure. `text` says what it shows (alt text and export), `query` is what a link must
    carry to show it again.

    `clicked` is called with the points of a click, before the page runs again.
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
    beside(
        lambda: to_html(figure, title, text),
        table,
        key=key,
        text=text,
        query=query,
        terms=terms,
        camera=True,
    )


def beside(
    page: Callable[[], str],
    table: pd.DataFrame,
    *,
    key: str,
    text: str,
    query: dict[str, str],
    terms: tuple[str, ...],
    camera: bool = False,
) -> None:
    """What belongs to a picture: exports (`page` gives the web page; with a `camera` it can be
    saved as SVG), a link, words, and the table behind it."""
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
                st.caption("Picture (SVG): the camera at the picture's upper right corner.")
        with st.popover("Link", icon=":material/link:"):
            st.caption("This address shows the same picture again.")
            st.code(_address(query), language=None, wrap_lines=True)
        words(*terms)
    with st.expander("The numbers behind the picture"):
        numbers = {
            c: st.column_config.NumberColumn(format=_digits(table[c]))
            for c in table.select_dtypes("float")
        }
        st.dataframe(table, hide_index=True, column_config=numbers, alt=text)

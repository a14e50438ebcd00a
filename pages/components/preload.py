"""Have the browser load plotly's script (4.7 MB) while the server still computes the page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st


@st.cache_resource(show_spinner=False)
def _script() -> str | None:
    """Name of the script in the installed streamlit; None if another version keeps it elsewhere, in
    which case nothing is preloaded."""
    scripts = sorted(
        (Path(st.__file__).parent / "static" / "static" / "js").glob("PlotlyChart.*.js")
    )
    return scripts[0].name if scripts else None


def preload() -> None:
    """Request the script; streamlit's own import of the same address then finds it loaded."""
    if name := _script():
        st.html(
            "<script>(() => { const near = document.querySelector('link[rel=modulepreload]'); "
            f"if (near) import(near.href.replace(/[^/]+$/, '{name}')).catch(() => 0); "
            "})()</script>",
            unsafe_allow_javascript=True,
        )

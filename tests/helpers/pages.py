"""Pages under AppTest, and what they show."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]


def scan_once() -> None:
    """Every AppTest is a new runtime to streamlit, which then searches all installed packages for
    components, for a third of a second. What is installed stays the same."""
    if not hasattr(manifest_scanner.scan_component_manifests, "cache_info"):
        manifest_scanner.scan_component_manifests = cache(  # type: ignore[assignment]
            manifest_scanner.scan_component_manifests
        )


def opened(page: str = "", **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if page:
        app.switch_page(page)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def text_of(app: AppTest) -> str:
    kinds = (
        "title",
        "subheader",
        "markdown",
        "caption",
        "info",
        "error",
        "warning",
        "html",
        "code",
    )
    text = "\n".join(
        str(getattr(e, "value", "") or getattr(e.proto, "body", ""))
        for kind in kinds
        for e in app.get(kind)
    )
    return re.sub(
        r"</?abbr[^>]*>", "", text
    )  # explanations of terms are not what these tests look for


def links(app: AppTest) -> dict[str, str]:
    """Label -> what the link carries, from the top of the page down."""
    return {e.proto.label: e.proto.query_string for e in app.get("page_link")}


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"

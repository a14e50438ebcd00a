"""Every page in a real browser: it draws, fits a phone, and has no serious barrier for anybody (axe-core)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sdq.store import Store
from tests.e2e.browser import settled
from tests.e2e.screens import pages

pytestmark = pytest.mark.browser
NAMES = sorted(pages("x", "y", "z"))


@pytest.fixture(scope="module")
def addresses(data: Path) -> dict[str, str]:
    """Name -> address of every view, with real ids in it."""
    mine = {r.recipe["name"]: r.run for r in Store(data / "runs", None).finished() if r.task == "intent"}
    return pages(mine["ptq-w3a8"], mine["sdq-att-kld-w3a8"], mine["fp32"])


def opened(page: Any, address: str) -> None:
    page.goto(address)
    settled(page)
    page.wait_for_function("() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(e => e.querySelector('.main-svg'))")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_no_serious_barrier(chromium: Any, server: str, addresses: dict[str, str], name: str, theme: str) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("axe-playwright-python is not installed (pip install -r requirements-dev.txt)")
    from axe_playwright_python.sync_playwright import Axe

    page = chromium.new_page(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    try:
        opened(page, server + addresses[name])
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [(v["id"], [n["target"] for n in v["nodes"]][:3], v["nodes"][0]["html"][:160]) for v in found if v["impact"] in ("serious", "critical")]
        assert not serious
    finally:
        page.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_a_phone_and_the_console_is_silent(server: str, page: Any, addresses: dict[str, str], name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, server + addresses[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("h1").count() == 1
    assert page.get_by_role("dialog").count() == 0  # "Page not found"

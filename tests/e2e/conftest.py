"""One server for all on a data folder of made-up runs; one browser."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdq.store import Store
from tests.e2e import browser as machine
from tests.helpers import made_up, made_up_inspection


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """It ends with this folder: while playwright lives its event loop runs, and asyncio could start
    no other."""
    missing = None
    if importlib.util.find_spec("playwright") is None:
        missing = "playwright is not installed (pip install playwright)"
    elif machine.chromium() is None:
        missing = "no Chromium was found (apt install chromium, or playwright install chromium)"
    if missing is not None:
        if os.environ.get("SDQ_REQUIRE_BROWSER") == "1":
            pytest.fail(f"SDQ_REQUIRE_BROWSER=1, but {missing}")
        print(f"browser tests skipped: {missing}")
        pytest.skip(missing)
    with machine.browser() as shown:
        yield shown


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e") / "data"
    store = Store(folder / "runs", None)
    made_up.fill(store, ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8"))
    made_up_inspection.write(
        store,
        next(
            r.run for r in store.finished() if (r.recipe["name"], r.task) == ("ptq-w3a8", "intent")
        ),
    )
    return folder


@pytest.fixture(scope="package")
def server(chromium: Any, data: Path) -> Iterator[str]:
    with machine.serve(data) as address:
        yield address


def _counts(message: Any) -> bool:
    """Every error counts, but for streamlit's own search for its base path on a deep link (404
    under /quantize/_stcore)."""
    probe = "404" in message.text and message.location["url"].endswith(
        ("_stcore/health", "_stcore/host-config")
    )
    return message.type == "error" and not probe


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A fresh page; the test fails if the browser's console showed an error or the page an
    exception."""
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    problems: list[str] = []
    page.on(
        "console",
        lambda message: (
            problems.append(f"{message.text} {message.location['url']}")
            if _counts(message)
            else None
        ),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    exceptions = page.locator("[data-testid='stException']").all_inner_texts()
    page.close()
    assert not exceptions
    assert not problems

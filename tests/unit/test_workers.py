"""How the suite is shared out: a file stays in one worker, and whatever starts servers in one,
which begins first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_collection_modifyitems, pytest_xdist_make_scheduler


def test_a_file_and_whatever_starts_servers_stay_in_one_worker() -> None:
    pytest.importorskip("xdist")
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue=lambda name: ["popen", "popen"]
    )
    of = pytest_xdist_make_scheduler(config, None)._split_scope
    assert not config.option.loadscopereorder
    assert (
        of("tests/unit/analyses/test_why.py::test_a[1]")
        == of("tests/unit/analyses/test_why.py::test_b")
        != of("tests/ui/test_why.py::test_b")
    )
    assert (
        of("tests/drills/test_deaths.py::test_a")
        == of("tests/e2e/test_browser.py::test_b")
        != of("tests/ui/test_why.py::test_b")
    )


def test_what_starts_servers_begins_first(request: pytest.FixtureRequest) -> None:
    items = [
        SimpleNamespace(path=request.path.parent.parent / folder / "test_a.py")
        for folder in ("cases", "drills", "ui", "e2e", "unit")
    ]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert [item.path.parent.name for item in items] == ["drills", "e2e", "cases", "ui", "unit"]

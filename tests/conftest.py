"""Every test runs from the repository, on one thread: numbers then do not depend on the machine's load."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("SDQ_NICE", "0")  # tests beside it are no visitors for whom a computation should stand back


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist, what starts servers and browsers stays in one worker, and goes first: it waits more than it computes."""
    for item in items:
        if item.path.parent.name in ("e2e", "drills"):
            item.add_marker(pytest.mark.xdist_group("servers"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)

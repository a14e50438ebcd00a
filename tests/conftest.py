"""Every test runs from the repository, on one thread, from one seed: numbers then depend neither on the machine's load nor on the tests before."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
import tests.profiles  # noqa: E402, F401  which examples property tests try

os.environ.setdefault("SDQ_NICE", "0")  # tests beside it are no visitors for whom a computation should stand back


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """What a test draws without a generator of its own is the same alone, in any order and in any worker."""
    random.seed(0)
    np.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:  # tests of pages load it in no process
        torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist, what starts servers and browsers stays in one worker, and goes first: it waits more than it computes."""
    for item in items:
        if item.path.parent.name in ("e2e", "drills"):
            item.add_marker(pytest.mark.xdist_group("servers"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)

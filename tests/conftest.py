"""Every test runs from the repository, on one thread, from one seed: numbers then depend neither on
the machine's load nor on the tests before."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
import tests.profiles  # noqa: E402, F401  which examples property tests try

os.environ.setdefault(
    "SDQ_NICE", "0"
)  # tests beside it are no visitors for whom a computation should stand back


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """What a test draws without a generator of its own is the same alone, in any order and in any
    worker."""
    random.seed(0)
    np.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:  # tests of pages load it in no process
        # not torch.manual_seed, which notes down the whole stack for devices that are not there
        torch.default_generator.manual_seed(0)


def group(path: str) -> str:
    """What stays in one worker under pytest-xdist: a file, so that what its fixtures make is made
    once; and what starts servers and browsers, which waits more than it computes."""
    return "servers" if path.split("/")[1] in ("e2e", "drills") else path


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Groups in the order of their tests. Its own `--dist loadgroup` groups nothing under pytest
    9.2, whose items have no `_nodeid`."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return Grouped(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: it is not looked through for garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts servers goes first."""
    items.sort(key=lambda item: item.path.parent.name not in ("e2e", "drills"))

"""The tiny world of the drills, made once: nobody changes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdq.jobs import queue as jobs
from sdq.store import Store
from tests.drills import deaths
from tests.drills.deaths import World
from tests.helpers.drilling import NICE


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return deaths.made(tmp_path_factory.mktemp("world"))


@contextlib.contextmanager
def place(folder: Path, **settings: str) -> Iterator[Store]:
    """A data folder of its own, whose cluster ends with the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "SDQ_DATA": str(folder / "data"),
            "SDQ_SHIPPED": "no",
            "SDQ_CLUSTER_IDLE": "30",
            **settings,
        }.items():
            patch.setenv(name, value)
        store = Store(folder / "data" / "runs", shipped=None)
        yield store
        jobs.stop(store)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """For one test alone, which may kill what it likes."""
    with place(tmp_path) as store:
        yield store


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """For tests that kill nothing of the cluster: it is started once. What it computes stands back
    by NICE."""
    with place(
        tmp_path_factory.mktemp("shared"), SDQ_CLUSTER_IDLE="300", SDQ_NICE=str(NICE)
    ) as store:
        yield store

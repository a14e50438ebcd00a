"""The tiny world of the drills, made once: nobody changes it."""

from __future__ import annotations

import pytest

from tests.drills import deaths
from tests.drills.deaths import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return deaths.made(tmp_path_factory.mktemp("world"))

"""What tests of figures share."""

from __future__ import annotations

import pytest

from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.depth import THREE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("data") / "runs", shipped=None)
    made_up.fill(store, ("fp32", *THREE), ("intent",))
    return store

"""What tests of inspection share."""

from __future__ import annotations

import pandas as pd
import pytest

from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.made_up_inspection import MADE


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, pd.DataFrame]]:
    """(report, all tables) of a made-up run."""
    store = Store(tmp_path_factory.mktemp("data") / "runs", None)
    plain, report = (made_up.add(store, PRESETS[name]) for name in ("fp32", "ptq-w3a8"))
    tables = {name: make() for name, make in MADE.items()}
    return report, tables | {
        "sentences": store.sentences(report.run),
        "reference": store.sentences(plain.run),
    }

"""A made-up inspection for tests: one function per table of sdq.inspection.registry.ANALYSES, with
plausible numbers and no model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspection_id
from sdq.store import Store
from tests.helpers.made_up_reasons import conductance, drift, mismatch, why, words
from tests.helpers.made_up_remedies import costs, pareto, remedies
from tests.helpers.made_up_sensitivity import alone, estimate, floor, parts, sensitivity

MADE: dict[str, Callable[[], pd.DataFrame]] = {
    "sensitivity": sensitivity,
    "estimate": estimate,
    "floor": floor,
    "parts": parts,
    "alone": alone,
    "words": words,
    "drift": drift,
    "conductance": conductance,
    "why": why,
    "mismatch": mismatch,
    "costs": costs,
    "pareto": pareto,
    "remedies": remedies,
}


def write(store: Store, run: str) -> None:
    """Every table of MADE as the inspection of a run, with the default settings."""
    kept, home = store.inspections(), inspection_id(run, Inspection())
    folder = kept.begin(home, {"inspects": run, "settings": Inspection().model_dump(mode="json")})
    for name, content in _files().items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)
    (folder / "done").write_text("")


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """The tables of MADE as the store writes them, made once."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "inspections", None)
        home = store.begin("0" * 12, {})
        for name, make in MADE.items():
            store.keep("0" * 12, name, make())
        return {path.name: path.read_bytes() for path in sorted(home.glob("*.parquet"))}

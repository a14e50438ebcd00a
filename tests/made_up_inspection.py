"""Made-up inspections for tests: one function per table of sdq.inspection.ANALYSES, with plausible numbers and no model."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from sdq.inspection import Inspection, inspection_id
from sdq.store import Store

MADE: dict[str, Callable[[], pd.DataFrame]] = {}


def write(store: Store, run: str) -> None:
    """Every table of MADE as the inspection of a run, with the default settings."""
    kept, home = store.inspections(), inspection_id(run, Inspection())
    kept.begin(home, {"inspects": run, "settings": Inspection().model_dump(mode="json")})
    for name, make in MADE.items():
        kept.keep(home, name, make())
    (kept.folder / home / "done").write_text("")

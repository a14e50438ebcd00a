"""Five shipped runs give what they gave before the engine was moved into rooms.

recorded.json was written with commit 3a1b3d0: scores, a hash of every table, and the findings of
the diagnosis where the run was looked into.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdq.inspection.diagnosis import diagnose
from sdq.inspection.storage import read
from sdq.settings import UserError
from sdq.store import SHIPPED, TABLES, Store

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded.json").read_text("utf-8"))


def digest(table: pd.DataFrame, **form: Any) -> str:
    return hashlib.sha256(table.to_json(**form).encode()).hexdigest()[:16]


def tables_of(store: Store, run: str) -> dict[str, pd.DataFrame]:
    tables = {}
    for name in TABLES:
        try:
            tables[name] = store.table(run, name)
        except UserError:  # FP32 has no errors, and repetitions ship with scores alone
            continue
    return tables


@pytest.mark.parametrize("run", RECORDED)
def test_a_shipped_run_gives_what_it_gave(run: str, tmp_path: Path) -> None:
    store, before = Store(tmp_path / "runs", SHIPPED), RECORDED[run]
    report, tables, sentences = store.report(run), tables_of(store, run), store.sentences(run)
    assert report.quantized.by_language == before["scores"]
    assert report.quantized.zero_shot_mean == before["zero_shot"]
    assert digest(sentences) == before["sentences"]
    hashes = {name: digest(table, double_precision=12) for name, table in tables.items()}
    assert hashes == before["tables"]
    if before["diagnosis"]:
        told = diagnose(report, read(run, store) | tables | {"sentences": sentences})
        assert [[f.label, f.cost, f.gain, f.cause, f.at] for f in told.findings] == before[
            "diagnosis"
        ]

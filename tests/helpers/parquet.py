"""Parquet files as people bring them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet


def parquet(table: Any, **how: Any) -> bytes:
    made = io.BytesIO()
    pa.parquet.write_table(table, made, **how)
    return made.getvalue()


def parquet_of(rows: Sequence[Mapping[str, Any]], schema: Any = None) -> bytes:
    return parquet(pa.Table.from_pylist(list(rows), schema=schema))


def classes(*names: str) -> bytes:
    """Labels as `datasets` writes a ClassLabel of these names."""
    features = {
        "label": {"names": names, "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table({"text": ["fine", "sad"], "label": pa.array([1, 0], pa.int64())})
    return parquet(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    )


def bomb() -> bytes:
    """A few kilobytes that decode to gigabytes."""
    long = pa.DictionaryArray.from_arrays(
        pa.array([0] * 4000, pa.int32()), pa.array(["x" * 900_000])
    )
    return parquet(pa.table({"text": long, "label": ["a", "b"] * 2000}), write_statistics=False)


def lists() -> bytes:
    """A column of long lists that no task asks for."""
    n = 20_000_000
    more = pa.ListArray.from_arrays(
        pa.array([0, n, 2 * n], pa.int32()), pa.array(np.zeros(2 * n, np.int64))
    )
    return parquet(
        pa.table({"text": ["x", "y"], "label": ["a", "b"], "more": more}), write_statistics=False
    )

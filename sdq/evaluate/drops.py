"""What quantization costs in each language: scores against FP32, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sdq.evaluate.significance import paired_tests
from sdq.labels import language_name, run_names, width
from sdq.results import Report, against_fp32

SURE = 0.05  # Holm's p below which a drop is told from chance


_TESTED = ("p", "p_holm", "detectable")


def drop_table(
    reports: Sequence[Report],
    sentences: Mapping[str, pd.DataFrame] | None = None,
    fp32: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per language and quantized run; languages by falling drop of the first quantized run,
    the trained-on one last. Scores in %, drops in points.

    reports: runs; the FP32 ones are left out, FP32 trained longer comes last
    sentences: run id -> per-sentence table; adds the number of sentences.
    fp32: that of the FP32 run; adds the paired 95 % bounds and the test of
        sdq.evaluate.significance: p, p_holm, test, lost, gained, clusters, detectable (points).

    Raises ValueError if no report is of a quantized run, or if `fp32` holds other sentences.
    """
    quantized = against_fp32(reports)
    if not quantized:
        raise ValueError("reports must hold at least one quantized run, got none")
    first = quantized[0]
    drops = {
        code: first.reference.by_language[code] - value
        for code, value in first.quantized.by_language.items()
    }
    order = sorted(drops, key=lambda code: (code == first.labelled, -drops[code]))
    tested = {
        r.run: paired_tests(fp32, sentences[r.run], order, (r.labelled,)).set_index("language")
        for r in quantized
        if sentences is not None and fp32 is not None and r.run in sentences
    }
    labels = run_names(quantized)
    rows = [
        _drop_row(code, r, labels[r.run], (sentences or {}).get(r.run), tested.get(r.run))
        for code in order
        for r in quantized
    ]
    return pd.DataFrame(rows).astype(
        dict.fromkeys(("sentences", "lost", "gained", "clusters"), "Int64")
    )


def _drop_row(
    code: str,
    report: Report,
    label: str,
    sentences: pd.DataFrame | None,
    tested: pd.DataFrame | None,
) -> dict[str, Any]:
    before, after = (
        100 * report.reference.by_language[code],
        100 * report.quantized.by_language[code],
    )
    row: dict[str, Any] = {
        "code": code,
        "language": language_name(code),
        "labels in training": code == report.labelled,
    }
    row |= {
        "run": report.run,
        "method": report.method,
        "label": label,
        "width": width(report.recipe),
    }
    row |= {"FP32": before, "score": after, "drop": before - after, "low": np.nan, "high": np.nan}
    row["sentences"] = pd.NA if sentences is None else int((sentences["language"] == code).sum())
    row |= dict.fromkeys(_TESTED, np.nan) | {
        "test": "",
        "lost": pd.NA,
        "gained": pd.NA,
        "clusters": pd.NA,
    }
    if tested is not None:
        test = tested.loc[code]
        row |= {"low": -test["high"], "high": -test["low"]} | {
            name: test[name] for name in (*_TESTED, "test", "lost", "gained", "clusters")
        }
    return row

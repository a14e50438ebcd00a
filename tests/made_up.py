"""Made-up finished runs for tests: plausible numbers, no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sdq.recipe import PRESETS, Recipe
from sdq.report import Report, Scores
from sdq.statistics import by_language, means
from sdq.store import Store, run_id

LANGUAGES = ("en", "de", "es", "fr", "ru", "bg", "el", "tr", "ar", "vi", "th", "zh", "hi", "ur", "sw")
KEPT = {"FP32": 1.0, "PTQ": 0.82, "QAT": 0.90, "QNAT": 0.89, "SDQ": 0.96, "SDQ multi": 0.98}
ALL = ("fp32", *(f"{m}-{w}" for w in ("int8", "w3a8") for m in ("qat", "sdq-att-kld", "sdq-att-kld-multi")), "ptq-int8-dynamic", "ptq-w3a8")


def outcomes(keep: float, task: str, n: int = 120) -> pd.DataFrame:
    """Per-sentence counts in which later languages suffer more."""
    rng = np.random.default_rng(7)
    rows = []
    for i, code in enumerate(LANGUAGES):
        right = (0.96 - 0.012 * i) * (1 - (1 - keep) * (0.25 if code == "en" else 0.6 + 0.08 * i))
        gold = np.ones(n, int) if task == "intent" else rng.integers(1, 4, n)
        tp = (rng.random((n, 3)) < right)[:, :3].cumsum(1)[np.arange(n), gold - 1]
        rows += [(f"{code}-{k}", code, int(tp[k]), int(gold[k]), int(gold[k]), "answer", 0.5) for k in range(n)]
    return pd.DataFrame(rows, columns=["id", "language", "tp", "predicted", "gold", "answer", "margin"])


def scores(table: pd.DataFrame) -> Scores:
    """Scores in the order of LANGUAGES."""
    found = by_language(table)
    mean, zero = means(found, "en")
    return Scores(mean=mean, zero_shot_mean=zero, by_language={code: found[code] for code in LANGUAGES})


def add(store: Store, recipe: Recipe, task: str = "intent", keep: float | None = None) -> Report:
    """Write one finished run; the share `keep` of the FP32 score survives quantization."""
    keep = (KEPT[recipe.method] if keep is None else keep) if recipe.rules else 1.0
    if "int8" in recipe.name:
        keep = 1 - (1 - keep) / 6
    full, table = outcomes(1.0, task), outcomes(keep, task)
    run = run_id(recipe, "made-up", task)
    report = Report(
        run=run, recipe=recipe.model_dump(mode="json"), method=recipe.method, model="mini", task=task, metric="accuracy" if task == "intent" else "f1",
        labelled="en", reference=scores(full), quantized=scores(table), layers=(), seconds={"evaluate": 12.0, "train": 40.0 if recipe.training else 0.0},
        size_bytes={"fp32": 24_000_000, "quantized_simulated": 6_400_000 if recipe.rules else 24_000_000}, provenance={"seed": recipe.seed, "test_sentences": len(table), "torch": "2.13.0"},
    )  # fmt: skip
    store.begin(run, {"recipe": report.recipe})
    store.finish(report, table)
    return report


def fill(store: Store, names: tuple[str, ...] = ALL, tasks: tuple[str, ...] = ("intent", "slots")) -> list[Report]:
    """Write a finished run for each preset and task."""
    return [add(store, PRESETS[name], task) for task in tasks for name in names]

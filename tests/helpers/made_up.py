"""Made-up finished runs for tests: plausible numbers over the real test sentences, no model."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from sdq.evaluate.statistics import by_language, means
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report, Scores
from sdq.store import Store, run_id, seal
from tests.helpers.made_up_tables import LANGUAGES, loaded, table_files

KEPT = {"FP32": 1.0, "PTQ": 0.82, "QAT": 0.90, "QNAT": 0.89, "SDQ": 0.96, "SDQ multi": 0.98}
ALL = (
    "fp32",
    *(f"{m}-{w}" for w in ("int8", "w3a8") for m in ("qat", "sdq-att-kld", "sdq-att-kld-multi")),
    "ptq-int8-dynamic",
    "ptq-w3a8",
)


def outcomes(keep: float, task: str, n: int = 120) -> pd.DataFrame:
    """Per-sentence counts and answers, over real test sentences, in which later languages suffer
    more."""
    return _outcomes(keep, task, n).copy()


@cache
def _outcomes(keep: float, task: str, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    data, rows = loaded(task), []
    for i, code in enumerate(LANGUAGES):
        right = (0.96 - 0.012 * i) * (1 - (1 - keep) * (0.25 if code == "en" else 0.6 + 0.08 * i))
        for example in data.examples("test", (code,))[::5][:n]:
            gold = 1 if task == "intent" else sum(tag.startswith("B-") for tag in example.targets)
            draws = rng.random(max(1, gold))
            tp = int((draws[:gold] < right).sum())
            wrong = (
                data.labels[(data.labels.index(example.targets[0]) + 1) % len(data.labels)]
                if task == "intent"
                else " ".join("O" for _ in example.targets)
            )
            rows.append(
                (
                    example.id,
                    code,
                    tp,
                    gold,
                    gold,
                    " ".join(example.targets) if tp == gold else wrong,
                    float(abs(right - draws[0]) * 6),
                )
            )
    return pd.DataFrame(
        rows, columns=["id", "language", "tp", "predicted", "gold", "answer", "margin"]
    )


def scores(table: pd.DataFrame) -> Scores:
    """Scores in the order of LANGUAGES."""
    found = by_language(table)
    mean, zero = means(found, "en")
    return Scores(
        mean=mean, zero_shot_mean=zero, by_language={code: found[code] for code in LANGUAGES}
    )


def add(
    store: Store,
    recipe: Recipe,
    task: str = "intent",
    keep: float | None = None,
    model: str = "mini",
) -> Report:
    """Write one finished run; the share `keep` of the FP32 score survives quantization."""
    report, files = _finished(recipe.model_dump_json(), task, keep, model)
    folder = store.begin(report.run, {"recipe": report.recipe})
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # a new file, as the store writes them
        (folder / name).write_bytes(content)
    return report.model_copy(deep=True)


@cache
def _finished(
    recipe_json: str, task: str, keep: float | None, model: str
) -> tuple[Report, dict[str, bytes]]:
    """A report, and the files of its run as the store writes them, the marker last: made once, as
    compressing them takes longer than most tests do."""
    recipe = Recipe.model_validate_json(recipe_json)
    keep = (KEPT[recipe.method] if keep is None else keep) if recipe.rules else 1.0
    if "int8" in recipe.name:
        keep = 1 - (1 - keep) / 6
    full, table = outcomes(1.0, task), outcomes(keep, task)
    run = run_id(recipe, "made-up" if model == "mini" else f"made-up {model}", task)
    report = Report(
        run=run,
        recipe=recipe.model_dump(mode="json"),
        method=recipe.method,
        model=model,
        task=task,
        metric="accuracy" if task == "intent" else "f1",
        labelled="en",
        reference=scores(full),
        quantized=scores(table),
        seconds={"evaluate": 12.0, "train": 40.0 if recipe.training else 0.0},
        size_bytes={
            "fp32": 24_000_000,
            "quantized_simulated": 6_400_000 if recipe.rules else 24_000_000,
        },
        provenance={"seed": recipe.seed, "test_sentences": len(table), "torch": "2.13.0"},
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "runs", None)
        home = store.begin(run, {"recipe": report.recipe})
        for name, content in table_files(recipe, keep).items():
            (home / f"{name}.parquet").write_bytes(content)
        store.finish(report, table)
        names = [*sorted(p.name for p in home.iterdir() if p.name != "done"), "done"]
        return report, {name: (home / name).read_bytes() for name in names}


def without(store: Store, report: Report, *names: str) -> None:
    """Take tables out of a finished run, as if a version that had none of them had made it."""
    for name in names:
        (store.folder / report.run / f"{name}.parquet").unlink()
    seal(store.folder / report.run)


def fill(
    store: Store, names: tuple[str, ...] = ALL, tasks: tuple[str, ...] = ("intent", "slots")
) -> list[Report]:
    """Write a finished run for each preset and task."""
    return [add(store, PRESETS[name], task) for task in tasks for name in names]

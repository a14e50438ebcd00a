"""Made-up finished runs for tests: plausible numbers over the real test sentences, no model."""

from __future__ import annotations

import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdq.data.registry import load_task
from sdq.evaluate.statistics import by_language, means
from sdq.models.families import SITE_ROLES
from sdq.quant.spec import WeightSpec
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report, Scores
from sdq.store import Store, run_id, seal

LANGUAGES = (
    "en",
    "de",
    "es",
    "fr",
    "ru",
    "bg",
    "el",
    "tr",
    "ar",
    "vi",
    "th",
    "zh",
    "hi",
    "ur",
    "sw",
)
KEPT = {"FP32": 1.0, "PTQ": 0.82, "QAT": 0.90, "QNAT": 0.89, "SDQ": 0.96, "SDQ multi": 0.98}
ALL = (
    "fp32",
    *(f"{m}-{w}" for w in ("int8", "w3a8") for m in ("qat", "sdq-att-kld", "sdq-att-kld-multi")),
    "ptq-int8-dynamic",
    "ptq-w3a8",
)


loaded = lru_cache(load_task)


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


MODULES = [
    ("roberta.embeddings.word_embeddings", "embedding", -1),
    *(
        (f"roberta.encoder.layer.{i}.{name}", role, i)
        for i in range(6)
        for name, role in (
            ("attention.self.query", "q"),
            ("attention.self.key", "k"),
            ("attention.self.value", "v"),
            ("attention.output.dense", "attention_output"),
            ("intermediate.dense", "ffn_in"),
            ("output.dense", "ffn_out"),
        )
    ),
    ("classifier.dense", "head", -1),
    ("classifier.out_proj", "head", -1),
]


def _weights(values: np.ndarray, channels: np.ndarray, spec: WeightSpec | None) -> dict[str, Any]:
    """A row of the weights of a module."""
    low, high = float(values.min()), float(values.max())
    row = {
        "rows": 192,
        "columns": 192,
        "low": low,
        "high": high,
        "fp32": np.histogram(values, 128, (low, high))[0].astype("int32"),
        "channels": 192,
        "channel": np.arange(192, dtype="int32"),
        "channel_low": channels[:, 0].astype("float32"),
        "channel_high": channels[:, -1].astype("float32"),
        "bits": 32,
    }
    if spec is None:
        return row
    top = 2 ** (spec.bits - 1) - 1
    scale = max(-low, high) / top
    back = np.clip(np.round(values / scale), -top, top) * scale
    return row | {
        "quantized": np.histogram(back, 128, (low, high))[0].astype("int32"),
        "bits": spec.bits,
        "symmetric": True,
        "granularity": spec.granularity.kind,
        "ranges": 1,
        "scale_low": scale,
        "scale_high": scale,
        "mse": float(((back - values) ** 2).mean()),
        "sqnr_db": float(10 * np.log10((values**2).mean() / ((back - values) ** 2).mean())),
        "clipped": 0.0,
        "codes_used": float(len(np.unique(back))),
        "codes": 2 * top + 1,
        "grid": (np.arange(-top, top + 1) * scale).astype("float32"),
    }


def _activations(x: np.ndarray, language: int, quantized: bool) -> dict[str, Any]:
    """A row of what a module reads in a language."""
    row = {
        "low": -8.0,
        "high": 8.0,
        "bits": 8 if quantized else 32,
        "language": LANGUAGES[language],
        "counts": np.histogram(x, 128, (-8, 8))[0].astype("int32"),
        "language_low": float(x.min()),
        "language_high": float(x.max()),
    }
    if not quantized:
        return row
    return row | {
        "dynamic": True,
        "granularity": "token",
        "range_low": -3.0,
        "range_high": 3.0,
        "widest_low": -6.0,
        "widest_high": 6.0,
        "mse": 1e-4 * (1 + language),
        "sqnr_db": 40.0 - language,
        "clipped": 0.0,
    }


def sites() -> list[tuple[str, str, int]]:
    """(name, role, block) of every place whose error is measured, in the order of a pass."""
    found = []
    for name, role, block in MODULES:
        found += [(f"{name}:input", "attention", block)] if role == "attention_output" else []
        found += [(name, role, block)]
        found += [(name.removesuffix(".output.dense"), "block", block)] if role == "ffn_out" else []
    return found


def _depth(recipe: Recipe, keep: float) -> pd.DataFrame:
    """Errors that grow through depth and with 1 - keep."""
    rows, named = [], [role for rule in recipe.rules for role in rule.roles if role in SITE_ROLES]
    activations = [(f"block.{i}.{role}_quantizer", role, i) for i in range(6) for role in named]
    for order, (name, role, block) in enumerate([*sites(), *activations]):
        for measure in ("local", "accumulated", *(("gap",) if recipe.training else ())):
            if measure == "local" and role in ("attention", "block"):
                continue
            for i, code in enumerate(("all", *LANGUAGES)):
                size = (
                    (1.05 - keep)
                    * (1 + 0.03 * i)
                    * (0.3 if measure == "local" else 0.2 + 0.15 * (block + 1))
                )
                rows.append(
                    {
                        "site": name,
                        "role": role,
                        "block": block,
                        "order": order,
                        "measure": measure,
                        "language": code,
                        "relative_l2": size,
                        "sqnr_db": -20 * np.log10(size),
                        "mean_abs": 0.4 * size,
                        "frobenius": 30 * size,
                    }
                )
    return pd.DataFrame(rows)


def tables(recipe: Recipe, keep: float) -> dict[str, pd.DataFrame]:
    """Tables of the shape that sdq.inspect gives, of random numbers; errors grow through depth and
    with 1 - keep."""
    rng = np.random.default_rng(3)
    spec = recipe.rules[0].weight if recipe.rules else None
    weights, activations, profiles = [], [], []
    for name, role, block in MODULES:
        module = {"module": name, "role": role, "block": block}
        values = rng.standard_t(5, 20_000) * 0.05
        weights.append(module | _weights(values, np.sort(rng.choice(values, (192, 24)), 1), spec))
        if role == "embedding":
            continue
        for i in range(len(LANGUAGES)):
            x = rng.normal(0, 1 + 0.05 * i, 4000)
            activations.append(module | _activations(x, i, spec is not None))
        peak = np.abs(rng.normal(0, 2, 192)).astype("float32")
        peak[17] = 20
        profiles.append(
            module
            | {
                "position_low": -rng.random(20).astype("float32") * 4,
                "position_high": rng.random(20).astype("float32") * 4,
                "dimension_peak": peak,
                "dimension_rms": peak / 3,
            }
        )
    sample = [
        (e.id, code, e.text.split())
        for code in LANGUAGES
        for e in loaded("intent").examples("test", (code,))[::5][:2]
    ]
    found = {
        "weights": pd.DataFrame(weights),
        "activations": pd.DataFrame(activations),
        "profiles": pd.DataFrame(profiles),
        "sample": pd.DataFrame(
            [(i, *row) for i, row in enumerate(sample)],
            columns=["sentence", "id", "language", "tokens"],
        ),
    }
    if spec is None:
        return found
    tokens = [
        (i, t, b, 0.1 * (b + 1) * (t + 1))
        for i, (_, _, words) in enumerate(sample)
        for t in range(len(words))
        for b in range(6)
    ]
    columns = ["sentence", "position", "block", "relative_l2"]
    return found | {
        "depth": _depth(recipe, keep),
        "tokens": pd.DataFrame(tokens, columns=columns),
    }


def add(store: Store, recipe: Recipe, task: str = "intent", keep: float | None = None) -> Report:
    """Write one finished run; the share `keep` of the FP32 score survives quantization."""
    report, files = _finished(recipe.model_dump_json(), task, keep)
    folder = store.begin(report.run, {"recipe": report.recipe})
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # a new file, as the store writes them
        (folder / name).write_bytes(content)
    return report.model_copy(deep=True)


@cache
def _finished(recipe_json: str, task: str, keep: float | None) -> tuple[Report, dict[str, bytes]]:
    """A report, and the files of its run as the store writes them, the marker last: made once, as
    compressing them takes longer than most tests do."""
    recipe = Recipe.model_validate_json(recipe_json)
    keep = (KEPT[recipe.method] if keep is None else keep) if recipe.rules else 1.0
    if "int8" in recipe.name:
        keep = 1 - (1 - keep) / 6
    full, table = outcomes(1.0, task), outcomes(keep, task)
    run = run_id(recipe, "made-up", task)
    report = Report(
        run=run,
        recipe=recipe.model_dump(mode="json"),
        method=recipe.method,
        model="mini",
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
        for name, rows in tables(recipe, keep).items():
            store.keep(run, name, rows)
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

"""The tables of a made-up run: what `sdq.inspect` gives, of random numbers, no model."""

from __future__ import annotations

import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sdq.data.registry import load_task
from sdq.models.families import SITE_ROLES
from sdq.quant.spec import WeightSpec
from sdq.recipe import Recipe
from sdq.store.folder import write

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
loaded = lru_cache(load_task)

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


def _depth(roles: tuple[str, ...], trained: bool, keep: float) -> pd.DataFrame:
    """Errors that grow through depth and with 1 - keep, of layers and of activations in `roles`."""
    rows = []
    activations = [(f"block.{i}.{role}_quantizer", role, i) for i in range(6) for role in roles]
    for order, (name, role, block) in enumerate([*sites(), *activations]):
        for measure in ("local", "accumulated", *(("gap",) if trained else ())):
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
    spec = recipe.rules[0].weight if recipe.rules else None
    found = {name: rows.copy() for name, rows in _drawn(spec).items()}
    if spec is None:
        return found
    return found | {"depth": _depth(_site_roles(recipe), recipe.training is not None, keep)}


def _site_roles(recipe: Recipe) -> tuple[str, ...]:
    """The activations apart from layers that the recipe quantizes."""
    return tuple(role for rule in recipe.rules for role in rule.roles if role in SITE_ROLES)


@cache
def _module_values(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a module, and 24 of each of its 192 channels in rising order."""
    rng = np.random.default_rng((3, number))
    values = rng.standard_t(5, 20_000) * 0.05
    return values, np.sort(rng.choice(values, (192, 24)), 1)


@cache
def _drawn(spec: WeightSpec | None) -> dict[str, pd.DataFrame]:
    """The tables that neither training nor `keep` changes."""
    rng = np.random.default_rng(3)
    weights, activations, profiles = [], [], []
    for number, (name, role, block) in enumerate(MODULES):
        module = {"module": name, "role": role, "block": block}
        weights.append(module | _weights(*_module_values(number), spec))
        if role == "embedding":
            continue
        for i in range(len(LANGUAGES)):
            x = rng.normal(0, 1 + 0.05 * i, 1000)
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
    return found | {"tokens": pd.DataFrame(tokens, columns=columns)}


def _encoded(rows: pd.DataFrame) -> bytes:
    """The table as the store writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write(rows, path)
        return path.read_bytes()


@cache
def _drawn_files(spec: WeightSpec | None) -> dict[str, bytes]:
    return {name: _encoded(rows) for name, rows in _drawn(spec).items()}


@cache
def _depth_file(roles: tuple[str, ...], trained: bool, keep: float) -> bytes:
    return _encoded(_depth(roles, trained, keep))


def table_files(recipe: Recipe, keep: float) -> dict[str, bytes]:
    """What `tables` gives, encoded: compressing takes longest, and runs share most tables."""
    spec = recipe.rules[0].weight if recipe.rules else None
    files = _drawn_files(spec)
    if spec is None:
        return files
    return files | {"depth": _depth_file(_site_roles(recipe), recipe.training is not None, keep)}

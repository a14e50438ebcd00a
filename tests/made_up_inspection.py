"""Made-up inspections for tests: one function per table of sdq.inspection.registry.ANALYSES, with
plausible numbers and no model."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from sdq.inspection.remedies import at as chosen_at
from sdq.inspection.remedies import mixed
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspection_id
from sdq.quant.mixed_precision import FP, choice_of, keep_worst
from sdq.recipe import PRESETS
from sdq.store import Store
from tests.made_up import LANGUAGES, MODULES, loaded

KL = {
    name: 0.4 * 0.8**i
    for i, name in enumerate(np.random.default_rng(5).permutation([name for name, _, _ in MODULES]))
}  # of each module alone
QUIET = min(KL, key=KL.__getitem__)  # its effect is below its floor


def _metrics(kl: float, language: int, sentences: int) -> dict[str, float]:
    """kl, flips, loss and accuracy of about that divergence, with intervals; later languages suffer
    more."""
    kl *= 1 + 0.04 * language
    flips = min(1.0, 0.6 * kl**0.5)
    found = {}
    for metric, value in (
        ("kl", kl),
        ("flips", flips),
        ("loss", 0.9 * kl),
        ("accuracy", -0.7 * flips),
    ):
        half = abs(value) * 2 / sentences**0.5
        found |= {metric: value, f"{metric}_low": value - half, f"{metric}_high": value + half}
    return found


def sensitivity() -> pd.DataFrame:
    known = [(name, role, block, i) for i, (name, role, block) in enumerate(MODULES)]
    whole, rows = sum(KL.values()), []
    of = {
        "one": lambda kl: kl,
        "but_one": lambda kl: whole - 0.9 * kl,
        "added": lambda kl: 0.9 * kl,
    }
    kinds = [
        (*module, measure, kl(KL[module[0]])) for measure, kl in of.items() for module in known
    ]
    for name, role, block, order, measure, kl in [*kinds, ("all", "all", -1, -1, "all", whole)]:
        for i, code in enumerate(("all", *LANGUAGES)):
            n = 8 if i else 8 * len(LANGUAGES)
            row = {
                "module": name,
                "role": role,
                "block": block,
                "order": order,
                "measure": measure,
                "language": code,
                "sentences": n,
                "positions": n,
            }
            rows.append(row | _metrics(kl, i, n))
    return pd.DataFrame(rows)


def estimate() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = []
    for order, (name, role, block) in enumerate(MODULES):
        guess = KL[name] * float(rng.lognormal(0, 0.4))
        part = 0.0 if role == "embedding" else 0.05 * guess
        rows.append(
            {
                "module": name,
                "role": role,
                "block": block,
                "order": order,
                "estimate": guess,
                "weight": guess - part,
                "activation": part,
            }
        )
    return pd.DataFrame(rows)


def floor() -> pd.DataFrame:
    """Sites move as far as FP32's times 100000; the module QUIET moves more than quantizing it
    does, the others a hundredth of it."""
    sites = []
    for name, role, block in MODULES:
        sites += [(f"{name}:input", "attention", block)] if role == "attention_output" else []
        sites += [(name, role, block)]
        sites += [(name.removesuffix(".output.dense"), "block", block)] if role == "ffn_out" else []
    found = []
    for order, (name, role, block) in enumerate(sites):
        size = 0.01 * (block + 2)
        for kind, value in (("site", size), ("fp32", 1e-5 * size)):
            known = {"kind": kind, "name": name, "role": role, "block": block, "order": order}
            measures = {
                "relative_l2": value,
                "sqnr_db": -20 * np.log10(value),
                "mean_abs": 0.4 * value,
                "frobenius": 30 * value,
            }
            found += [known | {"measure": measure, "value": v} for measure, v in measures.items()]
    for order, (name, role, block) in enumerate(MODULES):
        kl = 3 * KL[name] if name == QUIET else 0.01 * KL[name]
        known = {"kind": "module", "name": name, "role": role, "block": block, "order": order}
        found += [
            known | {"measure": m, "value": v}
            for m, v in (("kl", kl), ("flips", 0.01), ("loss", kl / 5), ("accuracy", 0.005))
        ]
    for kind, kl in (("model", 0.05), ("fp32", 1e-9)):
        known = {"kind": kind, "name": "all", "role": "all", "block": -1, "order": -1}
        flips = 0.1 if kind == "model" else 0.0
        moved = {"kl": kl, "flips": flips, "loss": kl / 5, "accuracy": flips / 4}
        moved |= {"kl_shift": kl / 2, "flips_shift": flips / 5} if kind == "model" else {}
        found += [known | {"measure": m, "value": v} for m, v in moved.items()]
    far = {
        "sqnr_db": 0.9
    }  # of the farthest repetition, times the median; fewer decibels are farther
    return pd.DataFrame(
        [
            row
            | {
                "value": row["value"] * times,
                "high": row["value"] * times * far.get(row["measure"], 1.3),
                "cause": cause,
                "repeats": 4,
            }
            for row in found
            for cause, times in (("perturbation", 1.0), ("batch", 0.8))
        ]
    )[["kind", "name", "role", "block", "order", "measure", "value", "high", "cause", "repeats"]]


def parts() -> pd.DataFrame:
    rows = []
    for part, kl in (
        ("weights", 0.9 * sum(KL.values())),
        ("activations", 0.02),
        ("both", sum(KL.values())),
    ):
        for i, code in enumerate(("all", *LANGUAGES)):
            n = 8 if i else 8 * len(LANGUAGES)
            rows.append(
                {"part": part, "language": code, "sentences": n, "positions": n}
                | _metrics(kl, i, n)
            )
    return pd.DataFrame(rows)


def alone() -> pd.DataFrame:
    """Of 8 real sentences per language: the three modules of largest KL; in every second sentence
    the first of them flips the answer."""
    known = {name: (role, block) for name, role, block in MODULES}
    worst = sorted(KL, key=lambda name: -KL[name])[:3]
    rows = []
    for code in LANGUAGES:
        for i, example in enumerate(loaded("intent").examples("test", (code,))[::5][:8]):
            for name in worst:
                role, block = known[name]
                flips = float(name == worst[0] and i % 2 == 0)
                rows.append(
                    {
                        "id": example.id,
                        "language": code,
                        "module": name,
                        "role": role,
                        "block": block,
                        "kl": KL[name] * (1 + i / 8),
                        "flips": flips,
                    }
                )
    return pd.DataFrame(rows)


def words() -> pd.DataFrame:
    """Of 5 real sentences per language (the first five of `alone`): FP32 and quantized
    attributions; in every second one another answer."""
    rng = np.random.default_rng(8)
    rows = []
    for code in LANGUAGES:
        for i, example in enumerate(loaded("intent").examples("test", (code,))[::5][:5]):
            answer = "weather" if i % 2 and example.targets[0] != "weather" else example.targets[0]
            deltas = float(rng.normal(0, 0.002)), float(rng.normal(0, 0.03))
            for position, word in enumerate(example.words):
                fp32 = float(rng.normal(0.3, 0.8))
                quantized = 0.8 * fp32 + float(rng.normal(0, 0.4))
                rows.append(
                    (
                        example.id,
                        code,
                        position,
                        word,
                        fp32,
                        quantized,
                        quantized + float(rng.normal(0, 0.001)),
                        example.targets[0],
                        answer,
                        *deltas,
                    )
                )
    return pd.DataFrame(
        rows,
        columns=[
            "id",
            "language",
            "position",
            "word",
            "fp32",
            "quantized",
            "nudged",
            "target",
            "answer",
            "delta_fp32",
            "delta_quantized",
        ],
    )


def drift() -> pd.DataFrame:
    rows = []
    for i, code in enumerate(("all", *LANGUAGES)):
        rank, sign, half = 0.9 - 0.02 * i, 0.88 - 0.01 * i, 0.15 if i else 0.05
        row = {
            "language": code,
            "sentences": 5 if i else 5 * len(LANGUAGES),
            "words": 40 if i else 40 * len(LANGUAGES),
            "rank_correlation": rank,
        }
        row |= {
            "rank_low": rank - half,
            "rank_high": min(1.0, rank + half),
            "floor": 0.998,
            "sign_agreement": sign,
            "sign_low": sign - half,
            "sign_high": min(1.0, sign + half),
        }
        rows.append(row | {"completeness_fp32": 0.001, "completeness_quantized": 0.008 + 0.001 * i})
    return pd.DataFrame(rows)


def conductance() -> pd.DataFrame:
    """Nine tenths of its KL alone flow through each module; QUIET repairs."""
    value = {name: 0.9 * kl if name != QUIET else -0.05 for name, kl in KL.items()}
    whole = sum(value.values()) / 0.98
    sites = [
        ("module", name, role, block, i, [name]) for i, (name, role, block) in enumerate(MODULES)
    ]
    outside = [("block", *site[1:]) for site in sites if site[3] < 0]
    inside = {block: [name for name, _, b in MODULES if b == block] for block in range(6)}
    blocks = [
        ("block", f"roberta.encoder.layer.{block}", "block", block, 6 * (block + 1), names)
        for block, names in inside.items()
    ]
    rows = []
    for level, site, role, block, order, names in [
        *sites,
        *sorted([*outside, *blocks], key=lambda each: each[4]),
    ]:
        for measure, factor in (("kl", 1.0), ("loss", 1.1)):
            for i, code in enumerate(("all", *LANGUAGES)):
                grown = factor * (1 + 0.04 * i)
                mine = grown * sum(value[name] for name in names)
                half = abs(mine) * (0.1 if i == 0 else 0.4)
                known = {
                    "site": site,
                    "role": role,
                    "block": block,
                    "order": order,
                    "level": level,
                    "measure": measure,
                    "language": code,
                }
                known |= {
                    "sentences": 8 if i else 8 * len(LANGUAGES),
                    "value": mine,
                    "low": mine - half,
                    "high": mine + half,
                    "share": mine / (grown * whole),
                }
                rows.append(
                    known
                    | {
                        "total": grown * whole,
                        "delta": -0.02 * grown * whole,
                        "scan": grown * sum(KL[name] for name in names),
                        "rho": 0.9,
                    }
                )
    return pd.DataFrame(rows)


def why() -> pd.DataFrame:
    """In every layer unit 17 stands out, and units 40 to 42 of feed-forward out; keeping unit 17 in
    FP32 wins nine tenths of the KL of the worst five modules."""
    nan, worst = float("nan"), sorted(KL, key=lambda name: -KL[name])[:5]
    rows = []
    for name, role, block in MODULES:
        known = {
            "module": name,
            "role": role,
            "block": block,
            "source": "",
            "source_value": nan,
            "source_usual": nan,
            "language": "",
            "sentence": -1,
            "position": -1,
        }
        known |= {"kl": KL[name] if name in worst else nan, "token": ""}
        causes: list[tuple[str, float, float, str, int, float, dict[str, object]]] = [
            (
                "weight_row",
                0.9,
                0.3,
                "|w|",
                5,
                nan,
                {"token": "▁the"} if role == "embedding" else {},
            ),
            ("weight_column", 0.9, 0.4, "|w|", 7, 0.02, {}),
            ("unused_weights", 0.4, 0.38, "share of codes", -1, nan, {}),
            ("weights", 0.11, 0.1, "relative L2", -1, 0.08, {}),
        ]
        if role != "embedding":
            made = {
                "source": f"roberta.encoder.layer.{max(0, block)}.output.LayerNorm",
                "source_value": 29.5,
                "source_usual": 1.01,
                "language": "sw",
            }
            causes += [("outlier_unit", 45.0, 3.0, "|x|", 17, 0.9, made)]
            causes += [
                ("outlier_unit", 14.0, 3.0, "|x|", unit, nan, made)
                for unit in (40, 41, 42)
                if role == "ffn_out"
            ]
            causes += [
                (
                    "massive_token",
                    45.0,
                    9.0,
                    "|x|",
                    3,
                    nan,
                    {"language": "th", "sentence": 2, "position": 3, "token": "▁a"},
                ),
                ("clipped", 0.002, 0.001, "share", -1, nan, {"language": "th"}),
                ("wide_language", 50.0, 48.0, "range", -1, nan, {"language": "ur"}),
                ("heavy_tails", 40.0, 6.0, "kurtosis", -1, nan, {}),
                ("unused_inputs", 0.2, 0.1, "share of codes", -1, nan, {}),
                ("inputs", 0.09, 0.02, "relative L2", -1, 0.95, {}),
            ]
        for cause, value, usual, unit, at, share, more in causes:
            gain = share * KL[name] if name in worst else nan
            rows.append(
                known
                | {
                    "cause": cause,
                    "value": value,
                    "usual": usual,
                    "unit": unit,
                    "at": at,
                    "gain": gain,
                    "gain_low": 0.8 * gain,
                    "gain_high": 1.2 * gain,
                }
                | more
            )
    norms = ["roberta.embeddings.LayerNorm"] + [
        f"roberta.encoder.layer.{i}.{part}"
        for i in range(6)
        for part in ("attention.output.LayerNorm", "output.LayerNorm")
    ]
    for i, name in enumerate(norms):
        row = {
            "module": name,
            "role": "layernorm",
            "block": (i - 1) // 2,
            "cause": "damping",
            "value": 0.05 + 0.01 * i,
            "usual": 0.06 + 0.01 * i,
            "unit": "relative L2",
        }
        rows.append(
            row
            | {"at": -1, "source": "", "language": "", "sentence": -1, "position": -1, "token": ""}
        )
    return pd.DataFrame(rows)


def mismatch() -> pd.DataFrame:
    """Static ranges measured on English: the other languages are clipped, and recalibrating wins
    most of the KL."""
    rows = []
    for i, code in enumerate(("all", *LANGUAGES)):
        kl, clipped = (
            0.3 + 0.02 * i if code != "en" else 0.05,
            0.0 if code == "en" else 0.004 + 0.0005 * i,
        )
        row = {
            "language": code,
            "calibrated": code == "en",
            "sentences": 8 if i else 8 * len(LANGUAGES),
            "positions": 8 if i else 8 * len(LANGUAGES),
        }
        row |= {"clipped": clipped, "clipped_alike": 0.0001}
        for what, value in (("kl", kl), ("kl_alike", 0.04), ("cost", kl - 0.04)):
            row |= {what: value, f"{what}_low": value - 0.03, f"{what}_high": value + 0.03}
        rows.append(row)
    return pd.DataFrame(rows)


def costs() -> pd.DataFrame:
    """Of ptq-w3a8: each bit less costs four times as much, a range per channel a fifth; the
    embedding has 8 bits and ranges per channel."""
    rows = []
    for name, role, block in MODULES:
        height, width = {
            "embedding": (16_000, 192),
            "ffn_in": (768, 192),
            "ffn_out": (192, 768),
        }.get(role, (192, 192))
        for bits, ranges in itertools.product(
            (2, 3, 4, 6, 8), ("channel",) if role == "embedding" else ("tensor", "channel")
        ):
            cost = KL[name] * 4.0 ** (3 - bits) * (0.2 if ranges == "channel" else 1.0)
            size = height * width * bits // 8 + 4 * (height if ranges == "channel" else 1)
            rows.append(
                (
                    name,
                    role,
                    block,
                    bits,
                    ranges,
                    (bits, ranges) == ((8, "channel") if role == "embedding" else (3, "tensor")),
                    cost,
                    0.7 * cost,
                    1.3 * cost,
                    size,
                )
            )
        rows.append((name, role, block, FP, "", False, 0.0, 0.0, 0.0, 4 * height * width))
    return pd.DataFrame(
        rows,
        columns=[
            "module",
            "role",
            "block",
            "bits",
            "ranges",
            "present",
            "cost",
            "low",
            "high",
            "bytes",
        ],
    )


def pareto() -> pd.DataFrame:
    """Every module as wide as the others, ranges per channel; 2.3 MB that no width changes."""
    table, rows = costs(), []
    for bits in (2, 3, 4, 6, 8, FP):
        choice = choice_of(table[(table["bits"] == bits) & table["ranges"].isin(("channel", ""))])
        rows.append(
            (
                choice.bytes + 2_300_000,
                choice.cost,
                json.dumps(choice.widths),
                json.dumps(choice.ranges),
            )
        )
    return pd.DataFrame(rows, columns=["bytes", "cost", "widths", "ranges"])


def remedies() -> pd.DataFrame:
    """Of ptq-w3a8: mixed widths at the run's own size surely help, the worst module in FP32 wins
    little, migration nothing."""
    recipe, table, rows = PRESETS["ptq-w3a8"], costs(), []
    wide = mixed(recipe, chosen_at(pareto().iloc[2], table), "mixed-100")
    kept = recipe.model_copy(
        update={"name": "ptq-w3a8-keep-1", "rules": keep_worst(KL, 1, recipe.rules)}
    )
    moved = recipe.model_copy(update={"name": "ptq-w3a8-migrated", "migration": 0.5})
    for code, what, other, size, predicted, change, p in (
        ("mixed-100", "Mixed widths, as large as this run", wide, 6_390_000, 0.2, 4.2, 0.0001),
        ("keep-1", "Keep the worst module in FP32", kept, 7_100_000, 1.6, 0.6, 0.2),
        (
            "migration",
            "Move outliers from activations into weights (SmoothQuant, strength 0.5)",
            moved,
            6_450_000,
            2.1,
            -0.3,
            0.6,
        ),
    ):
        scored = {
            "score": 70 + change,
            "zero_shot": 68 + change,
            "change": change,
            "low": change - 0.9,
            "high": change + 0.9,
            "p": p,
            "n": 1680,
        }
        rows.append(
            {
                "remedy": code,
                "what": what,
                "recipe": other.model_dump_json(),
                "bytes": size,
                "predicted": predicted,
                **scored,
                "run": "",
            }
        )
    return pd.DataFrame(rows)


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

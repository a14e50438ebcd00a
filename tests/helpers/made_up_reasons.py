"""Made-up tables of where the damage comes from and what it does to words, with plausible numbers
and no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.helpers.made_up_sensitivity import KL, QUIET
from tests.helpers.made_up_tables import LANGUAGES, MODULES, loaded


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


def _causes(
    role: str, block: int
) -> list[tuple[str, float, float, str, int, float, dict[str, object]]]:
    """(cause, value, usual, unit, at, share of the KL that its removal wins, more columns)."""
    nan = float("nan")
    causes: list[tuple[str, float, float, str, int, float, dict[str, object]]] = [
        ("weight_row", 0.9, 0.3, "|w|", 5, nan, {"token": "▁the"} if role == "embedding" else {}),
        ("weight_column", 0.9, 0.4, "|w|", 7, 0.02, {}),
        ("unused_weights", 0.4, 0.38, "share of codes", -1, nan, {}),
        ("weights", 0.11, 0.1, "relative L2", -1, 0.08, {}),
    ]
    if role == "embedding":
        return causes
    made: dict[str, object] = {
        "source": f"roberta.encoder.layer.{max(0, block)}.output.LayerNorm",
        "source_value": 29.5,
        "source_usual": 1.01,
        "language": "sw",
    }
    token: dict[str, object] = {"language": "th", "sentence": 2, "position": 3, "token": "▁a"}
    others = (40, 41, 42) if role == "ffn_out" else ()
    return [
        *causes,
        ("outlier_unit", 45.0, 3.0, "|x|", 17, 0.9, made),
        *(("outlier_unit", 14.0, 3.0, "|x|", unit, nan, made) for unit in others),
        ("massive_token", 45.0, 9.0, "|x|", 3, nan, token),
        ("clipped", 0.002, 0.001, "share", -1, nan, {"language": "th"}),
        ("wide_language", 50.0, 48.0, "range", -1, nan, {"language": "ur"}),
        ("heavy_tails", 40.0, 6.0, "kurtosis", -1, nan, {}),
        ("unused_inputs", 0.2, 0.1, "share of codes", -1, nan, {}),
        ("inputs", 0.09, 0.02, "relative L2", -1, 0.95, {}),
    ]


def _damping() -> list[dict[str, object]]:
    """A row of every LayerNorm."""
    norms = ["roberta.embeddings.LayerNorm"] + [
        f"roberta.encoder.layer.{i}.{part}"
        for i in range(6)
        for part in ("attention.output.LayerNorm", "output.LayerNorm")
    ]
    nowhere = {"at": -1, "source": "", "language": "", "sentence": -1, "position": -1, "token": ""}
    return [
        {
            "module": name,
            "role": "layernorm",
            "block": (i - 1) // 2,
            "cause": "damping",
            "value": 0.05 + 0.01 * i,
            "usual": 0.06 + 0.01 * i,
            "unit": "relative L2",
        }
        | nowhere
        for i, name in enumerate(norms)
    ]


def why() -> pd.DataFrame:
    """In every layer unit 17 stands out, and units 40 to 42 of feed-forward out; keeping unit 17 in
    FP32 wins nine tenths of the KL of the worst five modules."""
    nan, worst = float("nan"), sorted(KL, key=lambda name: -KL[name])[:5]
    rows: list[dict[str, object]] = []
    for name, role, block in MODULES:
        row: dict[str, object] = {
            "module": name,
            "role": role,
            "block": block,
            "source": "",
            "source_value": nan,
            "source_usual": nan,
            "language": "",
            "sentence": -1,
            "position": -1,
            "kl": KL[name] if name in worst else nan,
            "token": "",
        }
        for cause, value, usual, unit, at, share, more in _causes(role, block):
            gain = share * KL[name] if name in worst else nan
            gains = {"gain": gain, "gain_low": 0.8 * gain, "gain_high": 1.2 * gain}
            found = {"cause": cause, "value": value, "usual": usual, "unit": unit, "at": at}
            rows.append(row | found | gains | more)
    return pd.DataFrame([*rows, *_damping()])


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

"""Made-up tables of which module does how much damage, with plausible numbers and no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.helpers.made_up_tables import LANGUAGES, MODULES, loaded, sites

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
    found = []
    for order, (name, role, block) in enumerate(sites()):
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

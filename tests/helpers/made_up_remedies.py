"""Made-up tables of what widths cost and remedies win, with plausible numbers and no model."""

from __future__ import annotations

import itertools
import json

import pandas as pd

from sdq.inspection.remedies import choice_at as chosen_at
from sdq.inspection.remedies import mixed_precision_recipe
from sdq.quant.mixed_precision import FP, choice_of, keep_worst
from sdq.recipe import PRESETS
from tests.helpers.made_up_sensitivity import KL
from tests.helpers.made_up_tables import MODULES


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
    wide = mixed_precision_recipe(recipe, chosen_at(pareto().iloc[2], table), "mixed-100")
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

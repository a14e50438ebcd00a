"""How modules, languages, runs, metrics and numbers are called on screen and in reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sdq.data.languages import language
from sdq.results import METRICS, Report

ROLE_LABELS = {
    "embedding": "embedding",
    "q": "query",
    "k": "key",
    "v": "value",
    "qkv": "query, key, value",
    "attention": "self-attention",
    "attention_output": "attention output",
    "ffn_in": "feed-forward in",
    "ffn_out": "feed-forward out",
    "attention_query": "query in attention",
    "attention_key": "key in attention",
    "attention_probs": "attention probabilities",
    "attention_value": "value in attention",
    "ffn_activation": "activation function",
    "residual": "residual sum",
    "layernorm": "LayerNorm output",
    "block": "block output",
    "head": "head",
}


def module_label(module: str, role: str, block: int) -> str:
    """Of module "roberta.encoder.layer.3.attention.self.query", role "q", block 3: "block 3 ·
    query". Blocks count from 0, as in the checkpoint."""
    if block >= 0:
        return f"block {block} · {ROLE_LABELS.get(role, role)}"
    end = module.rpartition(".")[2]
    if role == "embedding" and ("project" in end or "mapping" in end):  # of a factorized embedding
        return "embedding projection"
    return f"head · {end}" if role == "head" else ROLE_LABELS.get(role, module)


_FROM_RIGHT = ("Arab", "Hebr")  # scripts


def language_name(code: str) -> str:
    """English name of a language, or its code."""
    return language(code).name


def direction(code: str) -> str:
    """How a language is written: "rtl" or "ltr"."""
    return "rtl" if language(code).script in _FROM_RIGHT else "ltr"


def width(recipe: Mapping[str, Any]) -> str:
    """INT8, W4A8 and so on: bits of weights and activations of a recipe's first rule, "mixed" if
    modules have other ones by rules of their own; "FP32" without rules."""
    if not recipe.get("rules"):
        return "FP32"
    first, *rest = recipe["rules"]
    w, a = _bits(first)
    mixed = any(rule.get("name", "*") != "*" and _bits(rule) != (w, a) for rule in rest)
    return (f"INT{w}" if w == a else f"W{w}A{a}") + (" mixed" if mixed else "")


def _bits(rule: Mapping[str, Any]) -> tuple[int, int]:
    """Of weights and activations; 32: not rounded."""
    weight, activation = (rule.get(side) for side in ("weight", "activation"))
    return weight["bits"] if weight else 32, activation["bits"] if activation else 32


def treatment(width: str, method: str) -> str:
    """What was done to a model: "W3A8 by PTQ"; the method alone where nothing is rounded."""
    return method if width == "FP32" else f"{width} by {method}"


def run_names(reports: Sequence[Report]) -> dict[str, str]:
    """Run id -> the shortest name that tells the runs apart: the method, with the width where there
    are several, and among runs of one method with the seed, the recipe, both, or the id's first
    digits.
    """
    several = len({width(r.recipe) for r in reports if r.is_quantized}) > 1

    def wide(report: Report) -> str:
        return (
            f"{report.method} {width(report.recipe)}"
            if several and report.is_quantized
            else report.method
        )

    levels: tuple[Callable[[Report], str], ...] = (
        wide,
        lambda r: f"{wide(r)}, seed {r.recipe['seed']}",
        lambda r: f"{r.method} {r.recipe['name']}",
        lambda r: f"{r.method} {r.recipe['name']}, seed {r.recipe['seed']}",
        lambda r: f"{r.method} {r.run[:6]}",
    )
    names = {}
    for report in reports:
        twins = [r for r in reports if r.method == report.method]
        fitting = (level for level in levels if len({level(r) for r in twins}) == len(twins))
        names[report.run] = next(fitting, lambda r: str(r.run))(report)
    return names


def measure(metric: str) -> str:
    """A metric inside a sentence: accuracy, F1, nDCG."""
    return METRICS[metric].inside


def nats(value: float) -> str:
    """Two digits that count, without exponent: 0.0027, 0.000027; nothing below a billionth."""
    if value == 0 or not math.isfinite(value) or abs(value) < 1e-9:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """A difference or correlation: +1.5, −2,462.0 with a minus and commas; +0.0, never −0.0. Empty
    for one that there is not."""
    return "" if math.isnan(value) else f"{value:+z,.{digits}f}".replace("-", "−")


def share(value: float) -> str:
    """A share as a percentage: 0.004 -> "0.4 %"."""
    return f"{nats(100 * value)} %" if 0 < abs(value) < 0.01 else f"{100 * value:.0f} %"


def listed(words: Iterable[str]) -> str:
    """One or more in a row: "PTQ, QAT and SDQ"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def scheme_title(name: str) -> str:
    """A scheme of a study in words: "full integer per tensor"."""
    return name.replace("-", " ")

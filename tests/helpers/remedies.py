"""Runs that remedies are tried on."""

from __future__ import annotations

from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.recipe import Recipe

STATIC = ActivationSpec(bits=8, symmetric=False, granularity=PerTensor(), dynamic=False)
BASE = Recipe(
    name="base",
    rules=(
        Rule(weight=WeightSpec(bits=4, granularity=PerTensor()), activation=STATIC),
        Rule(roles=("embedding",), weight=WeightSpec(bits=8)),
    ),
)
DYNAMIC = BASE.model_copy(
    update={
        "rules": (BASE.rules[0].model_copy(update={"activation": ActivationSpec()}), BASE.rules[1])
    }
)

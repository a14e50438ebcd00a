"""Rules that models are rewritten by."""

from __future__ import annotations

from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False)
INT8 = (Rule(weight=WeightSpec(), activation=ActivationSpec()),)

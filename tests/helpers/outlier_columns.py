"""Rules for columns that are held apart, and what tests of them vary."""

from __future__ import annotations

from typing import Any

import pytest

from sdq.quant.spec import (
    ActivationSpec,
    OutlierColumns,
    PerChannel,
    PerGroup,
    PerTensor,
    Rule,
    WeightSpec,
)

HOWS = ("keep", "split_weight", "split_input")
HOW = pytest.mark.parametrize("how", HOWS)
GRAINS = pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
LAYER = "roberta.encoder.layer.0.output.dense"
FEW = OutlierColumns(columns=(3, 9))


def apart(how: Any, *columns: int) -> OutlierColumns:
    return OutlierColumns(columns=columns, how=how)


def rule(how: Any, *columns: int, **more: Any) -> Rule:
    """For LAYER: INT8 with one range per weight, dynamic ranges per token."""
    specs = {"weight": WeightSpec(granularity=PerTensor()), "activation": ActivationSpec()} | more
    return Rule(name=LAYER, outliers=apart(how, *columns), **specs)

"""Students whose causes are counted by plain loops."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.models.hooks import capture
from sdq.quant.rewrite import calibrate_, only, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from tests.helpers.training import text

STATIC = ActivationSpec(bits=6, symmetric=False, granularity=PerTensor(), dynamic=False)
WHOLE = WeightSpec(bits=6, granularity=PerTensor())
CODES = ["en", "de", "th"]


def spoken(n: int) -> list[str]:
    return [CODES[i % 3] for i in range(n)]


def made(
    tiny: Any,
    activation: ActivationSpec | None = STATIC,
    weight: WeightSpec | None = WHOLE,
    family: str = "xlmr",
    model: nn.Module | None = None,
) -> Any:
    """(student, data): everything quantized, static ranges calibrated on the first half of the
    data."""
    model = tiny(family) if model is None else model
    student = rewrite(model, (Rule(weight=weight, activation=activation),))
    data = text(n=12, pad=model.config.pad_token_id)  # type: ignore[union-attr]
    calibrate_(student, (b.inputs for b in data.some(list(range(6))).in_order(4)))
    return student, data


def row(table: pd.DataFrame, module: str, cause: str) -> Any:
    (found,) = (
        table[(table["module"] == module) & (table["cause"] == cause)].head(1).to_dict("records")
    )
    return found


def tokens(student: nn.Module, data: Any, name: str) -> tuple[Tensor, list[str]]:
    """The real tokens [N, D] at the input of a module in FP32, and the language of each."""
    found, codes = [], []
    for i in range(len(data)):
        batch = data.batch([i])
        with capture(student, {name: "input"}) as seen, torch.no_grad(), only(student, ()):
            student(**batch.inputs)
        x = seen[name].reshape(-1, seen[name].shape[-1])
        found.append(x)
        codes += [CODES[i % 3]] * len(x)
    return torch.cat(found), codes

"""Students that are scanned, and sentences of two languages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Encoded
from sdq.quant.rewrite import only
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec

ACTIVATIONS = {
    "static": ActivationSpec(bits=4, symmetric=False, granularity=PerTensor(), dynamic=False),
    "token": ActivationSpec(bits=4),
    "tensor": ActivationSpec(bits=4, granularity=PerTensor()),
}
ROUGH = (
    Rule(weight=WeightSpec(bits=3, granularity=PerTensor()), activation=ActivationSpec(bits=4)),
)
FINE = (Rule(weight=WeightSpec(bits=6), activation=ActivationSpec(bits=6)),)
LANGUAGES = ["en", "de"]


def of(table: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def spoken(data: Encoded) -> list[str]:
    return [LANGUAGES[i % 3 == 0] for i in range(len(data))]


def pad_of(model: Any) -> int:
    return int(model.config.pad_token_id)


def whole(student: nn.Module, batch: Any, quantizing: Iterable[str]) -> Tensor:
    """Logits of a whole pass."""
    with torch.no_grad(), only(student, quantizing):
        return student(**batch.inputs).logits  # type: ignore[no-any-return]

"""Students that are scanned, and sentences of two languages."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sdq.data.batches import Encoded
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec


def of(table: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


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


def spoken(data: Encoded) -> list[str]:
    return [LANGUAGES[i % 3 == 0] for i in range(len(data))]


def pad_of(model: Any) -> int:
    return int(model.config.pad_token_id)

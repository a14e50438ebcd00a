"""Sentences for models of every family."""

from __future__ import annotations

import torch

from sdq.data.batches import Encoded
from sdq.quant.spec import ActivationSpec, Rule, WeightSpec
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY

INT8 = (Rule(weight=WeightSpec(), activation=ActivationSpec()),)
LAYERS = {"albert": 3, "albert-groups": 8}


def examples(seed: int = 0, n: int = 7) -> Encoded:
    """n sentences of 2 to 9 random tokens with a label each."""
    generator = torch.Generator().manual_seed(seed)
    ids = [
        torch.randint(5, VOCABULARY, (2 + (3 * i) % 8,), generator=generator).tolist()
        for i in range(n)
    ]
    return Encoded(ids, [[i % 3] for i in range(n)], False, 0)


def kind_of(architecture: str) -> str:
    """Half the architectures under a head for tagging."""
    return ("sequence", "token")[ARCHITECTURES.index(architecture) % 2]

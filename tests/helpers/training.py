"""Texts and weights of small trainings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdq.data.batches import IGNORE, Encoded
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.train.settings import Training

INT8 = (Rule(weight=WeightSpec(bits=4), activation=ActivationSpec()),)
STATIC = (
    Rule(
        weight=WeightSpec(),
        activation=ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False),
    ),
)
SHORT = Training(steps=6, batch_size=4, learning_rate=1e-3, check_every=2)


def text(token: bool = False, n: int = 14, seed: int = 0, pad: int = 1) -> Encoded:
    g = torch.Generator().manual_seed(seed)
    ids = [
        torch.randint(5, 61, (int(torch.randint(2, 9, (), generator=g)),), generator=g).tolist()
        for _ in range(n)
    ]
    labels = [
        [int(i) % 3 if j % 3 else IGNORE for j, i in enumerate(row)] if token else [sum(row) % 3]
        for row in ids
    ]
    return Encoded(ids, labels, token, pad)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def flat(model: nn.Module) -> float:
    return 0.0

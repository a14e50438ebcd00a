"""Subjects and sentences that attributions are tested on."""

from __future__ import annotations

from typing import Any

import torch

from sdq.data.batches import IGNORE, Encoded
from sdq.data.task import Example
from sdq.quant.spec import Rule, WeightSpec

LENGTHS = (9, 4, 6, 3)
LABELS = ("rain", "sun", "snow")


class Pieces:
    """A tokenizer of the tiny models: piece i is "▁wi"; an odd one goes on with the word before it.
    2 begins and ends a sentence."""

    all_special_ids = (0, 1, 2, 3, 4)
    unk_token_id = 3
    mask_token_id: int | None = 4

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"{'▁' if i % 2 == 0 else ''}w{i}" for i in ids]


def data_of(model: Any, kind: str, lengths: tuple[int, ...] = LENGTHS) -> Encoded:
    draw = torch.Generator().manual_seed(1)
    ids = [[2, *torch.randint(5, 61, (n - 2,), generator=draw).tolist(), 2] for n in lengths]
    ids[0][3] = Pieces.unk_token_id
    if kind == "sequence":
        return Encoded(ids, [[i % 3] for i in range(len(ids))], False, model.config.pad_token_id)
    labels = [
        [IGNORE, *[0 if k % 2 == 0 else IGNORE for k in range(len(row) - 2)], IGNORE] for row in ids
    ]
    return Encoded(ids, labels, True, model.config.pad_token_id)


def examples_of(data: Encoded, languages: str = "en") -> list[Example]:
    count = [max(1, sum(label != IGNORE for label in row)) for row in data.labels]
    return [
        Example(f"s{i}", languages, "", tuple(f"word{k}" for k in range(n)), ("rain",) * n)
        for i, n in enumerate(count)
    ]


WEIGHTS = (Rule(weight=WeightSpec(bits=3)),)

"""What weights may hold: every tensor that does not belong is refused in one sentence, before
anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForMaskedLM, BertForPreTraining

from sdq.models.checkpoint import base_of
from sdq.models.loading import encoder, load, start
from sdq.models.structure import remarks
from tests.helpers.checkpoints import ABC, added, refused, weights


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {prefix + name: t for name, t in tensors.items()}


def inner(tensors: dict[str, Any]) -> dict[str, Any]:
    """As torch.compile of one submodule leaves it."""
    return {
        name.replace("bert.encoder.", "bert._orig_mod.encoder."): t for name, t in tensors.items()
    }


def packed(dtype: torch.dtype) -> Callable[[dict[str, Any]], dict[str, Any]]:
    name = "bert.encoder.layer.0.output.dense.weight"
    return lambda tensors: tensors | {name: (tensors[name] * 100).to(dtype)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (prefixed("module."), r"the prefix 'module\.' of a wrapper; take 'module\.' out"),
        (prefixed("_orig_mod."), r"the prefix '_orig_mod\.'"),
        (prefixed("module._orig_mod."), r"the prefix 'module\._orig_mod\.'"),
        (prefixed("model."), r"the prefix 'model\.'"),
        (prefixed("net.backbone."), r"the prefix 'net\.backbone\.'"),
        (inner, r"the prefix '_orig_mod\.'"),
        (
            added(
                bert__encoder__layer__0__attention__self__distance_embedding__weight=torch.ones(
                    79, 4
                )
            ),
            "distance_embedding.weight .* relative positions",
        ),
        (
            added(bert__encoder__layer__1__output__adapters__x__down__weight=torch.ones(2, 12)),
            "adapters.x.down.weight .* merge",
        ),
        (
            added(
                bert__encoder__layer__1__attention__self__query__lora_A__weight=torch.ones(2, 12)
            ),
            "lora_A.weight .* merge",
        ),
        (
            added(bert__encoder__layer__2__output__dense__weight=torch.ones(12, 16)),
            "layer.2.output.dense.weight .* num_hidden_layers .* says 2",
        ),
        (
            added(bert__embeddings__language_embeddings__weight=torch.ones(5, 12)),
            "language_embeddings.weight .* has none",
        ),
        (added(crf__transitions=torch.ones(3, 3)), "crf.transitions .* has none"),
        (added(lstm__weight_ih_l0=torch.ones(4, 12)), "lstm.weight_ih_l0 .* has none"),
        (
            added(bert__pooler__extra__weight=torch.ones(12, 12)),
            "bert.pooler.extra.weight .* has none",
        ),
        (
            added(bert__pooler__dense__weight_scale=torch.ones(1)),
            "bert.pooler.dense.weight_scale .* has none",
        ),
        (
            added(cls__predictions__adapted__weight=torch.ones(1)),
            "cls.predictions.adapted.weight .* has none|merge",
        ),
        (
            added(cls__predictions__gate__weight=torch.ones(1)),
            "cls.predictions.gate.weight .* has none",
        ),
        (added(lm_head__experts__weight=torch.ones(1)), "lm_head.experts.weight .* has none"),
        (
            packed(torch.int8),
            r"floating point numbers, bert.encoder.layer.0.output.dense.weight in .* is int8",
        ),
        (packed(torch.uint8), "is uint8"),
        (packed(torch.bool), "is bool"),
        (packed(torch.float8_e4m3fn), "is float8_e4m3"),
        (
            added(bert__encoder__layer__0__output__dense__SCB=torch.ones(12, dtype=torch.int32)),
            "SCB .* is int32",
        ),
    ],
)
def test_tensors_that_do_not_belong(
    bert_copy: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    weights(bert_copy, change)
    refused(bert_copy, said)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float64", ", to which they are rounded"),
        ("float16", ""),
        ("bfloat16", ""),
        ("float32", None),
    ],
)
def test_the_type_of_the_weights_is_remarked_on(
    bert_copy: Path, dtype: str, said: str | None
) -> None:
    weights(
        bert_copy,
        lambda tensors: {name: t.to(getattr(torch, dtype)) for name, t in tensors.items()},
    )
    wanted = (
        []
        if said is None
        else [f"the weights are stored in {dtype}: computations are done in float32{said}"]
    )
    for model in (
        load(bert_copy, "sequence", ABC)[0],
        encoder(bert_copy),
        start(bert_copy, "sequence", ABC, 0)[0],
    ):
        assert remarks(model) == wanted
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_type_beside_another_is_remarked_on(bert_copy: Path) -> None:
    weights(bert_copy, packed(torch.float16))
    assert remarks(load(bert_copy, "sequence", ABC)[0]) == [
        "the weights are stored in float16 and float32: computations are done in float32"
    ]


def test_what_is_known_to_be_harmless_stays_silent(bert_copy: Path) -> None:
    """Position numbers, pretraining heads and the old names of LayerNorm; of a base model also the
    heads of tasks."""
    before: Any = load(bert_copy, "sequence", ABC)[0]
    heads = {
        "cls__predictions__bias": torch.ones(30),
        "cls__seq_relationship__weight": torch.ones(2, 12),
        "lm_head__bias": torch.ones(30),
    }
    weights(bert_copy, added(bert__embeddings__position_ids=torch.arange(40)[None], **heads))
    weights(
        bert_copy,
        lambda tensors: {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in tensors.items()
        },
    )
    after: Any = load(base_of(str(bert_copy)), "sequence", ABC)[0]
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )
    assert torch.equal(
        encoder(bert_copy).state_dict()["embeddings.word_embeddings.weight"],
        before.bert.embeddings.word_embeddings.weight,
    )
    assert start(bert_copy, "sequence", ("x", "y"), 0)[0] is not None
    for pretrained in (BertForPreTraining, BertForMaskedLM):
        pretrained(before.config).save_pretrained(bert_copy)
        assert start(base_of(str(bert_copy)), "token", ABC, 0)[0] is not None

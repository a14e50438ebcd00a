"""The encoder of `midi`: the published body in the architecture of XLM-R, with rows of our own
under it and its top blocks trained further."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaModel

TRAINED_BLOCKS = 2  # of the top


class Rows(nn.Module):
    """The embedding of two vocabularies: ids below P have the package's rows, which stay; the
    others ours, which pieces of one meaning share."""

    def __init__(self, package: Tensor, ours: Tensor, row_of: Sequence[int]) -> None:
        """package: [P, D]; ours: [R, D]; row_of: the row of ours of each id from P on [N]."""
        super().__init__()
        self.ours = nn.Parameter(ours)
        self.register_buffer("package", package, persistent=False)
        self.register_buffer("row_of", torch.tensor(row_of), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> [B, T, D]."""
        package, row_of = self.get_buffer("package"), self.get_buffer("row_of")
        first = len(package)
        own = nn.functional.embedding(row_of[(ids - first).clamp(min=0)], self.ours)
        theirs = nn.functional.embedding(ids.clamp(max=first - 1), package)
        return torch.where((ids >= first)[..., None], own, theirs)

    def table(self) -> Tensor:
        """One row per id [P + N, D]."""
        return torch.cat([self.get_buffer("package"), self.ours[self.get_buffer("row_of")]])


def configuration(body: Mapping[str, Any], vocabulary: int) -> XLMRobertaConfig:
    """The body's configuration as one of XLM-R, whose positions are counted from the padding's
    number on: the first token's is 1.

    body: its config.json
    vocabulary: ids of both vocabularies
    """
    same = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "layer_norm_eps",
        "pad_token_id",
    )
    return XLMRobertaConfig(
        **{name: body[name] for name in same},
        vocab_size=vocabulary,
        max_position_embeddings=body["max_position_embeddings"] + body["pad_token_id"] + 1,
        type_vocab_size=1,
    )


class Student(nn.Module):
    """What is trained, and in the same object what it is trained towards: the lower blocks are
    frozen and serve both, the body's own top blocks are kept beside the trained ones."""

    def __init__(self, model: XLMRobertaModel) -> None:
        super().__init__()
        self.model = model
        top = model.encoder.layer[-TRAINED_BLOCKS:]
        self.body_top = copy.deepcopy(top).requires_grad_(False)

    @property
    def rows(self) -> Rows:
        """The embedding of both vocabularies."""
        rows = self.model.embeddings.word_embeddings
        assert isinstance(rows, Rows)
        return rows

    def lower(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, T] -> states below the top blocks [B, T, D], which places are no padding
        [B, T]."""
        real = ids.ne(int(self.model.config.pad_token_id or 0))
        states = self.model.embeddings(ids)
        for block in self.model.encoder.layer[:-TRAINED_BLOCKS]:
            states = block(states, without_padding(real, states))
        return states, real

    def upper(self, states: Tensor, real: Tensor, body: bool = False) -> Tensor:
        """States [B, T, D] -> those of the last block, of the published `body` or the trained
        one."""
        for block in self.body_top if body else self.model.encoder.layer[-TRAINED_BLOCKS:]:
            states = block(states, without_padding(real, states))
        return states


def without_padding(real: Tensor, states: Tensor) -> Tensor:
    """What is added to attention so that padding has none [B, 1, 1, T]."""
    least = torch.finfo(states.dtype).min
    return torch.where(real, 0.0, least)[:, None, None, :].to(states.dtype)


def mean_of(states: Tensor, real: Tensor) -> Tensor:
    """The mean of a sentence's token states [B, D], as the published encoder takes it."""
    kept = real[..., None].to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1)


def from_body(
    tensors: Mapping[str, Tensor], config: XLMRobertaConfig, ours: Tensor, row_of: Sequence[int]
) -> Student:
    """The published body over both vocabularies, all frozen but our rows and the top blocks.

    tensors: of the body, by the names that BERT has
    config: of `configuration`
    ours: rows [R, D]
    row_of: of each id of ours [N]
    """
    small = copy.deepcopy(config)
    first = int(config.pad_token_id or 0) + 1  # position
    small.vocab_size = first  # its table is replaced
    model = XLMRobertaModel(small, add_pooling_layer=False)
    model.set_attn_implementation("eager")
    model.load_state_dict(
        {
            name: tensors[name]
            for name in model.state_dict()
            if name.startswith("encoder.") or "LayerNorm" in name
        },
        strict=False,
    )
    with torch.no_grad():
        model.embeddings.position_embeddings.weight[first:] = tensors[
            "embeddings.position_embeddings.weight"
        ]
        model.embeddings.token_type_embeddings.weight.copy_(
            tensors["embeddings.token_type_embeddings.weight"][:1]
        )
    rows = Rows(tensors["embeddings.word_embeddings.weight"], ours, row_of)
    model.embeddings.word_embeddings = rows  # type: ignore[assignment]
    model.requires_grad_(False)
    rows.ours.requires_grad_(True)
    for block in model.encoder.layer[-TRAINED_BLOCKS:]:
        block.requires_grad_(True)
    return Student(model).eval()  # no dropout: the answer asked for is exact

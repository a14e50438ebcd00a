"""Whether a model's answer to a sentence hangs on the padding after it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn


def minds_padding(model: nn.Module) -> str:
    """What to remark on a model that computes a sentence in another way once padding, which its
    mask leaves out, follows it; "" if it does not, or cannot be asked.

    The first word's answer may hardly show what the last word's does: a convolution reaches the
    padding from there. So the last hidden states of all words are compared too.
    """
    config: Any = model.config
    with torch.no_grad(), suppress(Exception):  # what it cannot take shows with real sentences
        words, most = int(config.vocab_size), getattr(config, "max_position_embeddings", 0)
        ids = torch.arange(1, 5)[None] * max(1, words // 6) % words  # [1, 4]: any tokens will do
        long = max(1, min(28, (most or 40) - 12))
        mask, more = torch.ones_like(ids), torch.full((1, long), int(config.pad_token_id or 0))
        masks = torch.cat([mask, torch.zeros_like(more)], 1)
        alone = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        padded = model(torch.cat([ids, more], 1), attention_mask=masks, output_hidden_states=True)
        one, other = alone.logits, padded.logits
        if _differ(one, other[:, :4] if one.dim() == 3 else other) or _differ(
            alone.hidden_states[-1], padded.hidden_states[-1][:, :4]
        ):
            return (
                f"{type(model).__name__} answers a sentence in another way where padding follows "
                "it: scores depend on which sentences are in a batch together, and differ from "
                "those of each sentence alone"
            )
    return ""


def _differ(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ by more than the order of sums makes them."""
    return float((one - other).abs().max()) > 3e-4 * float(one.abs().max())

"""An encoder without a head, asked what it can answer: which sentence of an index means the same?
The door to every model, `load_for`.

The index is embedded once by the FP32 model, as it would be in a search engine whose queries are
quantized later. So a feature extractor has answers, margins and divergences like a classifier, and
everything that looks at those looks at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from sdq.data.batches import Encoded, encode
from sdq.data.task import Task
from sdq.models.loading import encoder, fitting, load, longest, tokenizer_of

# of the cosine, as sentence encoders are usually trained (SimCSE, Gao et al. 2021, section 3)
TEMPERATURE = 0.05


class Retriever(nn.Module):
    """Token ids [B, T] -> logits [B, K]: cosine of the mean of the real tokens with each of K
    embedded sentences, over TEMPERATURE."""

    index: Tensor

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config
        self.register_buffer("index", torch.zeros(0, width))

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T] -> unit vectors [B, D]"""
        # [B, T, D]
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(
            logits=self.embed(input_ids, attention_mask) @ self.index.T / TEMPERATURE
        )


@torch.no_grad()
def index_(retriever: Retriever, sentences: Encoded, batch_size: int = 64) -> None:
    """Embed the sentences that can be found, one row of the index each.

    retriever: gets the index
    sentences: tokenized, N
    batch_size: of them in a batch
    """
    rows: list[Tensor] = [torch.empty(0)] * len(sentences)
    for batch in sentences.in_order(batch_size):
        for at, row in zip(batch.at, retriever.embed(**batch.inputs), strict=True):
            rows[at] = row
    retriever.index = torch.stack(rows)  # [K, D]


def load_for(
    task: Task, folder: Path, remedy: str = "fine-tune it on this task first"
) -> tuple[nn.Module, Any]:
    """(FP32 model in eval mode, tokenizer) of a folder that can do the task: a classifier (see
    sdq.models.loading.load), or for a retrieval task any encoder, with the test sentences of the
    labelled language as its index. UserError as `load`.

    task: that the model is to do
    folder: of the model
    remedy: what to do about a head that does not fit, for errors
    """
    if task.kind != "retrieval":
        return load(folder, task.kind, task.labels, remedy)
    model = encoder(folder)
    tokenizer = fitting(tokenizer_of(folder, longest(model)), model, folder)
    config: Any = model.config
    retriever = Retriever(model, int(config.hidden_size)).eval()
    index_(retriever, encode(task.examples("test", (task.labelled,)), task, tokenizer))
    return retriever, tokenizer

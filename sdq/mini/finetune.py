"""Fine-tuning of the pretrained encoder on English labels, and the shipped folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaForTokenClassification, XLMRobertaModel

from sdq.data.batches import encode
from sdq.data.tasks import Task
from sdq.evaluate import outcomes, predict, scores
from sdq.train.loop import Progress, train_
from sdq.train.settings import Training

SETTINGS = {
    "intent": Training(steps=600, learning_rate=3e-4, frozen_blocks=4, dropout=True),
    "slots": Training(steps=800, learning_rate=5e-4, frozen_blocks=2, dropout=True),
}


def with_head(encoder: XLMRobertaModel, task: Task, seed: int) -> nn.Module:
    """A task model on a copy of the encoder's weights; its head starts from `seed`."""
    torch.manual_seed(seed)
    known = encoder.config.to_dict() | {"id2label": dict(enumerate(task.labels)), "label2id": {label: i for i, label in enumerate(task.labels)}}
    config = XLMRobertaConfig(**{k: v for k, v in known.items() if k not in ("architectures", "dtype")})
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
    kinds: dict[str, Any] = {"sequence": XLMRobertaForSequenceClassification, "token": XLMRobertaForTokenClassification}
    model: nn.Module = kinds[task.kind](config)
    model.roberta.load_state_dict(encoder.state_dict())  # type: ignore[union-attr]
    return model


def finetune(encoder: XLMRobertaModel, tokenizer: PreTrainedTokenizerFast, task: Task, seed: int, progress: Progress = lambda event: None) -> nn.Module:
    """Train a head and the unfrozen blocks on the labelled language; the dev split of that language picks the weights."""
    model = with_head(encoder, task, seed)
    dev = task.examples("dev", (task.labelled,))
    dev_data = encode(dev, task, tokenizer)
    train_(
        model, encode(task.examples("train", (task.labelled,)), task, tokenizer), SETTINGS[task.name],
        lambda what: scores(outcomes(dev, *predict(what, dev_data), task), task).mean, seed=seed, progress=progress,
    )  # fmt: skip
    return model


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write config, fp16 safetensors and tokenizer: what `from_pretrained` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.float()

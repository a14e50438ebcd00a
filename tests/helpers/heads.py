"""Models with a head for a small task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn


def logits(model: nn.Module) -> torch.Tensor:
    ids = torch.tensor([[2, 7, 9, 30, 11], [2, 40, 5, 6, 8]])
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)


def save(model: Any, names: tuple[str, ...], tokenizer: Any, folder: Path) -> Path:
    model.config.id2label, model.config.label2id = (
        dict(enumerate(names)),
        {name: i for i, name in enumerate(names)},
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))

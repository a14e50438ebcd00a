"""Writing what ships of an embedded model for a task: only what its encoder does not have. What
reads it is sdq.models.composition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdq.io.files import replacing, write_text
from sdq.models.composition import ENTRIES, PART, WEIGHTS
from sdq.models.tensors import read_json


def save_task(
    model: nn.Module, base: Path, folder: Path, frozen: int, tokenizer: Any = None
) -> None:
    """What a fine-tuned model changed or added, in fp16, and its configuration; the model then has
    the values that are stored. ValueError if it changed what stays the encoder's.

    model: is fine-tuned from the encoder
    base: the folder of the encoder
    folder: is written into
    frozen: lower blocks that stay the encoder's, as the embeddings do
    tokenizer: as training left it, its truncation set; None: it stays the encoder's
    """
    changed: dict[str, Tensor] = {}
    with safe_open(base / WEIGHTS, framework="np") as before:
        there = set(before.keys())
        for name, value in model.state_dict().items():
            old = name.removeprefix("roberta.")
            if old not in there or not np.array_equal(before.get_tensor(old), value.numpy()):
                changed[name] = value.half().contiguous()
    config: Any = model.config
    top = tuple(f"roberta.encoder.layer.{i}." for i in range(frozen, config.num_hidden_layers))
    if stray := [n for n in changed if n.startswith("roberta.") and not n.startswith(top)]:
        raise ValueError(
            f"an embedded model must keep its embeddings and lower {frozen} blocks, {stray[0]} was "
            "changed; freeze them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PART) as part:
        save_file(changed, part)
    config.architectures = [type(model).__name__]
    config.dtype = read_json(base / "config.json").get("dtype", config.dtype)
    config.save_pretrained(folder)
    (folder / ENTRIES).unlink(missing_ok=True)
    if tokenizer is not None:
        before = read_json(base / "tokenizer.json")
        after = json.loads(tokenizer.backend_tokenizer.to_str())
        entries = {name: entry for name, entry in after.items() if before.get(name) != entry}
        told = {"tokenizer.json": entries}
        write_text(folder / ENTRIES, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    model.load_state_dict({n: v.float() for n, v in changed.items()}, strict=False)

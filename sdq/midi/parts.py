"""Writing what ships of `midi`: of a model only what the published body does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdq.io.files import replacing
from sdq.midi.student import TRAINED_BLOCKS, Student
from sdq.models.composition import PART, ROW_OF, ROWS


def save_encoder(student: Student, tokenizer: Any, config: Any, folder: Path) -> None:
    """Our rows and the trained blocks in fp16, the configuration and the tokenizer.

    student: is trained
    tokenizer: of both vocabularies
    config: of the whole model
    folder: is written into
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = student.model.config.num_hidden_layers - TRAINED_BLOCKS
    tensors = {
        ROWS: student.rows.ours.detach(),
        **{
            f"encoder.layer.{first + i}.{name}": p.detach()
            for i, block in enumerate(student.model.encoder.layer[first:])
            for name, p in block.named_parameters()
        },
    }
    halves = {name: value.half().contiguous() for name, value in tensors.items()}
    row_of = student.rows.get_buffer("row_of").to(torch.int32)
    with replacing(folder / PART) as part:
        save_file({**halves, ROW_OF: row_of}, part)
    config.architectures = ["XLMRobertaModel"]
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_task(model: nn.Module, base: Path, folder: Path) -> None:
    """What a fine-tuned model changed or added, in fp16, and its configuration; the model then has
    the values that are stored. ValueError if it changed what stays the body's.

    model: is fine-tuned from the composed encoder
    base: the folder of that
    folder: is written into
    """
    changed: dict[str, Tensor] = {}
    with safe_open(base / "model.safetensors", framework="np") as before:
        there = set(before.keys())
        for name, value in model.state_dict().items():
            old = name.removeprefix("roberta.")
            if old not in there or not np.array_equal(before.get_tensor(old), value.numpy()):
                changed[name] = value.half().contiguous()
    config: Any = model.config
    first = config.num_hidden_layers - TRAINED_BLOCKS
    top = tuple(f"roberta.encoder.layer.{first + i}." for i in range(TRAINED_BLOCKS))
    if stray := [n for n in changed if n.startswith("roberta.") and not n.startswith(top)]:
        raise ValueError(
            f"a model of midi must keep all but its top {TRAINED_BLOCKS} blocks, {stray[0]} was "
            "changed; freeze the others"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PART) as part:
        save_file(changed, part)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    model.load_state_dict({n: v.float() for n, v in changed.items()}, strict=False)

"""Writing what ships of the encoder of `midi`: only what the published body does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

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

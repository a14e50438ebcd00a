"""Name or folder -> model and tokenizer, and the role of each layer in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdq.settings import UserError

ROLES = ("embedding", "q", "k", "v", "attention_output", "ffn_in", "ffn_out", "head")

# One line per family: what the end of a module's name says about its role, inside a block.
_IN_BLOCK = (
    (r"attention\.self\.query|attention\.q_lin", "q"),
    (r"attention\.self\.key|attention\.k_lin", "k"),
    (r"attention\.self\.value|attention\.v_lin", "v"),
    (r"attention\.output\.dense|attention\.out_lin", "attention_output"),
    (r"intermediate\.dense|ffn\.lin1", "ffn_in"),
    (r"output\.dense|ffn\.lin2", "ffn_out"),
)
_BLOCK = re.compile(r"^(.*\.layers?\.(\d+))\.(.+)$")


@dataclass(frozen=True)
class Module:
    """One quantizable module: its dotted name, role, and block number (-1 outside the blocks)."""

    name: str
    role: str
    block: int


def modules(model: nn.Module) -> list[Module]:
    """Every Linear and the word embedding, in forward order, with roles (see ROLES)."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("word_embeddings"):
            found.append(Module(name, "embedding", -1))
        elif isinstance(module, nn.Linear):
            if match := _BLOCK.match(name):
                role = next((r for pattern, r in _IN_BLOCK if re.fullmatch(pattern, match[3])), None)
                if role is not None:
                    found.append(Module(name, role, int(match[2])))
            else:
                found.append(Module(name, "head", -1))
    if not any(m.role == "attention_output" for m in found):
        raise UserError(
            f"the model must be an encoder of the BERT, RoBERTa, XLM-R or DistilBERT shape, got {type(model).__name__}; no attention output layer was found in it"
        )
    # modules may be registered in another order than they are called (XLM-R: the head first)
    return sorted(found, key=lambda m: (m.role == "head", m.block))


def blocks(model: nn.Module) -> list[str]:
    """Names of the Transformer blocks, first to last."""
    names = {(int(m[2]), m[1]) for name, _ in model.named_modules() if (m := _BLOCK.match(name))}
    return [name for _, name in sorted(names)]


def heads(model: nn.Module) -> int:
    """Attention heads per block."""
    config: Any = model.config
    return int(getattr(config, "num_attention_heads", None) or config.n_heads)


def load(folder: Path, kind: str, labels: tuple[str, ...]) -> tuple[nn.Module, Any]:
    """(model in float32 and eval mode, fast tokenizer). `kind` is "sequence" or "token".

    Raises UserError for an architecture transformers cannot load so, a wrong number of labels, or weights that are not finite.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    auto = {"sequence": AutoModelForSequenceClassification, "token": AutoModelForTokenClassification}[kind]
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        known = len(config.get("id2label") or {}) or 2
        if known != len(labels):
            raise UserError(
                f"the model must have one output per label of the task ({len(labels)}), got {known} in {folder / 'config.json'}; fine-tune it on this task first"
            )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = auto.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, attn_implementation="eager")
    except (ValueError, KeyError, OSError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"the model in {folder} must be an encoder that transformers loads for {kind} classification; it was refused: {first}") from error
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"weights must be finite numbers, {name} in {folder} holds NaN or infinity; the checkpoint is damaged or its training diverged")
    model.eval()
    return model, tokenizer

"""Checkpoints of the trainings that make an embedded model, their log of losses, and what a work
folder was made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sdq.io.files import replacing, write_text
from sdq.settings import UserError

NAME = "checkpoint.safetensors"
SETTINGS = "settings.json"  # of everything in a work folder


def claim(work: Path, settings: Mapping[str, Any], corpus: Iterable[tuple[str, ...]]) -> None:
    """Make a work folder that of these settings and texts. UserError if it has work of others:
    what was made of them would be a model of no settings at all.

    work: the folder
    settings: what decides the outcome, by name
    corpus: every pair
    """
    digest = hashlib.sha256()
    for row in corpus:
        digest.update("\x1f".join(row).encode() + b"\x1e")
    asked = {**settings, "corpus": digest.hexdigest()[:16]}
    path = work / SETTINGS
    if path.exists():
        there = json.loads(path.read_text())
        other = sorted(name for name in asked | there if asked.get(name) != there.get(name))
        if other:
            raise UserError(
                f"the work folder must have been made with these settings and texts, {work} has "
                f"another {', '.join(other)}; choose another --work, or empty it"
            )
    elif work.is_dir() and any(work.iterdir()):
        raise UserError(
            f"the work folder must be empty or have {SETTINGS}, {work} has other files; choose "
            "another --work"
        )
    else:
        work.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asked, indent=1))


def log(path: Path, step: int) -> TextIO:
    """The log, open at its end; what was told after the checkpoint that is taken up again is
    forgotten.

    path: of the log, one JSON object per line
    step: of that checkpoint
    """
    lines = path.read_text().splitlines() if path.exists() else []
    write_text(path, "".join(line + "\n" for line in lines if json.loads(line)["step"] <= step))
    return path.open("a")


def save(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
    folder: Path,
) -> None:
    """Write what a training goes on from, at once or not at all.

    parameters: what is trained, by name
    optimizer: of them
    step: how many were done
    folder: of the checkpoint
    """
    tensors = {f"model/{name}": p.detach().contiguous() for name, p in parameters.items()}
    for name, p in parameters.items():
        for k, v in optimizer.state.get(p, {}).items():
            tensors[f"{k}/{name}"] = v.contiguous()
    with replacing(folder / NAME) as part:
        save_file(tensors, part, metadata={"step": str(step)})


def resume(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, folder: Path
) -> int:
    """Set parameters and optimizer to the checkpoint in `folder`. Returns its step; 0 if there is
    none."""
    path = folder / NAME
    if not path.exists():
        return 0
    tensors = load_file(path)
    for name, p in parameters.items():
        with torch.no_grad():
            p.copy_(tensors[f"model/{name}"])
        optimizer.state[p] = {
            k: tensors[f"{k}/{name}"]
            for k in ("step", "exp_avg", "exp_avg_sq")
            if f"{k}/{name}" in tensors
        }
    return int(next(iter(optimizer.state.values()))["step"])

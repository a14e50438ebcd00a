"""Faults planted in a model on purpose, its FP32 answers unchanged up to float rounding: what an inspection must find."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdq.inspect.capture import capture

LAYER = "roberta.encoder.layer"


class _Divided:
    """Pre-hook of a module that adds a residual, its second argument: one hidden unit of the residual is divided before it is added."""

    def __init__(self, unit: int, times: float) -> None:
        self.unit, self.times = unit, times

    def __call__(self, module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        residual = args[1].clone()
        residual[..., self.unit] /= self.times
        return args[0], residual


@torch.no_grad()
def norm_unit_(model: Any, block: int, after: str, unit: int, times: float = 30.0) -> str:
    """Make one hidden unit of a LayerNorm `times` as large, and all that reads it as much less sensitive to it. Returns the LayerNorm's name.

    `after` is "attention" or "output": which of the block's two LayerNorms. Its gain and bias of the unit are multiplied; the columns of the Linear
    layers that read it are divided, and so is the residual, for a post-LN block adds the LayerNorm's output to what comes next.
    """
    here = f"{LAYER}.{block}"
    name = f"{here}.attention.output.LayerNorm" if after == "attention" else f"{here}.output.LayerNorm"
    last = block + 1 == len(model.roberta.encoder.layer)
    if after == "attention":
        readers, residual = [f"{here}.intermediate.dense"], f"{here}.output"
    elif last:
        readers, residual = ["classifier.dense" if hasattr(model.classifier, "dense") else "classifier"], ""
    else:
        following = f"{LAYER}.{block + 1}.attention"
        readers, residual = [f"{following}.self.{role}" for role in ("query", "key", "value")], f"{following}.output"
    norm = model.get_submodule(name)
    norm.weight[unit] *= times
    norm.bias[unit] *= times
    for reader in readers:
        model.get_submodule(reader).weight[:, unit] /= times
    if residual:
        model.get_submodule(residual).register_forward_pre_hook(_Divided(unit, times))
    return name


@torch.no_grad()
def value_row_(model: Any, block: int, row: int, times: float = 50.0) -> str:
    """Make one row of the value projection (and its bias) `times` as large and the column of attention output that reads it as much smaller."""
    attention = f"{LAYER}.{block}.attention"
    value = model.get_submodule(f"{attention}.self.value")
    value.weight[row] *= times
    value.bias[row] *= times
    model.get_submodule(f"{attention}.output.dense").weight[:, row] /= times
    return f"{attention}.self.value"


@torch.no_grad()
def query_row_(model: Any, block: int, row: int, times: float = 50.0) -> str:
    """Make one row of the query projection (and its bias) `times` as large and that of the key as much smaller: attention is their product."""
    attention = f"{LAYER}.{block}.attention.self"
    for name, factor in (("query", times), ("key", 1 / times)):
        layer = model.get_submodule(f"{attention}.{name}")
        layer.weight[row] *= factor
        layer.bias[row] *= factor
    return f"{attention}.query"


@torch.no_grad()
def language_unit_(model: Any, block: int, language: str, batches: dict[str, list[dict[str, Tensor]]], times: float = 3.0) -> tuple[str, int]:
    """Turn one head's context so that one unit of it is nearly silent in `language` and loud in all others, and make that unit loud. Returns
    the module that reads it, and the unit.

    The context of a head is linear in its value rows and read by attention output alone, so any invertible change of it can be undone there
    (FP32 answers stay). Of the block's heads the one is taken, and of its directions the one, in which the mean square over the tokens of the other languages is
    largest against that of `language`; an orthogonal change makes it the head's first unit, which is then scaled to `times` the peak of the whole context in `language`.
    `batches`: model inputs per language.
    """
    attention = f"{LAYER}.{block}.attention"
    value, output = model.get_submodule(f"{attention}.self.value"), model.get_submodule(f"{attention}.output.dense")
    size = model.config.hidden_size // model.config.num_attention_heads
    seen: dict[str, Tensor] = {}
    for code, inputs in batches.items():
        parts = []
        with capture(model, {f"{attention}.output.dense": "input"}) as context:
            for batch in inputs:
                model(**batch)
                parts.append(context[f"{attention}.output.dense"][batch["attention_mask"].bool()])
        seen[code] = torch.cat(parts).double()  # [N, D]
    here, elsewhere = seen[language], torch.cat([x for code, x in seen.items() if code != language])
    found = []
    for start in range(0, here.shape[1], size):
        own, other = (x[:, start : start + size] for x in (here, elsewhere))
        root = torch.linalg.cholesky(own.T @ own / len(own))
        values, vectors = torch.linalg.eigh(torch.linalg.solve(root, torch.linalg.solve(root, other.T @ other / len(other)).T))
        found.append((float(values[-1]), start, torch.linalg.solve(root.T, vectors[:, -1])))
    _, start, direction = max(found, key=lambda f: f[0])
    direction = direction / direction.norm()
    loud = times * here.abs().max() / ((here[:, start : start + size] @ direction).abs().max() * direction.abs().max())
    along = torch.outer(direction, direction)
    change, undone = torch.eye(size, dtype=torch.float64) + (loud - 1) * along, torch.eye(size, dtype=torch.float64) - (1 - 1 / loud) * along
    rows = slice(start, start + size)
    value.weight[rows] = (change @ value.weight[rows].double()).float()
    value.bias[rows] = (change @ value.bias[rows].double()).float()
    output.weight[:, rows] = (output.weight[:, rows].double() @ undone).float()
    return f"{attention}.output.dense", start

"""Faults planted in a model on purpose, its FP32 answers unchanged up to float rounding: what an
inspection must find."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdq.models.hooks import capture

LAYER = "roberta.encoder.layer"


class _Stretch:
    """x -> x stretched along a direction [D] of length 1, `times` as long; 1 / times undoes it. A
    hook: of a LayerNorm's output, or before a module that adds a residual, of that residual (its
    second argument)."""

    def __init__(self, direction: Tensor, times: float) -> None:
        self.direction, self.times = direction, times

    def of(self, x: Tensor) -> Tensor:
        return x + (self.times - 1) * (x @ self.direction)[..., None] * self.direction

    def after(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return self.of(out)

    def before(self, module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return args[0], self.of(args[1])


def _read(model: Any, block: int, after: str) -> tuple[str, list[str], str]:
    """(name of a block's LayerNorm, Linear layers that read it, module that adds its output as a
    residual, if any). `after`: "attention" or "output"."""
    here, blocks = f"{LAYER}.{block}", len(model.roberta.encoder.layer)
    if after == "attention":
        return (
            f"{here}.attention.output.LayerNorm",
            [f"{here}.intermediate.dense"],
            f"{here}.output",
        )
    name = f"{here}.output.LayerNorm"
    if block + 1 == blocks:
        return (
            name,
            ["classifier.dense" if hasattr(model.classifier, "dense") else "classifier"],
            "",
        )
    following = f"{LAYER}.{block + 1}.attention"
    return (
        name,
        [f"{following}.self.{role}" for role in ("query", "key", "value")],
        f"{following}.output",
    )


@torch.no_grad()
def norm_unit_(model: Any, block: int, after: str, unit: int, times: float = 30.0) -> str:
    """Make one hidden unit of a LayerNorm `times` as large, and all that reads it as much less
    sensitive to it. Returns the LayerNorm's name.

    `after` is "attention" or "output": which of the block's two LayerNorms. Its gain and bias of
    the unit are multiplied; the columns of the Linear layers that read it are divided, and so is
    the residual, for a post-LN block adds the LayerNorm's output to what comes next.
    """
    name, readers, residual = _read(model, block, after)
    norm = model.get_submodule(name)
    norm.weight[unit] *= times
    norm.bias[unit] *= times
    for reader in readers:
        model.get_submodule(reader).weight[:, unit] /= times
    if residual:
        alone = torch.zeros(model.config.hidden_size)
        alone[unit] = 1
        model.get_submodule(residual).register_forward_pre_hook(_Stretch(alone, 1 / times).before)
    return name


@torch.no_grad()
def silent_unit_(model: Any, block: int, unit: int) -> None:
    """Make one hidden unit of the block's first LayerNorm 0 for every input. This changes the
    answers: plant `huge_weight_` in a copy of the result."""
    norm = model.get_submodule(_read(model, block, "attention")[0])
    norm.weight[unit] = 0
    norm.bias[unit] = 0


@torch.no_grad()
def huge_weight_(model: Any, block: int, row: int, unit: int, times: float = 30.0) -> str:
    """Make one weight of the layer that reads a silent unit (`silent_unit_`) `times` as large as
    its largest. Returns the layer's name."""
    (reader,) = _read(model, block, "attention")[1]
    weight = model.get_submodule(reader).weight
    weight[row, unit] = times * weight.abs().max()
    return reader


@torch.no_grad()
def value_row_(model: Any, block: int, row: int, times: float = 50.0) -> str:
    """Make one row of the value projection (and its bias) `times` as large and the column of
    attention output that reads it as much smaller."""
    attention = f"{LAYER}.{block}.attention"
    value = model.get_submodule(f"{attention}.self.value")
    value.weight[row] *= times
    value.bias[row] *= times
    model.get_submodule(f"{attention}.output.dense").weight[:, row] /= times
    return f"{attention}.self.value"


@torch.no_grad()
def query_row_(model: Any, block: int, row: int, times: float = 50.0) -> str:
    """Make one row of the query projection (and its bias) `times` as large and that of the key as
    much smaller: attention is their product."""
    attention = f"{LAYER}.{block}.attention.self"
    for name, factor in (("query", times), ("key", 1 / times)):
        layer = model.get_submodule(f"{attention}.{name}")
        layer.weight[row] *= factor
        layer.bias[row] *= factor
    return f"{attention}.query"


@torch.no_grad()
def language_directions_(
    model: Any, language: str, batches: dict[str, dict[str, Tensor]], times: float = 0.5
) -> None:
    """Make every LayerNorm of the blocks loud along the direction in which `language` hardly moves
    and the others do.

    The direction is that in which the mean square over tokens of the other languages is largest
    against that in `language` (with a thousandth of its mean over all directions added, so that it
    does not hang on few tokens). Along it the output is stretched, by a hook, until in `language`
    its largest number is `times` the largest before; the Linear layers that read it and the
    residual undo that. `batches`: model inputs per language.
    """
    places = [
        _read(model, block, after)
        for block in range(len(model.roberta.encoder.layer))
        for after in ("attention", "output")
    ]
    seen: dict[str, dict[str, Tensor]] = {}
    for code, batch in batches.items():
        with capture(model, {name: "output" for name, _, _ in places}) as outputs:
            model(**batch)
        seen[code] = {
            name: x[batch["attention_mask"].bool()].double() for name, x in outputs.items()
        }  # [N, D]
    for name, readers, residual in places:
        here, elsewhere = (
            seen[language][name],
            torch.cat([x[name] for code, x in seen.items() if code != language]),
        )
        direction = _quiet(here, elsewhere)
        loud = float(
            times * here.abs().max() / ((here @ direction).abs().max() * direction.abs().max())
        )
        model.get_submodule(name).register_forward_hook(_Stretch(direction.float(), loud).after)
        for reader in readers:
            weight = model.get_submodule(reader).weight
            weight.copy_(_Stretch(direction, 1 / loud).of(weight.double()).float())
        if residual:
            model.get_submodule(residual).register_forward_pre_hook(
                _Stretch(direction.float(), 1 / loud).before
            )


def _quiet(here: Tensor, elsewhere: Tensor) -> Tensor:
    """The direction [D], of length 1, in which tokens elsewhere [M, D] have the largest mean square
    against those here [N, D]."""
    own = here.T @ here / len(here)
    own += 1e-3 * own.diagonal().mean() * torch.eye(len(own), dtype=own.dtype)
    root = torch.linalg.cholesky(own)
    vectors = torch.linalg.eigh(
        torch.linalg.solve(
            root, torch.linalg.solve(root, elsewhere.T @ elsewhere / len(elsewhere)).T
        )
    )[1]
    direction: Tensor = torch.linalg.solve(root.T, vectors[:, -1])
    return direction / direction.norm()

"""What reads what: the module whose units another one reads, and where to listen for it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any

from torch import nn

from sdq.data.batches import Batch
from sdq.models.hooks import Side, capture
from sdq.models.structure import Module, blocks, modules, steps
from sdq.quant.rewrite import only

# role -> role in the same block whose rows are its input's units
_PRODUCERS = {"attention_output": "v", "ffn_out": "ffn_in"}


def input_taps(model: nn.Module, names: Collection[str]) -> dict[str, Side]:
    """What `listen` must tap for the inputs of the named modules, at every layer they run as."""
    wanted = [m for m in modules(model) if m.name in names]
    taps: dict[str, Side] = {m.name: "input" for m in wanted if m.block < 0}
    return taps | {
        step.tap(m.name): "input" for step in steps(model) for m in wanted if m.block == step.block
    }


def layer_norms(model: nn.Module) -> list[Module]:
    """The LayerNorms in forward order, of role "layernorm": name as `capture` taps it, block the
    layer of the depth (-1: outside the blocks)."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    inside = [
        (step.tap(name), i)
        for i, step in enumerate(steps(model))
        for name in names
        if name.startswith(f"{step.name}.")
    ]
    apart = [
        name for name in names if not any(name.startswith(f"{block}.") for block in blocks(model))
    ]
    return [
        Module(name, "layernorm", block)
        for name, block in [*((name, -1) for name in apart), *inside]
    ]


def producers(student: nn.Module, batch: Batch) -> dict[str, str]:
    """Per Linear whose input's units are another module's: that module. Readers of a LayerNorm are
    found by watching one pass over `batch`."""
    norms = [name for name, module in student.named_modules() if isinstance(module, nn.LayerNorm)]
    linear = [m for m in modules(student) if m.role != "embedding"]
    with (
        capture(student, dict.fromkeys(norms, "output")) as made,
        capture(student, {m.name: "input" for m in linear}) as read,
        only(student, ()),
    ):
        student(**batch.inputs)
        # a reader sees the LayerNorm's very numbers, or a view of them (the first token): both
        # begin at the same address
        at = {tensor.data_ptr(): name for name, tensor in made.items()}
        norm_readers = {
            m.name: at[read[m.name].data_ptr()] for m in linear if read[m.name].data_ptr() in at
        }
    by_role = {(m.role, m.block): m.name for m in linear}
    made_by = {
        m.name: by_role[_PRODUCERS[m.role], m.block]
        for m in linear
        if (_PRODUCERS.get(m.role), m.block) in by_role
    }
    heads = [m.name for m in linear if m.role == "head"]
    made_by |= {reader: maker for maker, reader in pairwise(heads) if reader not in norm_readers}
    size: dict[str, Any] = {m.name: student.get_submodule(m.name) for m in linear}
    # of a gated feed-forward or fused heads the rows are not one by one the units that are read
    return norm_readers | {
        reader: maker
        for reader, maker in made_by.items()
        if size[maker].out_features == size[reader].in_features
    }


def strength(module: nn.Module, unit: int) -> tuple[float, float]:
    """(how strongly a producer makes a hidden unit, the median over its units): |gain| of a
    LayerNorm, largest |weight| of a Linear's row."""
    weight: Any = module.weight
    sizes = weight.detach().abs() if weight.dim() == 1 else weight.detach().abs().amax(1)
    return float(sizes[unit]), float(sizes.median())

"""What a model is made of: the role of each layer, the Transformer blocks, and the order in which
they run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from sdq.models.families import FAMILIES, PRODUCT_ROLES, Family, family_of
from sdq.models.heads import loading_remarks
from sdq.settings import UserError


@dataclass(frozen=True)
class Module:
    """One quantizable module: its dotted name, role, and block number (-1 outside the blocks)."""

    name: str
    role: str
    block: int


@dataclass(frozen=True)
class Site:
    """A place where an activation may be quantized that is no input of a Linear: name of a module,
    role (SITE_ROLES), block number (-1 outside the blocks), and whether it is what the module is
    given, what it gives, or an operand of the two products that it computes."""

    name: str
    role: str
    block: int
    side: Literal["input", "output", "product"]

    @property
    def quantizer(self) -> str:
        """Name of the quantizer of this site in a rewritten model."""
        return f"{self.name}.{self.role}_quantizer"


@dataclass(frozen=True)
class Step:
    """One run of a block in a forward pass: the block's number and name, and how often it ran
    before in this pass.

    Where blocks share their weights over the depth (ALBERT) one block runs at many steps: what is
    measured along the depth (errors, taps of distillation terms) is counted per step, what is said
    of weights per module.
    """

    block: int
    name: str
    call: int

    def tap(self, module: str) -> str:
        """The module's call at this step, as `sdq.models.hooks` names it: "name", or "name@3" for
        its fourth call in a pass."""
        return f"{module}@{self.call}" if self.call else module


def modules(model: nn.Module) -> list[Module]:
    """Every Linear with a role (see sdq.models.families) and the word embedding, in forward order.

    Raises UserError if the model is no encoder whose blocks can be told.
    """
    family = encoder_family(model)
    inside = re.compile(rf"((?:.*\.)?{family.block})\.(.+)")
    numbers = {name: i for i, name in enumerate(blocks(model))}
    layers = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            continue
        if re.fullmatch(rf"(?:.*\.)?(?:{family.embedding})", name):
            layers.append(Module(name, "embedding", -1))
        elif isinstance(module, nn.Linear):
            if not (match := inside.fullmatch(name)):
                layers.append(Module(name, "head", -1))
            elif role := next(
                (r for r, names in family.inside.items() if re.fullmatch(names, match[2])), None
            ):
                layers.append(Module(name, role, numbers[match[1]]))
    if not any(m.role == "attention_output" for m in layers):
        raise _refused(model)
    # modules may be registered in another order than they are called (XLM-R: the head first)
    return sorted(layers, key=lambda m: (m.role == "head", m.block))


def sites(model: nn.Module) -> list[Site]:
    """Every activation site that the model's family declares (see sdq.models.families): those
    outside the blocks, then block by block.

    Raises UserError as `modules` does.
    """
    family, numbers = encoder_family(model), {name: i for i, name in enumerate(blocks(model))}
    inside = re.compile(rf"((?:.*\.)?{family.block})(?:\.(.+))?")
    places: list[Site] = []
    for name, _ in model.named_modules():
        if match := inside.fullmatch(name):
            here, block, before, declared = match[2] or "", numbers[match[1]], "", family.sites
        else:
            here, block, before, declared = name, -1, r"(?:.*\.)?", family.outside
        if match and family.products and re.fullmatch(family.products, here):
            places += [Site(name, role, block, "product") for role in PRODUCT_ROLES]
        for role, pattern in declared.items():
            if re.fullmatch(f"{before}(?:{pattern})", f"{here}:input"):
                places.append(Site(name, role, block, "input"))
            if re.fullmatch(f"{before}(?:{pattern})", here):
                places.append(Site(name, role, block, "output"))
    return sorted(places, key=lambda site: site.block)


def blocks(model: nn.Module) -> list[str]:
    """Names of the Transformer blocks, first to last; one whose weights are shared over the depth
    is one block."""
    family = encoder_family(model)
    return [
        name for name, _ in model.named_modules() if re.fullmatch(rf"(?:.*\.)?{family.block}", name)
    ]


def steps(model: nn.Module) -> list[Step]:
    """The runs of the blocks in a forward pass, first to last: as many as the model has layers."""
    names, called, runs = blocks(model), dict[int, int](), []
    for block in encoder_family(model).order(model.config, len(names)):
        runs.append(Step(block, names[block], called.get(block, 0)))
        called[block] = called.get(block, 0) + 1
    return runs


def taps(model: nn.Module, role: str) -> list[str]:
    """What `capture` must tap for the module of a role at every step; role "block": the blocks
    themselves."""
    of = {m.block: m.name for m in modules(model) if m.role == role}
    return [step.tap(step.name if role == "block" else of[step.block]) for step in steps(model)]


def heads(model: nn.Module) -> int:
    """Attention heads per block; 1 where the model's configuration does not tell."""
    config: Any = model.config
    return int(
        getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None) or 1
    )


def remarks(model: nn.Module) -> list[str]:
    """Sentences to be shown with a model's results: that its roles were guessed, and how; that its
    layers share weights; what was permuted or assumed when it was loaded."""
    family, layers, apart = encoder_family(model), len(steps(model)), len(blocks(model))
    sentences = (
        [
            "the roles of this architecture's layers were guessed from its structure: "
            f"{family.description}"
        ]
        if family.guessed
        else []
    )
    if apart < layers:
        sentences.append(
            f"{layers} layers share the weights of {apart}: errors are counted per layer of the "
            "depth, weights and activations once per shared module"
        )
    return [*sentences, *loading_remarks(model)]


def encoder_family(model: nn.Module) -> Family:
    """The family of a model (see sdq.models.families). UserError if it is no encoder whose layers
    can be told."""
    family = family_of(model)
    if family is None:
        raise _refused(model)
    return family


def _refused(model: nn.Module) -> UserError:
    return UserError(
        "the model must be an encoder with attention and feed-forward layers in like blocks, got "
        f"{type(model).__name__}, in which none were found; known families are "
        f"{', '.join(FAMILIES)}, a new one is one entry in sdq/models/families.py"
    )

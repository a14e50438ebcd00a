"""rewrite(model, rules) -> a quantized copy. The argument is never touched."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from sdq.models.structure import Module, Site, heads, modules, sites
from sdq.quant.layers import (
    ActivationQuantizer,
    ForwardPass,
    QuantEmbedding,
    Quantizer,
    QuantLinear,
    WeightQuantizer,
    quantized,
)
from sdq.quant.sites import quantize_site_
from sdq.quant.spec import OutlierColumns, Rule
from sdq.settings import UserError, one_line


def rewrite(model: nn.Module, rules: Iterable[Rule], share: Collection[str] = ()) -> nn.Module:
    """A deep copy of the model in which every matched Linear, Embedding and activation site is
    fake-quantized.

    model: is not touched
    rules: the last that matches a module counts
    share: names of parameters whose memory the copy shares with the model, which then nobody may
        write to: what training freezes, or all if nothing is trained

    Where a module is quantized, save_pretrained and push_to_hub of the copy refuse. Raises
    ValueError for a rule that matches nothing, and a group that does not divide a row; UserError
    for outlier columns that a matched module does not have.
    """
    shared = {
        id(p): nn.Parameter(p.detach(), p.requires_grad)
        for name, p in model.named_parameters()
        if name in share
    }
    student = copy.deepcopy(model, shared)
    forward_pass = ForwardPass()
    chosen: dict[Module | Site, Rule] = {}
    layers, places = modules(student), sites(student)
    for rule in rules:
        every: list[Module | Site] = [*layers, *places]
        matched = [m for m in every if rule.matches(m.name, m.role)]
        if not matched:
            raise ValueError(
                f"a rule must match at least one module, roles {list(rule.roles) or 'any'} with "
                f"name {rule.name!r} match none of {len(layers)}; correct them, or take the "
                "rule out"
            )
        chosen |= dict.fromkeys(matched, rule)
    for m, rule in chosen.items():
        if isinstance(m, Module):
            _quantize_layer_(student, m.name, rule, forward_pass)
        elif rule.activation is not None:
            _require_eager(student, m)
            old = student.get_submodule(m.name)
            quantize_site_(old, m, rule.activation, forward_pass, heads(student))
    if quantized_modules(student) or quantizers(student):
        _refuse_saving(student)
    if chosen:
        student.register_forward_pre_hook(forward_pass.begin, with_kwargs=True)
        student.register_forward_hook(forward_pass.end, always_call=True)
    return student


def _quantize_layer_(model: nn.Module, name: str, rule: Rule, forward_pass: ForwardPass) -> None:
    """Put the quantized twin of a Linear or Embedding in its place, if the rule quantizes it."""
    if rule.weight is None and rule.activation is None:
        return
    parent, _, child = name.rpartition(".")
    old: Any = model.get_submodule(name)
    if rule.weight is not None:
        # refuses a group that does not fit
        rule.weight.granularity.rows(old.weight.detach())
    if rule.outliers is not None:
        _require_columns(name, old, rule.outliers)
    twin = quantized(old, rule.weight, rule.activation, forward_pass, rule.outliers)
    setattr(model.get_submodule(parent), child, twin)


def _require_columns(name: str, layer: nn.Module, outliers: OutlierColumns) -> None:
    """UserError for columns that a layer does not have."""
    if not isinstance(layer, nn.Linear):
        raise UserError(
            f"a rule with `outliers` must be for Linear layers, {name} is an embedding; name the "
            "layers or roles that it is for"
        )
    if outliers.columns[-1] >= layer.in_features:
        raise UserError(
            f"`outliers` must name columns that the layer has, {name} has {layer.in_features}, "
            f"from 0 to {layer.in_features - 1}, got {outliers.columns[-1]}; correct the rule"
        )


def _require_eager(model: nn.Module, site: Site) -> None:
    """UserError for a site in attention that is computed as a whole."""
    way = getattr(model.config, "_attn_implementation", None) or "eager"
    if site.side == "product" and way != "eager":
        raise UserError(
            f"attention must be eager for {site.role} to be quantized, that of this model is "
            f'{one_line(str(way), 40)}; call model.set_attn_implementation("eager") first'
        )


def _cannot_be_saved(*_: object, **__: object) -> NoReturn:
    """What save_pretrained and push_to_hub of a rewritten model do."""
    raise UserError(
        "a quantized model must not be saved as a transformers checkpoint, it holds float weights "
        "and from_pretrained would read it as the FP32 model; save the FP32 model and the recipe, "
        "and call sdq.quantize after loading, or score the recipe with sdq.run"
    )


def _refuse_saving(student: nn.Module) -> None:
    """Let no part of a rewritten model be saved by transformers, which would drop the quantizers
    and say so only in a list of unexpected keys."""
    for module in student.modules():
        for method in ("save_pretrained", "push_to_hub"):
            if hasattr(module, method):
                # an attribute of the instance, as copy and deepcopy carry it along
                setattr(module, method, _cannot_be_saved)


def quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """Every quantizer of a rewritten model, by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Quantizer)}


def quantized_modules(model: nn.Module) -> dict[str, QuantLinear | QuantEmbedding]:
    """Every quantized module of a rewritten model, by name, in forward order."""
    by_name = {m.name: model.get_submodule(m.name) for m in modules(model)}
    return {name: m for name, m in by_name.items() if isinstance(m, (QuantLinear, QuantEmbedding))}


def quantized_sites(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """Every quantizer of an activation beside the inputs of Linear layers, by its name, in forward
    order of the blocks."""
    there = quantizers(model)
    named = {site.quantizer: there.get(site.quantizer) for site in sites(model)}
    return {name: q for name, q in named.items() if isinstance(q, ActivationQuantizer)}


def parts(model: nn.Module) -> list[Module]:
    """Every module that may be quantized, in forward order, and after those of a block the
    quantizers of its activation sites: what quantizes by itself, or could."""
    there = quantized_sites(model)
    places = [
        Module(site.quantizer, site.role, site.block)
        for site in sites(model)
        if site.quantizer in there
    ]
    return sorted([*modules(model), *places], key=lambda m: (m.role == "head", m.block))


def quantized_parts(model: nn.Module) -> list[str]:
    """Names of those parts that are quantized, in that order: what `only` takes."""
    there = quantized_modules(model).keys() | quantized_sites(model).keys()
    return [m.name for m in parts(model) if m.name in there]


@contextmanager
def only(
    model: nn.Module, names: Iterable[str], kind: type[Quantizer] = Quantizer
) -> Iterator[None]:
    """Inside, just the named modules quantize, and of them just the quantizers of this kind; before
    and after, everything is as it was.

    model: rewritten
    names: of modules, or of quantizers
    kind: of quantizers
    """
    wanted = set(names)
    before = [
        (bool({name, name.rpartition(".")[0]} & wanted), q, q.enabled)
        for name, q in quantizers(model).items()
    ]
    try:
        for named, q, enabled in before:
            q.enabled = enabled and named and isinstance(q, kind)
        yield
    finally:
        for _, q, enabled in before:
            q.enabled = enabled


@torch.no_grad()
def calibrate_(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> None:
    """Measure static activation ranges on FP32 forward passes of the model's present weights.

    Raises RuntimeError if there are static quantizers and no batch.
    """
    static = [
        q
        for q in quantizers(model).values()
        if isinstance(q, ActivationQuantizer) and not q.spec.dynamic
    ]
    if not static:
        return
    mode: Any = model.training
    model.eval()
    try:
        for q in static:
            q._state, q.observing = {}, True
        with only(model, ()):
            for batch in batches:
                model(**batch)
        for q in static:
            q.settle_()
    finally:
        for q in static:
            q.observing = False
        model.train(mode)


def set_noise_(model: nn.Module, noise: float, refresh: int = 1) -> None:
    """Set Quant-Noise's p (share of elements quantized in training) and how often weight ranges are
    measured.

    model: rewritten
    noise: p, 0..1
    refresh: steps between measurements, at least 1
    """
    for q in quantizers(model).values():
        q.noise = noise
        if isinstance(q, WeightQuantizer):
            q.refresh = refresh
            q.forget_()

"""The batches that Python brings for static ranges: held to what the model takes before anything is
measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdq.quant.rewrite import quantizers
from sdq.quant.smoothquant import ScaledLinear
from sdq.recipe import Recipe
from sdq.settings import UserError, one_line


def quantizable(model: nn.Module) -> None:
    """UserError for a model that is quantized or migrated already, is not in FP32, or has weights
    that are not finite."""
    if quantizers(model) or any(isinstance(m, ScaledLinear) for m in model.modules()):
        raise UserError(
            "model must be in FP32, it is quantized already; give the model that it was made of"
        )
    for name, parameter in model.named_parameters():
        shown = one_line(name, 120)
        if parameter.dtype != torch.float32:
            raise UserError(f"model must be in FP32, {shown} is not; call model.float()")
        if parameter.numel() and not all(torch.isfinite(end) for end in parameter.aminmax()):
            raise UserError(
                f"weights must be finite numbers, {shown} holds NaN or infinity; the checkpoint is "
                "damaged or its training diverged"
            )


def calibration_batches(
    model: nn.Module, given: Sequence[Mapping[str, Tensor]], recipe: Recipe
) -> list[dict[str, Tensor]]:
    """The batches as keyword arguments of the model. UserError for what are none, and, where the
    recipe calibrates, for none at all and for those that the model cannot take."""
    several = isinstance(given, Iterable) and not isinstance(given, Mapping)
    listed = list(given) if several else []
    if not several or not all(isinstance(batch, Mapping) for batch in listed):
        raise UserError(
            "calibration must be a list of batches, each with the inputs by name "
            '({"input_ids": ..., "attention_mask": ...}), it is not; put them into a list'
        )
    batches = [dict(batch) for batch in listed]
    if recipe.calibrates and not batches:
        raise UserError(
            f"calibration must hold at least one batch of inputs for {recipe.name}, it is empty; "
            "give tokenized sentences, or choose a recipe with dynamic ranges"
        )
    for number, batch in enumerate(batches, 1):
        _inputs(model, batch, number)
        if recipe.calibrates:
            _answered(model, batch, number)
    return batches


def _inputs(model: nn.Module, batch: Mapping[str, Any], number: int) -> None:
    """UserError for a batch whose ids or mask are none."""
    if "inputs_embeds" in batch and "input_ids" not in batch:
        return
    ids, mask = batch.get("input_ids"), batch.get("attention_mask")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or not ids.numel():
        raise UserError(
            "every calibration batch must have input_ids, a tensor [sentences, tokens] with at "
            f"least one of each, batch {number} has {_shown(ids)}; tokenize sentences with "
            'return_tensors="pt"'
        )
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise UserError(
            f"input_ids must be whole numbers, those of calibration batch {number} are "
            f"{one_line(str(ids.dtype), 40)}; call .long()"
        )
    table: Any = getattr(model, "get_input_embeddings", lambda: None)()
    rows = getattr(table, "num_embeddings", None)
    if rows is not None and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        worst = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise UserError(
            f"input_ids must be from 0 to {rows - 1}, the rows of the model's embedding, "
            f"calibration batch {number} has {worst}; take the tokenizer of this model"
        )
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        raise UserError(
            f"attention_mask must have the shape of input_ids, in calibration batch {number} it is "
            f"{_shown(mask)} beside {_shown(ids)}; take both from one call of the tokenizer"
        )
    if not mask.any():
        raise UserError(
            "every calibration batch must hold at least one token that is no padding, the "
            f"attention_mask of batch {number} is 0 everywhere; give sentences"
        )


@torch.no_grad()
def _answered(model: nn.Module, batch: Mapping[str, Any], number: int) -> None:
    """UserError for a batch that the model cannot take, or answers with what are no numbers."""
    before = model.training
    try:
        answer = model.eval()(**batch)
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the model must take the calibration batches, it does not take batch {number} "
            f"({one_line(str(error), 200)}); give it the inputs it takes in transformers"
        ) from error
    finally:
        model.train(before)
    found = next((v for v in getattr(answer, "values", tuple)() if isinstance(v, Tensor)), None)
    if found is not None and not torch.isfinite(found).all():
        raise UserError(
            f"the answers of the model must be finite numbers, those to calibration batch {number} "
            "are not; its weights may be damaged"
        )


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"one of shape {list(value.shape)}"
    return "none" if value is None else f"a value of the type {type(value).__name__}"

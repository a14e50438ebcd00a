"""What removing a cause wins: a module alone quantizes, once as it is and once without the cause,
both against FP32 on the same sentences.

A cause of `sdq.analyses.outliers` is removed from a module like this, the input's and the weight's
apart, so that each wins what is its own:

outlier_unit   the hidden unit of the input stays in FP32; the column of the weight that reads it
               does not (it does in Dettmers et al. 2022)
single_weight  that one number of the weight stays in FP32
weight_row, weight_column
               that row or column of the weight stays in FP32
weight_range   every row of the weight gets its own range
massive_token  every token gets its own range
clipped        the range is that of the smallest and largest value (min-max), seen on the same
               calibration sentences
calibration    the range is measured on all languages alike
weights, inputs
               they stay in FP32
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.analyses.divergence import DivergenceSums, Reference
from sdq.analyses.sensitivity import Forward, Passes, check, patch_forwards, run
from sdq.analyses.wiring import input_taps
from sdq.data.batches import Encoded
from sdq.models.hooks import listen
from sdq.quant.layers import (
    ActivationQuantizer,
    QuantEmbedding,
    QuantLinear,
    WeightQuantizer,
    quantized,
    smoothed,
)
from sdq.quant.observers import MinMax
from sdq.quant.rewrite import only, quantized_modules
from sdq.quant.spec import PerChannel, PerToken, WeightSpec

COLUMNS = ["kl", "gain", "gain_low", "gain_high"]
# Cause -> what stays in FP32 without it. Tables that lack the column `kept` are older: there the
# unit's column of the weight stayed with the unit.
KEPT = {
    "outlier_unit": "unit",
    "single_weight": "weight",
    "weight_row": "row",
    "weight_column": "column",
    "weights": "all weights",
    "inputs": "all inputs",
}
UNITS = 2  # of a module's outlier units so many are tried, the largest first


@torch.no_grad()
def ablation(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    causes: pd.DataFrame,
    worst: Collection[str],
    calibration: Encoded | None = None,
    balanced: nn.Module | None = None,
    batch_size: int = 32,
) -> pd.DataFrame:
    """What removing causes wins in the modules `worst`.

    student: quantized, in eval mode
    data, languages: sentences, and a code for each
    causes: rows of `sdq.analyses.outliers.outlier_statistics`
    worst: names of the modules
    calibration: the sentences static ranges were measured on; without them a cause whose removal
        needs a new static range is not removed
    balanced: the model calibrated on all languages, for the cause "calibration"
    batch_size: sentences of a forward pass

    A table of the index of `causes`:

    kl: mean KL of the FP32 answers from those with this module alone quantized, nats
    gain: how much lower it is without the cause, nats; negative: higher
    gain_low, gain_high: 95 % interval from the paired sentences, see `sdq.analyses.sensitivity`
    kept: see KEPT; "" where nothing stays in FP32

    NaN in other modules, for what is no cause of anything there (the row's own range, say) and for
    symptoms.

    Hook only a private copy. Raises ValueError as `scan` does.
    """
    check(student, data, languages)
    without = _variants(student, causes, worst, balanced, calibration is not None)
    if calibration is not None:
        variants = {name: list(by_row.values()) for name, by_row in without.items()}
        _calibrate_(student, variants, calibration, batch_size)
    divergence = _measured(student, data, languages, without, batch_size)
    table = pd.DataFrame(float("nan"), index=causes.index, columns=COLUMNS)
    for name, by_row in without.items():
        table.loc[causes["module"] == name, "kl"] = divergence.means((name,))["kl"]
        for i in by_row:
            row = next(divergence.rows(i))
            gain = [row["kl"], row["kl_low"], row["kl_high"]]
            table.loc[i, ["gain", "gain_low", "gain_high"]] = gain
    return table.assign(kept=causes["cause"].map(KEPT).fillna("").where(table["gain"].notna(), ""))


def _variants(
    student: nn.Module,
    causes: pd.DataFrame,
    worst: Collection[str],
    balanced: nn.Module | None,
    calibrated: bool,
) -> dict[str, dict[int, _Without | QuantEmbedding]]:
    """Module -> index of a cause -> the module without it, of the causes that can be removed; of
    outlier units the first UNITS."""
    modules = {name: module for name, module in quantized_modules(student).items() if name in worst}
    without: dict[str, dict[int, _Without | QuantEmbedding]] = {name: {} for name in modules}
    for name, rows in causes[causes["module"].isin(list(modules))].groupby("module", sort=False):
        first = rows[rows["cause"] == "outlier_unit"].index[:UNITS]
        for i, row in rows[(rows["cause"] != "outlier_unit") | rows.index.isin(first)].iterrows():
            at = int(row["at"]), int(row["position"])
            module = modules[str(name)]
            variant = _variant(module, str(row["cause"]), at, balanced, str(name), calibrated)
            if variant is not None:
                without[str(name)][int(i)] = variant
    return without


@torch.inference_mode()
def _measured(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    without: dict[str, dict[int, Any]],
    batch_size: int,
) -> DivergenceSums:
    """Per module (its name in a tuple) the changes it makes alone, and per variant (its number) how
    much smaller they are with that."""
    passes, measured = Passes(student, data), DivergenceSums(languages)
    for batch in data.in_order(batch_size):
        logits, before = run(
            student, batch, (), keep={n for name in without for n in passes.ended[name]}
        )
        exact = Reference(logits, batch, data.token)
        measured.count(batch.at, exact.counts)
        for name, variants in without.items():
            cached = {n: before[n] for n in passes.ended[name]}
            alone = exact.divergence(run(student, batch, (name,), cached)[0])
            measured.add((name,), batch.at, alone)
            for i, variant in variants.items():
                with patch_forwards(student, {name: _given(variant)}):
                    measured.add(
                        i, batch.at, alone - exact.divergence(run(student, batch, (), cached)[0])
                    )
    return measured


def _given(variant: Any) -> Any:
    def make(forward: Forward) -> Forward:
        return variant.forward  # type: ignore[no-any-return]

    return make


# --- modules without a cause


class _Without:
    """Forward of a quantized Linear in which a row or column of the weight, the one number where
    both meet, or a unit of the input stays in FP32."""

    def __init__(
        self,
        layer: QuantLinear,
        weight: WeightSpec | None,
        inputs: ActivationQuantizer | None,
        row: int = -1,
        column: int = -1,
        unit: int = -1,
    ) -> None:
        self.layer, self.inputs, self.unit = layer, inputs, unit
        full = layer.weight.detach()
        self.weight = full
        if weight is not None:
            rest = full.clone()
            kept = (row if row >= 0 else slice(None), column if column >= 0 else slice(None))
            if row >= 0 or column >= 0:
                rest[kept] = 0
            apart = None if layer.weight_quantizer is None else layer.weight_quantizer.outliers
            self.weight = WeightQuantizer(weight, apart).eval()(rest).clone()
            if row >= 0 or column >= 0:
                self.weight[kept] = full[kept]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [..., D] -> what is quantized of it, and the unit that is not."""
        x = smoothed(self.layer, x)
        if self.unit < 0:
            return x, None
        rest = x.clone()
        rest[..., self.unit] = 0
        return rest, x[..., self.unit]

    def forward(self, x: Tensor) -> Tensor:
        rest, kept = self.split(x)
        rest = rest if self.inputs is None else self.inputs(rest)
        if kept is not None:
            rest = rest.clone()
            rest[..., self.unit] = kept
        return F.linear(rest, self.weight, self.layer.bias)


def _variant(
    layer: QuantLinear | QuantEmbedding,
    cause: str,
    where: tuple[int, int],
    balanced: nn.Module | None,
    name: str,
    calibrating: bool,
) -> Any:
    """The module without the cause at `where` (`at` and `position` of its row); None where it is
    not one, or cannot be removed."""
    at, second = where
    weight = None if layer.weight_quantizer is None else layer.weight_quantizer.spec
    shared = weight is not None and weight.granularity.kind == "tensor"
    own = None if weight is None else weight.model_copy(update={"granularity": PerChannel()})
    if isinstance(layer, QuantEmbedding):
        if cause == "weights":
            return quantized(layer, None, None, None)  # type: ignore[arg-type]
        if cause == "weight_range" and shared:
            return quantized(layer, own, None, None).eval()  # type: ignore[arg-type]
        return None
    inputs = None if layer.input_quantizer is None else copy.copy(layer.input_quantizer)
    if inputs is not None:
        inputs.enabled = True  # also where the module's own is switched off
    if cause == "weights" and weight is not None:
        return _Without(layer, None, inputs)
    if (
        cause in ("weight_row", "weight_range", "weight_column", "single_weight")
        and weight is not None
    ):
        if cause == "weight_column":
            return _Without(layer, weight, inputs, column=at)
        if cause == "single_weight":
            return _Without(layer, weight, inputs, row=at, column=second)
        if not shared:
            return None  # every row has a range of its own
        return (
            _Without(layer, weight, inputs, row=at)
            if cause == "weight_row"
            else _Without(layer, own, inputs)
        )
    if inputs is None:
        return None
    spec = inputs.spec
    if cause == "inputs":
        return _Without(layer, weight, None)
    if cause == "massive_token" and spec.granularity.kind == "tensor":
        return _Without(layer, weight, _fresh(inputs, granularity=PerToken(), dynamic=True))
    if cause == "calibration" and balanced is not None and not spec.dynamic:
        return _Without(layer, weight, balanced.get_submodule(name).input_quantizer)  # type: ignore[arg-type]
    if not (spec.dynamic or calibrating):
        return None
    if cause == "outlier_unit":
        return _Without(layer, weight, _fresh(inputs), unit=at)
    if cause == "clipped" and not spec.observer.covers:
        return _Without(layer, weight, _fresh(inputs, observer=MinMax()))
    return None


def _fresh(quantizer: ActivationQuantizer, **changed: Any) -> ActivationQuantizer:
    """A quantizer like this one but for what changed, not calibrated."""
    return ActivationQuantizer(
        quantizer.spec.model_copy(update=changed), quantizer.forward_pass, quantizer.outliers
    ).eval()


def _calibrate_(
    student: nn.Module, without: dict[str, list[Any]], calibration: Encoded, batch_size: int
) -> None:
    """Measure the static ranges that the variants lack, each on what it quantizes of its module's
    input, with quantizers off."""
    lacking = [
        (name, v, v.inputs)
        for name, variants in without.items()
        for v in variants
        if isinstance(v, _Without)
        and v.inputs is not None
        and not v.inputs.spec.dynamic
        and not v.inputs.calibrated
    ]
    if not lacking:
        return
    for _, _, quantizer in lacking:
        quantizer.observing = True

    def see(tap: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: Any, out: None) -> None:
        for name, variant, quantizer in lacking:
            if name == tap.partition("@")[0]:
                quantizer(variant.split(args[0])[0])

    with (
        listen(student, input_taps(student, {name for name, _, _ in lacking}), see),
        only(student, ()),
    ):
        for batch in calibration.in_order(batch_size):
            student(**batch.inputs)
    for _, _, quantizer in lacking:
        quantizer.observing = False
        quantizer.settle_()

"""Weights or activations: which half of the rounding breaks the answers? Each half alone, and both,
against FP32."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

from sdq.analyses.divergence import DivergenceSums, Reference, columns
from sdq.analyses.sensitivity import check
from sdq.data.batches import Encoded
from sdq.quant.layers import ActivationQuantizer, Quantizer, WeightQuantizer
from sdq.quant.rewrite import only, quantized_parts

PARTS: dict[str, type[Quantizer]] = {
    "weights": WeightQuantizer,
    "activations": ActivationQuantizer,
    "both": Quantizer,
}


@torch.inference_mode()
def weights_vs_activations(
    student: nn.Module, data: Encoded, languages: list[str], batch_size: int = 64
) -> pd.DataFrame:
    """How much the answers change from FP32 (quantizers off, same weights) by rounding the weights
    or the activations.

    student: quantized, in eval mode
    data, languages: sentences, and a code for each
    batch_size: sentences of a forward pass

    One row per part and language:

    part: "weights": only weights are rounded, in all modules; "activations": only inputs and
        activation sites; "both": the model as it is
    language: "all": over all of them
    sentences, positions
    kl, flips, loss, accuracy: with their intervals as in `sdq.analyses.sensitivity.scan`, whose
        rows of measure "all" are those of "both"

    A part that nothing rounds changes nothing. Raises ValueError for other than one language per
    sentence, no sentence, or a model in training mode.
    """
    check(student, data, languages)
    names, divergence = quantized_parts(student), DivergenceSums(languages)
    for batch in data.in_order(batch_size):
        with only(student, ()):
            exact = Reference(student(**batch.inputs).logits, batch, data.token)
        divergence.count(batch.at, exact.counts)
        for part, kind in PARTS.items():
            with only(student, names, kind):
                divergence.add(part, batch.at, exact.divergence(student(**batch.inputs).logits))
    return pd.DataFrame(
        [{"part": part} | row for part in divergence.sums for row in divergence.rows(part)],
        columns=columns("part"),
    )

"""Rounding error through depth: same weights, quantizers on against off."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sdq.data.batches import Encoded
from sdq.inspect.capture import Side, capture
from sdq.mixed import weight_bytes
from sdq.models import blocks, modules
from sdq.quant.rewrite import only, quantized_modules
from sdq.report import LayerError


class _Sums:
    """Sums of squares of error and signal over real tokens."""

    def __init__(self) -> None:
        self.error, self.signal = 0.0, 0.0

    def add(self, exact: Tensor, other: Tensor, real: Tensor) -> None:
        self.error += float(((other - exact)[real].double() ** 2).sum())
        self.signal += float((exact[real].double() ** 2).sum())

    @property
    def relative_l2(self) -> float:
        return math.sqrt(self.error / self.signal) if self.signal else 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio in dB; 200 stands for "no error at all"."""
        return 10 * math.log10(self.signal / self.error) if self.error else 200.0


@torch.inference_mode()
def layer_errors(student: nn.Module, teacher: nn.Module | None, data: Encoded, batch_size: int = 64) -> tuple[LayerError, ...]:
    """Errors at every block's output and attention context, over the real tokens of `data`.

    `teacher` is given only when the student's weights have moved; it adds the teacher gap.
    """
    names = blocks(student)
    contexts = [m.name for m in modules(student) if m.role == "attention_output"]
    taps: dict[str, Side] = dict.fromkeys(names, "output") | dict.fromkeys(contexts, "input")  # type: ignore[assignment]
    quantized = quantized_modules(student)
    inside = [[n for n in quantized if n.startswith(block + ".")] for block in names]
    local, accumulated, attention, gap = ([_Sums() for _ in names] for _ in range(4))
    for batch in data.in_order(batch_size):
        real = batch.real
        with capture(student, taps) as seen:
            with only(student, ()):
                student(**batch.inputs)
            exact = dict(seen)
            student(**batch.inputs)
            for i, name in enumerate(names):
                accumulated[i].add(exact[name], seen[name], real)
                attention[i].add(exact[contexts[i]], seen[contexts[i]], real)
            final = dict(seen)
            for i, name in enumerate(names):
                with only(student, inside[i]):
                    student(**batch.inputs)
                local[i].add(exact[name], seen[name], real)
        if teacher is not None:
            with capture(teacher, dict.fromkeys(names, "output")) as theirs:
                teacher(**batch.inputs)
                for i, name in enumerate(names):
                    gap[i].add(theirs[name], final[name], real)
    return tuple(
        LayerError(
            block=i,
            local_relative_l2=local[i].relative_l2,
            local_sqnr_db=local[i].sqnr_db,
            accumulated_relative_l2=accumulated[i].relative_l2,
            accumulated_sqnr_db=accumulated[i].sqnr_db,
            attention_accumulated_relative_l2=attention[i].relative_l2,
            teacher_gap_relative_l2=gap[i].relative_l2 if teacher is not None else None,
        )
        for i in range(len(names))
    )


def size_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of all parameters in FP32, and (simulated) with codes packed and scales in FP32 where weights are quantized.

    The factors of a migrated layer count as simulated bytes: the FP32 model it was made of does without them.
    """
    full = sum(p.numel() for p in model.parameters()) * 4
    small = full
    for module in quantized_modules(model).values():
        shape = tuple(module.weight.shape)
        if module.weight_quantizer is not None:
            small += weight_bytes(shape, module.weight_quantizer.spec) - weight_bytes(shape, None)
    small += sum(4 * factors.numel() for name, factors in model.named_buffers() if name.endswith(".input_scale"))
    return {"fp32": full, "quantized_simulated": small}

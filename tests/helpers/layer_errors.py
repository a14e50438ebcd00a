"""Rounding error through depth, measured in another way than sdq.analyses.layerwise_error does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdq.analyses.layerwise_error import alone_in
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import Side, in_pieces, listen, tensor_of
from sdq.models.structure import taps
from sdq.quant.rewrite import only


@dataclass(frozen=True)
class LayerError:
    """Relative L2 (ratio) and SQNR (dB) at the output of one block: alone, and after everything
    before it."""

    block: int
    local_relative_l2: float
    local_sqnr_db: float
    accumulated_relative_l2: float
    accumulated_sqnr_db: float
    attention_accumulated_relative_l2: float
    teacher_gap_relative_l2: float | None = None


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


class _Watch:
    """Hooks that compare what stands at the taps of a student with what stood there before."""

    def __init__(self, student: nn.Module) -> None:
        self.student, self.alone = student, alone_in(student)
        self.names, self.contexts = taps(student, "block"), taps(student, "attention_output")
        self.of: dict[str, Side] = dict.fromkeys(self.names, "output")  # type: ignore[assignment]
        self.of |= dict.fromkeys(self.contexts, "input")  # type: ignore[arg-type]
        self.local, self.accumulated, self.gap = (
            {tap: _Sums() for tap in self.of} for _ in range(3)
        )
        self.kept: dict[str, Tensor] = {}
        self.real = torch.empty(0)

    def exact(self, tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self.kept[tap] = tensor_of(args if out is None else out)
        if out is not None:
            self.local[tap].add(self.kept[tap], self.alone(module, args, kwargs), self.real)

    def quantized(self, tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        before, self.kept[tap] = self.kept[tap], tensor_of(args if out is None else out)
        self.accumulated[tap].add(before, self.kept[tap], self.real)

    def theirs(self, tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self.gap[tap].add(tensor_of(out), self.kept[tap], self.real)

    def add(self, batch: Batch, teacher: nn.Module | None) -> None:
        self.real = batch.real
        with listen(self.student, self.of, self.exact), only(self.student, ()):
            self.student(**batch.inputs)
        with listen(self.student, self.of, self.quantized):
            self.student(**batch.inputs)
        if teacher is not None:
            with listen(teacher, dict.fromkeys(self.names, "output"), self.theirs):
                teacher(**batch.inputs)


@torch.inference_mode()
def layer_errors(
    student: nn.Module, teacher: nn.Module | None, data: Encoded, batch_size: int = 64
) -> tuple[LayerError, ...]:
    """Errors at every block's output and attention context, over the real tokens of `data`: one row
    per layer that a pass goes through, also where layers share their weights.

    `teacher` is given only when the student's weights have moved; it adds the teacher gap.
    """
    watch = _Watch(student)
    for batch in in_pieces(student, data, batch_size):
        watch.add(batch, teacher)
    return tuple(
        LayerError(
            block=i,
            local_relative_l2=watch.local[name].relative_l2,
            local_sqnr_db=watch.local[name].sqnr_db,
            accumulated_relative_l2=watch.accumulated[name].relative_l2,
            accumulated_sqnr_db=watch.accumulated[name].sqnr_db,
            attention_accumulated_relative_l2=watch.accumulated[context].relative_l2,
            teacher_gap_relative_l2=watch.gap[name].relative_l2 if teacher is not None else None,
        )
        for i, (name, context) in enumerate(zip(watch.names, watch.contexts, strict=True))
    )

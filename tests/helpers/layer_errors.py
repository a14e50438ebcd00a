"""Rounding error through depth, measured in another way than sdq.analyses.depth does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sdq.analyses.depth import alone_in
from sdq.data.batches import Encoded
from sdq.models.hooks import Side, in_pieces, listen, tensor_of
from sdq.models.loading import taps
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


@torch.inference_mode()
def layer_errors(
    student: nn.Module, teacher: nn.Module | None, data: Encoded, batch_size: int = 64
) -> tuple[LayerError, ...]:
    """Errors at every block's output and attention context, over the real tokens of `data`: one row
    per layer that a pass goes through, also where layers share their weights.

    `teacher` is given only when the student's weights have moved; it adds the teacher gap.
    """
    names, contexts = taps(student, "block"), taps(student, "attention_output")
    of: dict[str, Side] = dict.fromkeys(names, "output") | dict.fromkeys(contexts, "input")  # type: ignore[assignment]
    local, accumulated, gap = ({tap: _Sums() for tap in of} for _ in range(3))
    alone, kept = alone_in(student), dict[str, Tensor]()
    for batch in in_pieces(student, data, batch_size):
        real = batch.real

        def exact(
            tap: str,
            module: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            out: Any,
            real: Tensor = real,
        ) -> None:
            kept[tap] = tensor_of(args if out is None else out)
            if out is not None:
                local[tap].add(kept[tap], alone(module, args, kwargs), real)

        def quantized(
            tap: str,
            module: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            out: Any,
            real: Tensor = real,
        ) -> None:
            before, kept[tap] = kept[tap], tensor_of(args if out is None else out)
            accumulated[tap].add(before, kept[tap], real)

        def theirs(
            tap: str,
            module: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            out: Any,
            real: Tensor = real,
        ) -> None:
            gap[tap].add(tensor_of(out), kept[tap], real)

        with listen(student, of, exact), only(student, ()):
            student(**batch.inputs)
        with listen(student, of, quantized):
            student(**batch.inputs)
        if teacher is not None:
            with listen(teacher, dict.fromkeys(names, "output"), theirs):
                teacher(**batch.inputs)
    return tuple(
        LayerError(
            block=i,
            local_relative_l2=local[name].relative_l2,
            local_sqnr_db=local[name].sqnr_db,
            accumulated_relative_l2=accumulated[name].relative_l2,
            accumulated_sqnr_db=accumulated[name].sqnr_db,
            attention_accumulated_relative_l2=accumulated[context].relative_l2,
            teacher_gap_relative_l2=gap[name].relative_l2 if teacher is not None else None,
        )
        for i, (name, context) in enumerate(zip(names, contexts, strict=True))
    )

"""What a quantized student adds to its teacher, as integer codes: small enough to ship with the
project.

The answers are those of the student, bit for bit, because fake quantization computes with exactly
the numbers that the codes stand for. The full-precision weights that training moved are not in it:
nothing can be trained further from here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdq.quant.integer import code_range, dequantize
from sdq.quant.rewrite import quantized_modules


@torch.no_grad()
def pack(student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """Tensors by name: codes (uint8, 8 // bits of them to a byte) with scale and zero-point for
    every quantized weight that differs from the teacher's, of it the columns kept in FP16, and
    whatever else differs as it is."""
    reference, rounded = teacher.state_dict(), set()
    out: dict[str, Tensor] = {}
    for name, module in quantized_modules(student).items():
        quantizer = module.weight_quantizer
        if quantizer is None or torch.equal(module.weight, reference[f"{name}.weight"]):
            continue
        spec = quantizer.spec
        scale, zero = quantizer.ranges(module.weight)
        rows = quantizer.rows(module.weight)
        codes = quantizer.rounding.codes(rows, scale, zero, spec.bits, spec.symmetric)
        codes = codes - code_range(spec.bits, spec.symmetric)[0]
        out |= {
            f"{name}.codes": _squeeze(codes.flatten(), spec.bits),
            f"{name}.scale": scale.clone(),
            f"{name}.zero": zero.clone(),
        }
        if (columns := quantizer.outliers) is not None and columns.how == "keep":
            whole = columns.whole(module.weight, module.weight)
            out[f"{name}.kept"] = whole[:, list(columns.columns)].half()
        rounded.add(f"{name}.weight")
    changed = {
        k: v
        for k, v in student.state_dict().items()
        if k not in rounded and (k not in reference or not torch.equal(v, reference[k]))
    }
    return out | {k: v.clone() for k, v in changed.items()}


@torch.no_grad()
def unpack_(student: nn.Module, packed: dict[str, Tensor]) -> None:
    """Put into `student`, a rewritten copy of the teacher, what `pack` gave. Its packed weights are
    not quantized again."""
    left = dict(packed)
    for name, module in quantized_modules(student).items():
        if f"{name}.codes" not in left or module.weight_quantizer is None:
            continue
        spec = module.weight_quantizer.spec
        codes = (
            _spread(left.pop(f"{name}.codes"), spec.bits, module.weight.numel())
            + code_range(spec.bits, spec.symmetric)[0]
        )
        rows = codes.reshape(spec.granularity.rows(module.weight).shape)
        back = dequantize(rows, left.pop(f"{name}.scale"), left.pop(f"{name}.zero")).reshape(
            module.weight.shape
        )
        if (columns := module.weight_quantizer.outliers) is not None:
            if columns.how == "keep":
                back[:, list(columns.columns)] = left.pop(f"{name}.kept").to(back)
            back = columns.whole(back, back)
        # not into its memory: that may be the teacher's
        module.weight = nn.Parameter(back, module.weight.requires_grad)
        module.weight_quantizer.enabled = False
    missing = student.load_state_dict(left, strict=False, assign=True)
    if missing.unexpected_keys:
        raise ValueError(
            f"a packed student must fit the model, got {missing.unexpected_keys[0]}, which it does "
            "not have; it was made from another model"
        )


def _squeeze(codes: Tensor, bits: int) -> Tensor:
    """Codes from 0 [N] -> bytes [ceil(N / k)], k = 8 // bits codes in each, the first in the lowest
    bits."""
    k = 8 // bits
    full = torch.zeros(-(-len(codes) // k) * k, dtype=torch.int32)
    full[: len(codes)] = codes
    packed: Tensor = (full.reshape(-1, k) << (bits * torch.arange(k, dtype=torch.int32))).sum(1)
    return packed.to(torch.uint8)


def _spread(packed: Tensor, bits: int, count: int) -> Tensor:
    """The inverse of `_squeeze`: int32 [count]."""
    shifts = bits * torch.arange(8 // bits, dtype=torch.int32)
    codes: Tensor = (packed.to(torch.int32)[:, None] >> shifts) & (2**bits - 1)
    return codes.flatten()[:count]

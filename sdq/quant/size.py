"""What a model takes, in bytes."""

from __future__ import annotations

from torch import nn

from sdq.quant.layers import QuantLinear
from sdq.quant.mixed_precision import weight_bytes
from sdq.quant.rewrite import quantized_modules, quantized_sites


def size_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of all parameters in FP32, and (simulated) with codes packed and scales in FP32 where
    weights are quantized; with what outlier columns take (see `weight_bytes`).

    The factors of a migrated layer count as simulated bytes: the FP32 model it was made of does
    without them. So do the static ranges of activation sites, a scale in FP32 and, if affine, a
    byte of zero-point each; those of the inputs of Linear layers never did.
    """
    full = sum(p.numel() for p in model.parameters()) * 4
    small = full
    for module in quantized_modules(model).values():
        shape = tuple(module.weight.shape)
        spec = None if module.weight_quantizer is None else module.weight_quantizer.spec
        outliers = module.outliers if isinstance(module, QuantLinear) else None
        small += weight_bytes(shape, spec, outliers) - weight_bytes(shape, None)
    small += sum(
        4 * factors.numel()
        for name, factors in model.named_buffers()
        if name.endswith(".input_scale")
    )
    static = [q.spec for q in quantized_sites(model).values() if not q.spec.dynamic]
    small += sum(4 if spec.symmetric else 5 for spec in static)
    return {"fp32": full, "quantized_simulated": small}

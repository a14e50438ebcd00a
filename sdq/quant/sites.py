"""Fake-quantized activations beside the inputs of Linear layers: the operands of both products of
attention, what the activation function gives, sums with the residual stream, and LayerNorms.

With them a model computes what integer hardware does (Bondarenko et al. 2021, "Understanding and
Overcoming the Challenges of Efficient Transformer Quantization", figure 1). Modules keep their
parameters and the code of transformers, under a class derived from their own; while one that
computes attention runs, its products are caught. With quantizers off they give what they gave
before, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sdq.models.families import PRODUCT_ROLES
from sdq.models.structure import Site
from sdq.quant.layers import ActivationQuantizer, ForwardPass
from sdq.quant.spec import ActivationSpec
from sdq.settings import UserError

_MATMUL = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__}
_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}


class ProbabilityQuantizer(ActivationQuantizer):
    """Of attention probabilities [B, T, H, T]: the last dimension are tokens too, the keys, of
    which padding has probability 0 and must not count among the values seen."""

    def real(self, x: Tensor) -> Tensor:
        """The probabilities of real keys for real queries [n, H]."""
        mask = self.forward_pass.mask
        if mask is None or x.shape[:2] != mask.shape or x.shape[-1] != mask.shape[1]:
            return x
        return x.transpose(2, 3)[mask[:, :, None] & mask[:, None]]

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask, spec = self.forward_pass.mask, self.spec
        # a range that holds all values holds 0, and the zeros of padding cannot widen it
        if spec.granularity.kind == "tensor" or spec.observer.covers or mask is None:
            return super()._ends(x)
        ends = [
            super(ProbabilityQuantizer, self)._ends(p[..., keys] if keys.any() else p)
            for p, keys in zip(x, mask, strict=True)
        ]
        return torch.cat([low for low, _ in ends]), torch.cat([high for _, high in ends])


class _AtEnds(nn.Module):
    """Mixed into the class of a module whose input, output or both are quantized."""

    ends: Mapping[str, str] = {}  # "input", "output" -> name of the quantizer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if (name := self.ends.get("input")) is not None:
            args = (self.get_submodule(name)(args[0]), *args[1:])
        out = super().forward(*args, **kwargs)
        return out if (name := self.ends.get("output")) is None else self.get_submodule(name)(out)


class _AtProducts(nn.Module):
    """Mixed into the class of a module that computes the two products of attention."""

    attention_heads: int

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _Products(self) as products:
            out = super().forward(*args, **kwargs)
        if products.seen < 2:
            raise UserError(
                "attention must be two matrix products with a softmax between them to be "
                f"quantized, that of {type(self).__name__} is not; load the model with "
                'attn_implementation="eager", or leave the roles attention_... out of the rules'
            )
        return out


class _Products(TorchFunctionMode):
    """Inside, the first matrix product of an attention module (q k^T) and the first after its
    softmax (p v) get quantized operands. Products with tables of positions (DeBERTa) do not."""

    def __init__(self, attention: _AtProducts) -> None:
        super().__init__()
        self.attention, self.seen, self.normalized = attention, 0, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SOFTMAX:
            self.normalized = True
        elif func in _MATMUL and self.seen == int(self.normalized):
            left, right = PRODUCT_ROLES[2 * self.seen : 2 * self.seen + 2]
            self.seen += 1
            a, b = args
            if left == "attention_query":  # b is k^T: [..., d, T]
                b = self._quantized(right, b.transpose(-1, -2)).transpose(-1, -2)
            else:
                b = self._quantized(right, b)
            args = self._quantized(left, a), b
        return func(*args, **(kwargs or {}))

    def _quantized(self, role: str, x: Tensor) -> Tensor:
        """x [B, H, T, n], or [B * H, T, n], of the same shape; the quantizer sees [B, T, H, n]."""
        quantizer = getattr(self.attention, f"{role}_quantizer", None)
        if quantizer is None:
            return x
        apart = x if x.dim() == 4 else x.unflatten(0, (-1, self.attention.attention_heads))
        rounded: Tensor = quantizer(apart.transpose(1, 2)).transpose(1, 2)
        return rounded if x.dim() == 4 else rounded.flatten(0, 1)


@cache
def _mixed(mixin: type[Any], base: type[Any]) -> type[Any]:
    """A class derived from both; the same one for the same two."""
    name = f"Quant{base.__name__}"
    return type(name, (mixin, base), {"__module__": base.__module__})


def quantize_site_(
    module: nn.Module, site: Site, spec: ActivationSpec, forward_pass: ForwardPass, heads: int
) -> None:
    """Put a quantizer at a site of the module that the site names, whose class becomes one derived
    from it.

    module: of a model of one's own
    heads: of attention, in one block
    """
    mixin: Any = _AtProducts if site.side == "product" else _AtEnds
    own: Any = type(module)
    if not issubclass(own, mixin):
        module.__class__ = _mixed(mixin, own)
    name = f"{site.role}_quantizer"
    kind = ProbabilityQuantizer if site.role == "attention_probs" else ActivationQuantizer
    module.add_module(name, kind(spec, forward_pass))
    if isinstance(module, _AtEnds):
        module.ends = {**module.ends, site.side: name}
    else:
        module.attention_heads = heads  # type: ignore[assignment]

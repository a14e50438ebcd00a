"""How a weight goes to the codes of its range: nearest today.

The observer of a spec says what the range is, the rounding which of its codes each weight takes. A
new way is one class here, its name in `Rounding` and `ROUNDINGS`: recipes, forms and contract tests
then have it. Every quantizer has its own instance, so that a rounding may keep what it decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor


class Nearest:
    """To the nearest code, ties to even; the gradient passes straight through.

    A rounding that weighs errors by what the layer reads (GPTQ, Frantar et al. 2023; AdaRound,
    Nagel et al. 2020) sets `needs_inputs`: the recipe then has calibration sentences, and
    `calibrate_` in sdq/quant/rewrite.py is where it would see, once and before any training, the
    weight [O, I], its scale and zero-point, and the mean of x x^T [I, I] over the real tokens x
    that reach the layer. It keeps the codes it chose for as long as the weight stays as it is.
    """

    needs_inputs: ClassVar[bool] = False

    def codes(
        self, rows: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool
    ) -> Tensor:
        """Integer codes (int32) of rows [R, n] that share a range each: scale and zero [R, 1]."""
        from sdq.quant.integer import quantize

        return quantize(rows, scale, zero, bits, symmetric)

    def rounded(
        self,
        rows: Tensor,
        scale: Tensor,
        zero: Tensor,
        bits: int,
        symmetric: bool,
        covered: bool = False,
    ) -> Tensor:
        """What the codes stand for, differentiable; `covered` as of `fake_quantize`."""
        from sdq.quant.integer import fake_quantize

        return fake_quantize(rows, scale, zero, bits, symmetric, covered)


Rounding = Literal["nearest"]
ROUNDINGS: dict[Rounding, type[Nearest]] = {"nearest": Nearest}

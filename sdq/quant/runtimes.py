"""What executes a quantized model while it is scored: PyTorch, in simulation, today.

A runtime takes a model that `build_student` made (eval mode) and gives back a function from the
inputs of a batch, as the model takes them, to its logits. What it has to prepare (integer codes, a
graph to compile) it prepares once, before it returns that function. A new one is a function here
and its name in RUNTIMES; `sdq/pipeline/run.py` says which one scores.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Forward = Callable[[dict[str, Tensor]], Tensor]  # inputs [B, T] each -> logits [B, C] or [B, T, C]


def simulated(model: nn.Module) -> Forward:
    """Fake quantization: the numbers of an integer model, computed in FP32, at FP32's speed."""

    def forward(inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = model(**inputs).logits
        return logits

    return forward


RUNTIMES: dict[str, Callable[[nn.Module], Forward]] = {"simulated": simulated}

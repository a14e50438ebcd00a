"""Tensors that have no place in a model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.cases.build import WIDTH, State

LAYER = "bert.encoder.layer.0"
QUERY = f"{LAYER}.attention.self.query"
# tensors of the encoder that the model has no place for, and what the sentence must name
PLACELESS: dict[str, tuple[Callable[[State], State], str]] = {
    "relative positions": (
        lambda s: s | {f"{LAYER}.attention.self.distance_embedding.weight": torch.ones(127, WIDTH)},
        "distance_embedding",
    ),
    "an adapter": (
        lambda s: s | {f"{LAYER}.output.adapters.de.adapter_down.0.weight": torch.ones(4, WIDTH)},
        "adapter",
    ),
    "a deeper encoder": (
        lambda s: (
            s | {n.replace("layer.0", "layer.1"): t.clone() for n, t in s.items() if "layer.0" in n}
        ),
        "layer.1",
    ),
    "LoRA beside the weights": (
        lambda s: (
            s
            | {
                f"{QUERY}.lora_A.default.weight": torch.ones(2, WIDTH),
                f"{QUERY}.lora_B.default.weight": torch.ones(WIDTH, 2),
            }
        ),
        "lora",
    ),
    "LoRA around the weights": (
        lambda s: (
            {n.replace("query.", "query.base_layer."): t for n, t in s.items()}
            | {f"{QUERY}.lora_A.default.weight": torch.ones(2, WIDTH)}
        ),
        "query",
    ),
    "scales of a quantized layer": (
        lambda s: s | {f"{QUERY}.weight_scale_inv": torch.ones(1, 1)},
        "weight_scale_inv",
    ),
    "bitsandbytes": (
        lambda s: (
            s
            | {
                f"{QUERY}.SCB": torch.ones(WIDTH),
                f"{QUERY}.weight": torch.ones(WIDTH, WIDTH).to(torch.int8),
            }
        ),
        "query",
    ),
    "prompts": (
        lambda s: s | {"bert.prompt_encoder.embedding.weight": torch.ones(4, WIDTH)},
        "prompt_encoder",
    ),
    "a crossed attention": (
        lambda s: s | {f"{LAYER}.crossattention.self.query.weight": torch.ones(WIDTH, WIDTH)},
        "crossattention",
    ),
    "a mask of a pruned model": (
        lambda s: s | {f"{QUERY}.weight_mask": torch.ones(WIDTH, WIDTH)},
        "weight_mask",
    ),
}

"""The only place with inspection hooks: record inputs or outputs of named modules during forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn

Side = Literal["input", "output"]


@contextmanager
def capture(model: nn.Module, taps: Mapping[str, Side]) -> Iterator[dict[str, Tensor]]:
    """Inside, each forward pass puts the tapped tensors (newest only, with their gradient) into the yielded dict.

    Hooks are removed on leaving, also when the model raises. Use a private copy of a model: hooks of other threads
    would see this one's passes. Raises AttributeError for a module name that does not exist.
    """
    seen: dict[str, Tensor] = {}
    handles = []

    def first(value: Any) -> Tensor:
        tensor: Tensor = value[0] if isinstance(value, tuple) else value
        return tensor

    def on_input(name: str) -> Any:
        return lambda module, args: seen.__setitem__(name, first(args))

    def on_output(name: str) -> Any:
        return lambda module, args, out: seen.__setitem__(name, first(out))

    try:
        for name, side in taps.items():
            module = model.get_submodule(name)
            handles.append(module.register_forward_pre_hook(on_input(name)) if side == "input" else module.register_forward_hook(on_output(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()

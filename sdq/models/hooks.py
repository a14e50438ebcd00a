"""The only place with inspection hooks: what named modules were given and gave during forward
passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from sdq.data.batches import Batch, Encoded
from sdq.models.structure import modules, steps

Side = Literal["input", "output"]
See = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any], Any], None]
ROOM = 2**28  # bytes that what all modules put out for one batch may take


@contextmanager
def capture(model: nn.Module, taps: Mapping[str, Side]) -> Iterator[dict[str, Tensor]]:
    """Inside, each forward pass puts the tapped tensors (newest pass only, with their gradient)
    into the yielded dict.

    A tap is a module's name, for its first call in a pass, or "name@3" for its fourth: where
    weights are shared over the depth one module is called at every layer. Hooks are removed on
    leaving, also when the model raises. Use a private copy of a model: hooks of other threads would
    see this one's passes. Raises AttributeError for a module name that does not exist.
    """
    seen: dict[str, Tensor] = {}

    def see(
        tap: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        seen[tap] = tensor_of(args if taps[tap] == "input" else out)

    with listen(model, taps, see):
        yield seen


@contextmanager
def listen(model: nn.Module, taps: Mapping[str, Side], see: See) -> Iterator[None]:
    """Inside, `see` is told (tap, module, args, kwargs, output) of each tapped call while the pass
    runs, and nothing is kept.

    model: not a shared one: it gets hooks
    taps: name -> side
    see: is called as above

    An "input" is told before the module runs, with None for its output. What `see` itself runs is
    not told. Taps, hooks and errors as of `capture`.
    """
    calls: Counter[tuple[str, Side]] = Counter()
    wanted: dict[tuple[str, Side], dict[int, str]] = {}
    for tap, side in taps.items():
        name, _, call = tap.partition("@")
        wanted.setdefault((name, side), {})[int(call or 0)] = tap
    handles, seeing = [], False

    def told(
        key: tuple[str, Side],
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any = None,
    ) -> None:
        nonlocal seeing
        if seeing:
            return
        tap = wanted[key].get(calls[key])
        calls[key] += 1
        if tap is None:
            return
        seeing = True
        try:
            see(tap, module, args, kwargs, out)
        finally:
            seeing = False

    try:
        handles.append(model.register_forward_pre_hook(lambda *_: calls.clear()))
        for key in wanted:
            module = model.get_submodule(key[0])
            hooked = (
                module.register_forward_pre_hook
                if key[1] == "input"
                else module.register_forward_hook
            )
            handles.append(hooked(partial(told, key), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensor_of(value: Any) -> Tensor:
    """The tensor itself, or the first of a tuple."""
    tensor: Tensor = value[0] if isinstance(value, tuple) else value
    return tensor


def in_pieces(model: nn.Module, data: Encoded, batch_size: int, copies: int = 1) -> Iterator[Batch]:
    """All examples once, as `Encoded.in_order`, in batches of so few tokens that `copies` of what
    all modules put out fit into ROOM.

    model: rewritten or not
    data: tokenized examples
    batch_size: examples of a batch at most
    copies: of the outputs of all modules

    A small model gets whole batches. Ranges that are measured on a whole batch (dynamic, per
    tensor) depend on its size.
    """
    inside = {step.block: 0 for step in steps(model)}
    for m in modules(model):
        if m.block >= 0:
            module: Any = model.get_submodule(m.name)
            # its output, and once per block the attention context and the block's output
            inside[m.block] += module.out_features + (
                2 * module.out_features if m.role == "attention_output" else 0
            )
    floats = sum(inside[step.block] for step in steps(model))
    return data.in_order(batch_size, max(1, ROOM // (4 * floats * copies)))

"""SDQ Lab: what quantization does to a multilingual Transformer, and how to repair it.

    import sdq
    report = sdq.run(sdq.presets["ptq-w4a8"], model="mini", task="intent")
    student = sdq.quantize(model, sdq.presets["ptq-int8-dynamic"])

Nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdq.api import compare, inspect, load_task, presets, quantize, report, run
    from sdq.recipe import Recipe, load_recipe
    from sdq.settings import UserError
    from sdq.store import Store

_FROM = {
    "compare": "sdq.api",
    "inspect": "sdq.api",
    "load_task": "sdq.api",
    "presets": "sdq.api",
    "quantize": "sdq.api",
    "report": "sdq.api",
    "run": "sdq.api",
    "Recipe": "sdq.recipe",
    "load_recipe": "sdq.recipe",
    "Store": "sdq.store",
    "UserError": "sdq.settings",
}
__all__ = [
    "Recipe",
    "Store",
    "UserError",
    "compare",
    "inspect",
    "load_recipe",
    "load_task",
    "presets",
    "quantize",
    "report",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"sdq has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return __all__

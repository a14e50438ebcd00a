"""Which runs the tables of results on `mini` are made of."""

from __future__ import annotations

from collections.abc import Iterable

from sdq.recipe import PRESETS, Recipe

WIDTHS = {"INT8": "int8", "W4A8": "w4a8", "W3A8": "w3a8", "W2A8": "w2a8"}


TRAINED = ("qat", "sdq-att-kld", "sdq-att-kld-multi")


# task and width, the most telling first; a run that is stopped early has the tables so far
TABLES_OF = (
    ("intent", "W2A8"),
    ("intent", "W3A8"),
    ("intent", "W4A8"),
    ("intent", "INT8"),
    ("slots", "W2A8"),
    ("slots", "W4A8"),
    ("slots", "INT8"),
)


def plan(width: str) -> list[str]:
    """Presets compared at one width, baseline first."""
    ptq = "ptq-int8-dynamic" if width == "int8" else f"ptq-{width}"
    return [ptq, *(f"{name}-{width}" for name in TRAINED)]


def jobs(task: str, width: str, seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """(preset, task, seed) of everything one table needs."""
    wanted = [("fp32", task, 0), (plan(WIDTHS[width])[0], task, 0)]
    return wanted + [(preset, task, seed) for seed in seeds for preset in plan(WIDTHS[width])[1:]]


def seeded(preset: str, seed: int) -> Recipe:
    """The preset with this seed; what nothing random enters (FP32, dynamic PTQ) keeps seed 0."""
    recipe = PRESETS[preset]
    return recipe if recipe.training is None else recipe.model_copy(update={"seed": seed})

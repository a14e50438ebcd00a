"""Recipe files: the presets, changed as JSON and as bytes. What can be read and is short is run on
a tiny model."""

from __future__ import annotations

from pathlib import Path
from random import Random

from sdq.recipe import PRESETS, load_recipe
from sdq.settings import UserError
from tests.fuzz.harness import Fault, call, inside
from tests.fuzz.mutate import damaged, json_text, mutated


class Recipes:
    """`run RECIPE.json`."""

    name = "recipes"

    def __init__(self, folder: Path, model: Path, task: Path) -> None:
        self.path, self.model, self.task = folder / "recipe.json", model, task
        self.presets = [recipe.model_dump(mode="json") for recipe in PRESETS.values()]

    def attempt(self, rng: Random) -> bytes:
        preset = rng.choice(self.presets)
        if preset["training"]:
            preset = {
                **preset,
                "training": {**preset["training"], "steps": 2, "check_every": 1, "batch_size": 4},
            }
        held = json_text(mutated(preset, rng))
        held = damaged(held, rng) if rng.random() < 0.2 else held
        self.path.write_bytes(held)
        if self._short(held) and rng.random() < 0.25:
            call(
                held,
                "run",
                str(self.path),
                "--model",
                str(self.model),
                "--task",
                str(self.task),
                "--json",
            )
        else:
            call(held, "run", str(self.path), "--model", "/nowhere")
        return held

    def _short(self, held: bytes) -> bool:
        """Whether it is a recipe, and one that takes no minutes."""
        try:
            recipe = load_recipe(str(self.path))
        except UserError:
            return False
        except Exception as error:
            inside(held, lambda: load_recipe(str(self.path)))
            raise Fault("came once, not twice", held) from error
        return recipe.training is None or (
            recipe.training.steps <= 3 and recipe.training.batch_size <= 64
        )

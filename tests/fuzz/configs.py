"""config.json and tokenizer files of a tiny checkpoint, changed as JSON and as bytes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.fuzz.harness import call
from tests.fuzz.mutate import damaged, json_text, mutated


class Configs:
    """`run fp32 --model FOLDER`."""

    name = "configurations"

    def __init__(self, model: Path, task: Path) -> None:
        self.model, self.task = model, task
        self.good = {
            name: (model / name).read_bytes()
            for name in (
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "model.safetensors",
            )
        }

    def attempt(self, rng: Random) -> bytes:
        name = rng.choices(list(self.good), (7, 1, 1, 1))[0]
        held = (
            self.good[name]
            if name.endswith("safetensors")
            else json_text(mutated(json.loads(self.good[name]), rng))
        )
        held = damaged(held, rng) if name.endswith("safetensors") or rng.random() < 0.15 else held
        (self.model / name).write_bytes(held)
        try:
            call(
                name.encode() + b"\n" + held,
                "run",
                "fp32",
                "--model",
                str(self.model),
                "--task",
                str(self.task),
                "--json",
            )
        finally:
            (self.model / name).write_bytes(self.good[name])
        return held

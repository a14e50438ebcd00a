"""Task files: three good ones, changed as JSON and as bytes, over data that stay good."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from tests.cases.build import conll, csv, jsonl, task_folder
from tests.fuzz.harness import call
from tests.fuzz.mutate import damaged, json_text, mutated

SENTENCES = csv([("good day", "good"), ("bad day", "bad")])
TAGGED = conll([[("Anna", "B-PER"), ("visits", "O"), ("Oslo", "B-LOC")]])
PAIRS = jsonl(
    [
        {
            "id": str(i),
            "text": f"t{i}",
            "second": "s",
            "label": i % 3,
            "language": "en",
            "split": split,
        }
        for split in ("train", "dev", "test")
        for i in range(6)
    ]
)


class TaskFiles:
    """`task check TASK.json`."""

    name = "task files"

    def __init__(self, folder: Path) -> None:
        made = [
            task_folder(
                folder / "sentences",
                {"train/en": SENTENCES, "test/de": SENTENCES},
                ".csv",
                labels=["bad", "good"],
                beside=["accuracy"],
            ),
            task_folder(
                folder / "tags",
                {"train/en": TAGGED, "test/de": TAGGED},
                ".conll",
                "token",
                languages={"en": "en", "de": "de"},
                longest=64,
            ),
            task_folder(
                folder / "pairs",
                {"train/en": PAIRS},
                ".jsonl",
                "pair",
                splits={"all": "train/*.jsonl"},
                columns={
                    "text": ["text", "second"],
                    "second": "second",
                    "label": "label",
                    "language": "language",
                    "split": "split",
                    "id": "id",
                    "group": "id",
                },
            ),
        ]
        self.files = [(path, json.loads(path.read_text())) for path in made]

    def attempt(self, rng: Random) -> bytes:
        path, fields = rng.choice(self.files)
        held = json_text(mutated(fields, rng))
        held = damaged(held, rng) if rng.random() < 0.2 else held
        path.write_bytes(held)
        call(held, "task", "check", str(path), *(["--json"] if rng.random() < 0.3 else []))
        return held

"""Children that die: what the engine does on a tiny model, in processes that are killed at a file
operation or at a moment, or whose disk fills up.

A child is forked, so that torch is read in once. Every operation is one function of `OPERATIONS`,
which is simply asked for again after a death.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.inspection.storage import inspect, read
from sdq.jobs import history, trash
from sdq.recipe import PRESETS, Recipe
from sdq.settings import UserError
from sdq.store import Store
from sdq.train.losses import KLD
from sdq.train.settings import Training
from tests.drills.processes import counting, ended, forked

LANGUAGES = ("en", "de")
TRAINED = Recipe(
    name="drill",
    rules=PRESETS["ptq-w4a8"].rules,
    training=Training(steps=6, check_every=2, batch_size=4, distillation=(KLD(),)),
)
TUNING = Training(steps=4, check_every=2, batch_size=4, learning_rate=1e-3)
ANALYSES = ("sensitivity", "estimate")
WORDS = ["alarm", "wecker", "heute", "light", "licht", "morgen", "sieben", "nine"]


@dataclass(frozen=True)
class World:
    """A base encoder, a model with a head and a task, which nobody changes; `start`: a data folder
    with one finished run."""

    base: str
    model: str
    task: str
    start: Path

    def place(self, folder: Path) -> Place:
        """A copy of the data folder, to be spoilt."""
        shutil.copytree(self.start, folder / "data")
        return Place(self, folder)


@dataclass(frozen=True)
class Place:
    """One data folder, and what belongs to it."""

    world: World
    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.folder / "data" / "runs", None)

    def run(self) -> str:
        """The finished run that was there from the start."""
        return next(p.name for p in sorted((self.world.start / "runs").iterdir()))


def tiny(folder: Path) -> World:
    """A world without a data folder: a random XLM-R of two layers of width 16 with a tokenizer for
    its words, and 54 sentences per language."""
    import torch
    from transformers import (
        XLMRobertaConfig,
        XLMRobertaForMaskedLM,
        XLMRobertaForSequenceClassification,
    )

    from tests.helpers.tokenizers import word_tokenizer

    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    labels = dict(enumerate(("no", "yes")))
    shape: dict[str, Any] = dict(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    for name, kind in (
        ("base", XLMRobertaForMaskedLM),
        ("model", XLMRobertaForSequenceClassification),
    ):
        kind(XLMRobertaConfig(**shape)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    task = folder / "task"
    task.mkdir()
    chance = random.Random(0)
    for split, n in (("train", 24), ("dev", 10), ("test", 20)):
        for code in LANGUAGES:
            texts = [" ".join(chance.choices(WORDS, k=5)) for _ in range(n)]
            table = pd.DataFrame({"text": texts, "label": chance.choices(("no", "yes"), k=n)})
            table.to_csv(task / f"{split}-{code}.csv", index=False)
    fields = {
        "name": "drill",
        "kind": "sentence",
        "training_language": "en",
        "columns": {"text": "text", "label": "label"},
    }
    (task / "task.json").write_text(
        json.dumps(
            fields | {"splits": {s: f"{s}-{{language}}.csv" for s in ("train", "dev", "test")}}
        )
    )
    return World(
        str(folder / "base"), str(folder / "model"), str(task / "task.json"), folder / "start"
    )


def made(folder: Path) -> World:
    """The tiny world, with one finished run in its data folder."""
    world = tiny(folder)
    _run(PRESETS["ptq-w4a8"], Place(world, folder))
    (folder / "data").rename(world.start)
    return world


def _run(recipe: Recipe, place: Place) -> str:
    from sdq.pipeline.run import run

    return run(recipe, place.world.model, place.world.task, place.store).run


def _finetune(place: Place) -> None:
    from sdq.pipeline.finetune import finetune

    finetune(place.world.base, place.world.task, place.folder / "tuned", TUNING)


def _remedy(place: Place) -> None:
    from sdq.inspection.remedies import recipe_within
    from sdq.io import files

    costs = inspect(place.run(), place.store, only=("costs",))["costs"]
    recipe, _ = recipe_within(place.store.report(place.run()), costs, None, 1.0)
    try:
        files.write_text(place.folder / "recipe.json", recipe.model_dump_json(indent=1))
    except OSError as error:  # as the command line says it
        raise UserError(str(error)) from error


def _export(place: Place) -> None:
    from sdq.reporting.export import write

    inspect(place.run(), place.store, only=("estimate",))
    write(place.folder / "findings", place.store.report(place.run()), place.store)


def _trash(place: Place) -> None:
    """Delete, bring back, delete, empty: each step unless it was done before a death."""
    store, run, said = place.store, place.run(), place.folder / "said"
    steps: list[Callable[[], Any]] = [
        lambda: trash.delete(store, [run]),
        lambda: trash.restore(store, [run]),
        lambda: history.pin(store, [run]),
        lambda: trash.delete(store, [run]),
        lambda: trash.empty_trash(store),
    ]
    first = len(said.read_text()) if said.exists() else 0
    for step in steps[first:]:
        try:
            step()
        except UserError as error:  # done already by the one that died, who had no time to say so
            if "not there any more" not in str(error) and "made again since" not in str(error):
                raise
        with said.open("a") as file:
            file.write(".")


OPERATIONS: dict[str, Callable[[Place], Any]] = {
    "run": lambda place: _run(PRESETS["ptq-int8-dynamic"], place),
    "train": lambda place: _run(TRAINED, place),
    "finetune": _finetune,
    "inspect": lambda place: inspect(place.run(), place.store, only=ANALYSES),
    "trash": _trash,
    "remedy": _remedy,
    "export": _export,
}


def content(place: Place) -> dict[str, Any]:
    """What is there in the end, but for how long it took; every file is read through the engine's
    own doors."""
    from safetensors.torch import load_file

    store, found = place.store, {}
    for path in sorted(store.folder.iterdir()) if store.folder.is_dir() else []:
        run = path.name
        assert store.done(run, weights=True), store.damage(run, weights=True)
        report = store.report(run).model_dump(mode="json") | {"seconds": None}
        tables = {
            p.stem: (
                store.sentences(run) if p.stem == "sentences" else store.table(run, p.stem)
            ).to_json()
            for p in sorted(path.glob("*.parquet"))
        }
        weights = store.weights(store.report(run))
        tensors = (
            None
            if weights is None
            else {k: v.tolist() for k, v in load_file(weights).items() if v.numel() < 5000}
        )
        looked = {name: table.to_json() for name, table in read(run, store).items()}
        found[run] = {"report": report, "tables": tables, "weights": tensors, "inspection": looked}
        assert not store.checkpoint(run).exists()
    tuned = place.folder / "tuned"
    if tuned.is_dir():
        found["tuned"] = {
            "card": json.loads((tuned / "finetuning.json").read_text()),
            "files": sorted(p.name for p in tuned.iterdir()),
        }
    for path in sorted([*place.folder.glob("recipe.json"), *place.folder.glob("findings/*")]):
        found[path.name] = (
            path.read_text() if path.suffix in (".json", ".csv") else path.stat().st_size > 0
        )
    found["trash"] = sorted(trash.in_trash(store))
    found["pins"] = history.pinned(store)
    left = [
        p
        for p in place.folder.rglob("*")
        if p.suffix == ".part" or p.name in (".lock", "moves.json", ".going")
    ]
    assert not left, left
    return found


def undisturbed(name: str, place: Place) -> tuple[dict[str, Any], int, float]:
    """(content, file operations, seconds) of an operation that nothing happened to."""

    def work() -> None:
        count = counting(place.folder)
        OPERATIONS[name](place)
        (place.folder / "count").write_text(str(count[0]))

    started = time.monotonic()
    with forked(work) as pid:
        assert ended(pid) == 0, name
    return content(place), int((place.folder / "count").read_text()), time.monotonic() - started


def dies(name: str, place: Place, at: int | None = None, after: float | None = None) -> bool:
    """Let a child do it, killed before its file operation number `at`, or `after` so many seconds;
    returns whether it was killed before its end."""

    def work() -> None:
        if at is not None:
            counting(place.folder, at)
        OPERATIONS[name](place)

    with forked(work) as pid:
        if after is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = ended(pid)
    assert code in (0, -9), f"{name} at {at} after {after}: exit code {code}"
    return code == -9


def again(name: str, place: Place) -> int:
    """Ask for it once more; its exit code."""
    with forked(lambda: OPERATIONS[name](place)) as pid:
        return ended(pid)

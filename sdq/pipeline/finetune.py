"""Fine-tuning: from an encoder to a model with a head for a task, by the one training loop, on the
labelled language alone.

What is finished is a folder that `run --model` takes: config with label names, safetensors,
tokenizer, and `finetuning.json`, which says what it was made of. What is not finished is in
`unfinished/` inside it, and goes on from there when it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from sdq.data.batches import encode
from sdq.data.registry import load_task, task_fingerprint
from sdq.data.task import Task
from sdq.evaluate.predict import outcomes, predict, scores
from sdq.io import files, sealed
from sdq.io.boundary import begun, boundary
from sdq.io.events import Progress
from sdq.models.checkpoint import CARD, base_of, canonical_name, checkpoint_fingerprint
from sdq.models.heads import loading_remarks
from sdq.models.loading import start
from sdq.settings import UserError, path_of, unfitting
from sdq.store import CHECKPOINT, Store
from sdq.train.looks import looks, sample
from sdq.train.loop import train_
from sdq.train.resume import History
from sdq.train.schedule import cut_short
from sdq.train.settings import Training

WORK = "unfinished"  # the folder of what is not finished, inside the other
MINI = {  # how the shipped models were made
    "intent": Training(steps=600, learning_rate=3e-4, frozen_blocks=4, dropout=True),
    "slots": Training(steps=800, learning_rate=5e-4, frozen_blocks=2, dropout=True),
}
WARMUP = 100  # steps
# as long as the dev score rises: 8 looks without a better one are at least 400 steps
UNTIL_PLATEAU = Training(steps=6000, warmup=WARMUP / 6000, dropout=True, patience=8, cooldown=0.25)
# of midi only the top blocks move: the others stay those of its published body, and do not ship
MIDI = {
    task: UNTIL_PLATEAU.model_copy(update={"learning_rate": rate, "frozen_blocks": 4})
    for task, rate in {"intent": 2e-4, "slots": 3e-4}.items()
}
SHIPPED = {"mini": MINI, "midi": MIDI}
# the embedded encoder was pretrained without dropout
DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def usual(
    model: str,
    task: str,
    steps: int | None = None,
    learning_rate: float | None = None,
    freeze: int | None = None,
) -> Training:
    """Settings that suit a model and task, but for what is given: those of the shipped models for
    `mini` and `midi` on their tasks; else a learning rate for narrow models (3e-4), less narrow
    ones (1e-4) or those of the size of XLM-R base (2e-5), until the dev score stops rising."""
    base = SHIPPED.get(model, {}).get(task)
    rate = {"mini": 3e-4, "midi": 1e-4}.get(model, 2e-5)
    preset = base or UNTIL_PLATEAU.model_copy(update={"learning_rate": rate})
    given = {"steps": steps, "learning_rate": learning_rate, "frozen_blocks": freeze}
    made = preset.model_dump() | {name: value for name, value in given.items() if value is not None}
    # short trainings warm up and look at dev as a long one does, in proportion
    if preset.cooldown is not None:
        made["warmup"] = min(0.1, WARMUP / made["steps"])
        made["check_every"] = min(preset.check_every, max(10, made["steps"] // 20))
    return Training.model_validate(made)


@boundary()
def finetune(
    model: str,
    task_name: str,
    out: Path,
    training: Training,
    seed: int = 0,
    progress: Progress = lambda event: None,
) -> dict[str, Any]:
    """Fine-tune a model on a task into a folder; returns what its CARD says.

    model: `mini` or `midi` (the embedded encoders), a folder, or a Hub name.
    task_name: address of a task, see `sdq.data.registry`.
    out: a new folder; if it has this very fine-tuning, finished or not, it is taken up there.

    UserError if `out` has anything else, or the disk refuses.
    """
    out = path_of(out, "the folder of the model")
    task = load_task(task_name)
    folder = base_of(model, fetch=True)
    card: dict[str, Any] = {
        "base": canonical_name(model),
        "weights": checkpoint_fingerprint(folder),
        "task": task.name,
        "data": task.fingerprint,
        "language": task.labelled,
        "labels": list(task.labels),
        "training": training.model_dump(mode="json"),
        "seed": seed,
    }
    work = out / WORK
    try:
        if (finished := _taken_up(card, out, progress)) is not None:
            return finished
        wait = "Waiting: another process does this fine-tuning"
        with files.alone(work, lambda: progress({"event": "stage", "name": "wait", "text": wait})):
            if (finished := _taken_up(card, out, progress)) is not None:  # by now
                return finished
            begun(work)
            _clean(out)
            files.write_text(work / CARD, json.dumps(card, indent=1))
            progress(
                {"event": "stage", "name": "load", "text": "Reading the model and the sentences"}
            )
            changes = DROPOUT if model == "mini" else {}
            trained, tokenizer, history = train(
                folder, task, training, seed, progress, work / CHECKPOINT, **changes
            )
            card |= told(history, training, (*task.remarks, *loading_remarks(trained)))
            return _save(trained, tokenizer, card, out, work)
    except OSError as error:
        raise unfitting(out, error) from error


def told(history: History, training: Training, remarks: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a card says of a finished training: its dev score, the steps, and what is to be
    remarked on."""
    dev = next((row["dev"] for row in history.checks if row["step"] == history.kept), None)
    said: dict[str, Any] = {
        "dev": dev,
        "kept_step": history.kept,
        "dev_sentences": history.dev_sentences,
    }
    if history.checks:
        said["last_step"] = int(max(row["step"] for row in history.checks))
    if history.unfinished:
        remarks += (
            f"{cut_short(training)}, so the model may not be at its best, and what is compared "
            "with it may look better than it is; allow more with --steps",
        )
    if remarks:
        said["remarks"] = "; ".join(one.removesuffix(".") for one in remarks)
    return said


def _clean(out: Path) -> None:
    """Remove what a killed process left of its last word."""
    for part in out.glob(f"{CARD}.*.part"):
        part.unlink(missing_ok=True)


def _taken_up(card: dict[str, Any], out: Path, progress: Progress) -> dict[str, Any] | None:
    """The card of `out` if this very fine-tuning is finished there; None if it is to be begun, or
    to go on. What cannot be read is moved to `out/damaged`.

    UserError if `out` has anything else. OSError if the disk refuses.
    """
    work, spoilt = out / WORK, out / "damaged"
    for path in (out / CARD, work / CARD):
        if not path.is_file():
            continue
        try:
            there = _read(path)
        except sealed.Damaged as error:
            progress({"event": "damaged", "message": str(error)})
            # where the work is still there, the card is written again from it
            if path.parent == work or not work.is_dir():
                for other in sorted(path.parent.iterdir()):
                    if other.name not in (files.LOCK, spoilt.name):
                        sealed.aside(other, spoilt / other.name)
            elif path.parent == out:
                sealed.aside(path, spoilt / path.name)
            continue
        if card != {name: there.get(name) for name in card}:
            if path.parent == work and not (work / CHECKPOINT).exists():
                continue  # refused before its first step, or ended there: nothing would be lost
            raise UserError(
                f"{out} must be free or have this very fine-tuning, it has another "
                f"({there.get('base')} on {there.get('task')}); choose another --out"
            )
        if path.parent == out:
            if work.is_dir():  # of a process killed after its last word
                shutil.rmtree(work)
            _clean(out)
            return there
    if out.exists() and not work.exists() and any(path != spoilt for path in out.iterdir()):
        raise UserError(
            f"{out} must be an empty folder or a new one, it has files in it; choose another --out"
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    """What a card says. Damaged if it cannot be read, or if the weights that it tells of are not
    beside it as they were written."""
    what, way = (
        f"the fine-tuning in {path.parent}",
        "it is set aside, and the fine-tuning begins anew",
    )
    card = sealed.read_json(path, what, way)
    sums = card.get("sha256")
    for name, digest in sums.items() if isinstance(sums, dict) else ():
        place = path.parent / Path(name).name
        if not place.is_file() or sealed.sum_of(place) != digest:
            raise sealed.damaged(
                place,
                what,
                "it is not what the card tells of" if place.is_file() else "it is not there",
                way,
            )
    return card


def _whole(folder: Path) -> bool:
    try:
        return (folder / CARD).is_file() and bool(_read(folder / CARD))
    except (UserError, OSError):
        return False


def teacher(
    model: str,
    task_name: str,
    store: Store,
    training: Training | None = None,
    progress: Progress | None = None,
) -> str | None:
    """The folder of `model` fine-tuned on a task, kept under `models/` in the data folder and made
    once; without `progress` None if it is not there."""
    training = training or usual(model, task_name)
    key = json.dumps(
        [
            checkpoint_fingerprint(base_of(model, fetch=progress is not None)),
            task_fingerprint(task_name, fetch=progress is not None),
            training.model_dump(mode="json"),
        ]
    )
    folder = store.folder.parent / "models" / hashlib.sha256(key.encode()).hexdigest()[:12]
    if not _whole(folder):
        if progress is None:
            return None
        finetune(model, task_name, folder, training, progress=progress)
    return str(folder)


def train(
    folder: Path,
    task: Task,
    training: Training,
    seed: int,
    progress: Progress = lambda event: None,
    checkpoint: Path | None = None,
    **changes: Any,
) -> tuple[nn.Module, Any, History]:
    """(model, tokenizer, history): the encoder of a folder under a new head, trained on the
    labelled language; the dev split of that language (of a large one a sample, see
    `sdq.train.looks`; the history says how many sentences) picks the weights. `changes` replace
    entries of its configuration."""
    model, tokenizer = start(folder, task.kind, task.labels, seed, **changes)
    whole = task.examples("dev", (task.labelled,))
    training, number = looks(training, len(whole))
    chosen = sample(whole, number, seed)
    data = encode(task.examples("train", (task.labelled,)), task, tokenizer)
    dev = encode(chosen, task, tokenizer)
    part = (
        ""
        if number == len(whole)
        else f", looking at {number:,} of {len(whole):,} dev sentences every "
        f"{training.check_every} steps"
    )
    most = "" if training.cooldown is None else f", at most {training.steps:,} steps"
    progress(
        {
            "event": "stage",
            "name": "train",
            "text": f"Fine-tuning on {len(data):,} sentences ({task.labelled}){most}{part}",
        }
    )

    def check(what: nn.Module) -> float:
        return scores(outcomes(chosen, *predict(what, dev), task), task).by_language[task.labelled]

    history = train_(
        model, data, training, check, seed=seed, progress=progress, checkpoint=checkpoint
    )
    history.dev_sentences = number
    return model, tokenizer, history


def _save(
    model: Any, tokenizer: Any, card: dict[str, Any], out: Path, work: Path
) -> dict[str, Any]:
    """Put everything into `out`, the card last: a folder that has it is whole. Returns the card,
    with the SHA-256 of the weights."""
    made = work / "made"
    if made.exists():  # of a process killed in here
        shutil.rmtree(made)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    card = card | {
        "sha256": {path.name: sealed.sum_of(path) for path in sorted(made.glob("*.safetensors"))}
    }
    for path in sorted(made.iterdir()):
        files.settle(path, out / path.name)
    files.write_text(out / CARD, json.dumps(card, indent=1))
    shutil.rmtree(work)
    return card

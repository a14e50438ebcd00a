"""A checkpoint on disk: where it is, what it must hold, and its fingerprint. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shlex
from pathlib import Path
from typing import Any

from sdq import hub, sealed
from sdq.settings import ASSETS, ROOT, UserError

CARD = "finetuning.json"  # what a fine-tuned model was made of (see sdq.finetune)
TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "spm.model", "vocab.txt", "vocab.json")


def folder_of(name: str, task: str, fetch: bool = False) -> Path:
    """The folder of a model: an embedded name (`mini`, which has one model per task), a local path, or a Hub name (see sdq.hub).

    A Hub model is looked for in the local cache; with `fetch` it is fetched if it is not there. Raises UserError if there is no such
    model or it lacks what one needs.
    """
    if name != "mini":
        return base_of(name, fetch)
    folder = ASSETS / "mini" / task
    if task not in ("intent", "slots"):
        raise UserError(f"the embedded model must have a head for the task, for {task} it has none; {remedy(name, task)}")
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"the embedded model for task {task} must be in {folder}, it is not there; clone the project again or run `python -m sdq mini build`")
    as_shipped(folder)
    return folder


def as_shipped(folder: Path) -> None:
    """UserError if a file of the embedded model or data, in a folder of assets/mini, is not the one that came with the project."""
    seal = folder.parent / sealed.SEAL
    way = "clone the project again"
    try:
        sums = sealed.read(seal)
    except FileNotFoundError:  # in the making
        return
    except (OSError, ValueError) as error:
        raise sealed.damaged(seal, "the embedded model", "it does not say what was written", way) from error
    for name in sums or ():
        if name.startswith(f"{folder.name}/") and (why := sealed.fault(folder.parent / name, sums, name)) is not None:
            raise sealed.damaged(Path(name), "the embedded model", why, way)


def seal_embedded(folder: Path) -> None:
    """Write the SHA-256 of every file of assets/mini that `as_shipped` checks. OSError if the disk refuses."""
    parts = [path for part in ("data", "encoder", "intent", "slots") for path in (folder / part).glob("*") if path.is_file()]
    sealed.write(folder / sealed.SEAL, sorted(str(path.relative_to(folder)) for path in parts))


def ready(name: str, task: str, head: bool = True) -> None:
    """UserError if a model cannot be run on a task: as folder_of, or if it has no `head` where one is needed. Which labels a head has is
    seen when it is loaded."""
    kinds = config_of(folder_of(name, task)).get("architectures")
    if head and isinstance(kinds, list) and kinds and not any(str(kind).endswith("Classification") for kind in kinds):
        raise UserError(f"the model {name} must have a head for a task, it is a base model ({kinds[0]}); {remedy(name, task)}")


def address(name: str) -> str:
    """The name under which a model is remembered: of a folder its path, the same from every working directory."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if name != "mini" and folder.is_dir() else name


def tuned() -> list[tuple[Path, dict[str, Any]]]:
    """(folder, card) of the models fine-tuned in the data folder, the newest first."""
    home = Path(os.environ.get("SDQ_DATA", ROOT / "data")) / "models"
    cards = sorted(home.glob(f"*/{CARD}"), key=lambda path: -path.stat().st_mtime)
    found = []
    for path in cards:
        with contextlib.suppress(UserError):  # a damaged one is no model to choose; the others are
            found.append((path.parent, _json(path)))
    return found


def base_of(name: str, fetch: bool = False) -> Path:
    """The folder of a model to start a fine-tuning from: `mini` is the embedded encoder, without a head. Otherwise as folder_of."""
    if name == "mini":
        as_shipped(ASSETS / "mini" / "encoder")
        return ASSETS / "mini" / "encoder"
    folder = Path(name).expanduser()
    if not folder.is_dir() and hub.split(name) is not None:
        folder = (hub.fetch(name) if fetch else hub.cached(name)) or folder
        if not folder.is_dir():
            raise UserError(f"{hub.absent(name)}; fetch it with `python -m sdq models fetch {name}`, or {hub.elsewhere()}")
    if not folder.is_dir():
        raise UserError(f"model must be 'mini', a Hub name (owner/model) or a folder with config.json and safetensors, got {name!r}, which does not exist")
    _check(folder)
    return folder


def remedy(model: str, task: str) -> str:
    """What to do about a model without a head for the task."""
    return f"fine-tune it first: `python -m sdq finetune --model {shlex.quote(model)} --task {shlex.quote(task)} --out DIR`"


def _check(folder: Path) -> None:
    """UserError if a folder lacks what a model needs, or its parts lead out of it."""
    if not (folder / "config.json").is_file():
        raise UserError(f"model folder must hold config.json, {folder} does not; save the model with save_pretrained")
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"model folder must hold safetensors weights, {folder} has none; pickled weights (.bin, .pt) are never loaded: save with save_pretrained"
        )
    for index in folder.glob("*.safetensors.index.json"):
        parts = set(_json(index).get("weight_map", {}).values())
        if stray := sorted(part for part in map(str, parts) if Path(part).name != part):
            raise UserError(f"parts of the weights must be files beside {index.name}, it names {stray[0]!r}; save the model again with save_pretrained")
        if missing := sorted(part for part in map(str, parts) if not (folder / part).is_file()):
            raise UserError(f"all parts of the weights must be in {folder}, {missing[0]} is not; copy the folder again")
    if (folder / CARD).is_file() and isinstance(sums := _json(folder / CARD).get("sha256"), dict):
        for name, digest in sums.items():
            if Path(name).name != name or not (folder / name).is_file() or sealed.sum_of(folder / name) != digest:
                raise UserError(
                    f"the weights in {folder} must be those that {CARD} tells of, {name!r} was changed or is damaged; fine-tune again into another folder"
                )
    held = [file for file in TOKENIZERS if (folder / file).is_file()]
    if not held:
        raise UserError(f"model folder must hold its tokenizer (tokenizer.json), {folder} does not; save the tokenizer into it with save_pretrained")
    if held[0].endswith(".model") and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"the tokenizer in {folder} must be readable, {held[0]} needs SentencePiece; run `pip install sentencepiece`, or put tokenizer.json beside it"
        )


def config_of(folder: Path) -> dict[str, Any]:
    """What config.json says. UserError if it is no JSON object."""
    return _json(folder / "config.json")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be JSON text, it cannot be read; save the model again with save_pretrained") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold one JSON object, it does not; save the model again with save_pretrained")
    return found


def fingerprint(folder: Path) -> str:
    """SHA-256 over weights, config and tokenizer of a folder, wherever it lies; needs no torch. First 16 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".safetensors", ".json", ".model", ".txt") and path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]

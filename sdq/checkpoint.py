"""A checkpoint on disk: its folder and its fingerprint. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sdq.settings import ASSETS, UserError


def folder_of(name: str, task: str) -> Path:
    """The folder of a model: an embedded name (`mini`, which has one model per task) or a local path.

    Raises UserError if there is no such folder or it lacks what a model needs.
    """
    if name == "mini":
        folder = ASSETS / "mini" / task
        if not (folder / "model.safetensors").is_file():
            raise UserError(
                f"the embedded model for task {task} must be in {folder}, it is not there; clone the project again or run `python -m sdq mini build`"
            )
        return folder
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"model must be 'mini' or a folder with config.json and model.safetensors, got {name!r}, which does not exist")
    if not (folder / "config.json").is_file():
        raise UserError(f"model folder must hold config.json, {folder} does not; save the model with save_pretrained")
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"model folder must hold safetensors weights, {folder} has none; pickled weights (.bin, .pt) are never loaded: save with save_pretrained"
        )
    if not any((folder / f).is_file() for f in ("tokenizer.json", "sentencepiece.bpe.model", "vocab.txt", "spiece.model")):
        raise UserError(f"model folder must hold its tokenizer (tokenizer.json), {folder} does not; save the tokenizer into it with save_pretrained")
    return folder


def fingerprint(folder: Path) -> str:
    """SHA-256 over weights, config and tokenizer of a folder; needs no torch. First 16 hex digits."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".safetensors", ".json", ".model", ".txt") and path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]

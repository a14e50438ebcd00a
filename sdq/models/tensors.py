"""What the weights of a model folder are before a byte of them is taken into memory: the headers of
its safetensors. Needs no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sdq.io.limits import limits
from sdq.io.strict_json import NotStrict, strict
from sdq.settings import UserError, listed, one_line

_LONGEST = 100_000_000  # bytes of a header, as safetensors itself allows
_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
FLOATS = ("F64", "F32", "F16", "BF16")
# what safetensors calls I8 is int8 to everybody else
_CALLED = {"I": "int", "U": "uint", "F": "float"}
# counted anew by every model, or only while it is trained
BUFFERS = re.compile(
    r"(?:^|\.)(?:position_ids|token_type_ids|inv_freq|num_batches_tracked|n_averaged)$"
)


Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """One tensor of a file: its kind of number as safetensors calls it (F32, I8), and its shape."""

    dtype: str
    shape: Shape


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Name -> tensor of all files that hold the folder's weights. UserError if a header is none, or
    a tensor is in two files."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, tensor in _header(path).items():
            if name in tensors:
                raise UserError(
                    f"every tensor must be in one file, {shown([name])} is in two of {folder}; "
                    "save the model again with save_pretrained"
                )
            tensors[name] = tensor
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that are loaded: model.safetensors, or else the parts that its index
    names. UserError if there are none."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise UserError(
            "weights must be in model.safetensors, or in parts beside "
            f"model.safetensors.index.json, {folder} has neither; save the model again with "
            "save_pretrained"
        )
    return [folder / name for name in sorted(set(_parts(index).values()))]


def _parts(index: Path) -> dict[str, str]:
    said = read_json(index).get("weight_map")
    if (
        not isinstance(said, dict)
        or not said
        or not all(isinstance(part, str) for part in said.values())
    ):
        raise UserError(
            f"{index} must have a weight_map from tensors to files, it does not; save the model "
            "again with save_pretrained"
        )
    if stray := sorted(part for part in said.values() if Path(part).name != part or "\0" in part):
        raise UserError(
            f"parts of the weights must be files beside {index.name}, it names "
            f"{one_line(stray[0], 80)!r}; save the model again with save_pretrained"
        )
    if missing := sorted(part for part in said.values() if not (index.parent / part).is_file()):
        raise UserError(
            f"all parts of the weights must be in {index.parent}, {missing[0]} is not; copy the "
            "folder again"
        )
    return said


def _header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST, size - 8):
            raise _broken(path, f"its header would have {length} bytes, the file has {size}")
        try:
            said = strict(file.read(length).decode("utf-8"))
        except NotStrict as error:
            raise _broken(path, f"its header {error}") from error
        except ValueError as error:
            raise _broken(path, "its header is no JSON text") from error
    if not isinstance(said, dict):
        raise _broken(path, "its header is no JSON object")
    more = said.pop("__metadata__", None) or {}
    if not isinstance(more, dict) or not all(isinstance(value, str) for value in more.values()):
        raise _broken(path, "__metadata__ in its header is no object of texts")
    return {name: _entry(path, name, entry, size - 8 - length) for name, entry in said.items()}


def _entry(path: Path, name: str, entry: Any, size: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        well = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and begin <= end <= size
        well = well and (dtype not in _BYTES or end - begin == math.prod(shape) * _BYTES[dtype])
    except (TypeError, KeyError, ValueError):
        well = False
    if not well:
        raise _broken(path, f"the tensor {shown([name])} does not fit the file")
    return Tensor(str(dtype), shape)


def _broken(path: Path, reason: str) -> UserError:
    return UserError(
        f"weights must be a whole safetensors file, {path} is none and it was refused: {reason}; "
        "copy the file again"
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model. UserError for anything else: no regular file, too long,
    no strict JSON."""
    most = 1_000_000 * limits().model_text_mb
    try:
        if path.exists() and not path.is_file():
            raise UserError(
                f"{path} must be a regular file, it is none; save the model again with "
                "save_pretrained"
            )
        if path.stat().st_size > most:
            raise UserError(
                f"{path} must have at most {most // 1_000_000} MB, it has "
                f"{path.stat().st_size // 1_000_000}; save the model again with save_pretrained"
            )
        content = strict(path.read_text("utf-8"))
    except NotStrict as error:
        raise UserError(f"{path} must be JSON text, it {error}; correct it") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be JSON text, it cannot be read; save the model again with "
            "save_pretrained"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} must hold one JSON object, it does not; save the model again with "
            "save_pretrained"
        )
    return content


def called(dtype: str) -> str:
    """A kind of number as torch calls it: int8 for I8, bfloat16 for BF16, float8_e4m3 for
    F8_E4M3."""
    if dtype[:1] in _CALLED and dtype[1:2].isdigit():
        return f"{_CALLED[dtype[0]]}{dtype[1:].lower()}"
    return "bfloat16" if dtype == "BF16" else dtype.lower()


def stored_as(tensors: Mapping[str, Tensor]) -> str:
    """What is to be remarked on weights that are stored in another type than is computed with."""
    kinds = {
        t.dtype for name, t in tensors.items() if t.dtype in FLOATS and not BUFFERS.search(name)
    }
    if kinds <= {"F32"}:
        return ""
    rounded = ", to which they are rounded" if "F64" in kinds else ""
    return (
        f"the weights are stored in {' and '.join(sorted(map(called, kinds)))}: computations are "
        f"done in float32{rounded}"
    )


def shown(names: Sequence[str]) -> str:
    """The first of some names of tensors, and how many more there are."""
    return listed(names, 3, 400, each=120)

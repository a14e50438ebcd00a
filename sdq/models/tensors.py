"""What the weights of a model folder are before a byte of them is taken into memory: the headers of
its safetensors, and their names and shapes against those of the model. Needs no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sdq.io.limits import limits
from sdq.io.strict_json import NotStrict, strict
from sdq.models.families import FAMILIES
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
_CALLED = {
    "I": "int",
    "U": "uint",
    "F": "float",
}  # what safetensors calls I8 is int8 to everybody else
# counted anew by every model, or only while it is trained
BUFFERS = re.compile(
    r"(?:^|\.)(?:position_ids|token_type_ids|inv_freq|num_batches_tracked|n_averaged)$"
)
_END = r"\.(?:weight|bias)"
_NORM = r"(?:LayerNorm|layer_norm|norm)\.(?:weight|bias|gamma|beta)"
_PREDICTION = rf"(?:bias|(?:transform\.)?(?:dense{_END}|{_NORM})|decoder{_END})"
# outside the encoder: what pretraining and other tasks read its last layer with, name by name
_OTHER_HEADS = re.compile(
    "|".join(
        (
            r"(?:\w+\.)?pooler\.(?:dense\.)?(?:weight|bias)",
            rf"(?:cls\.)?predictions\.{_PREDICTION}",
            rf"cls\.seq_relationship{_END}",
            rf"sop_classifier\.classifier{_END}",
            rf"lm_head(?:\.{_PREDICTION}|{_END})",
            rf"lm_predictions\.lm_head\.{_PREDICTION}",
            rf"mask_predictions\.(?:dense{_END}|{_NORM}|classifier{_END})",
            rf"generator_predictions\.(?:dense{_END}|{_NORM})",
            rf"discriminator_predictions\.(?:dense|dense_prediction){_END}",
            rf"(?:generator_lm_head|lm_loss|qa_outputs|pred_layer\.proj|decoder){_END}",
            rf"(?:vocab_transform|vocab_layer_norm|vocab_projector){_END}",
            rf"head\.(?:dense|norm){_END}",
            r"(?:deberta\.)?embeddings\.position_embeddings\.weight",  # where it has none
        )
    )
)
_ANSWERS = (
    "classifier",
    "score",
    "logits_proj",
    "sequence_summary",
    "classification_head",
)  # modules that give the logits of a task
_HEADS = re.compile(
    rf"^(?:{'|'.join(_ANSWERS)}|pre_classifier|head|decoder)\."
)  # of tasks: in the way of no new head
_WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
)
_ADAPTERS = re.compile(
    r"adapter|lora_|(?:^|\.)(?:ia3|prefix_tuning|prompt_encoder|prompt_embeddings|modules_to_save)"
    r"(?:\.|_|$)"
)
_MERGE = (
    "these are adapters: merge them into the weights (of LoRA: merge_and_unload of PEFT), or take "
    "the model without them"
)
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """One tensor of a file: its kind of number as safetensors calls it (F32, I8), and its shape."""

    dtype: str
    shape: Shape


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Name -> tensor of all files that hold the folder's weights. UserError if a header is none, or
    a tensor is in two files."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, tensor in _header(path).items():
            if name in found:
                raise UserError(
                    f"every tensor must be in one file, {shown([name])} is in two of {folder}; "
                    "save the model again with save_pretrained"
                )
            found[name] = tensor
    return found


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
    said.pop("__metadata__", None)
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


def _broken(path: Path, why: str) -> UserError:
    return UserError(
        f"weights must be a whole safetensors file, {path} is none and it was refused: {why}; copy "
        "the file again"
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
        found = strict(path.read_text("utf-8"))
    except NotStrict as error:
        raise UserError(f"{path} must be JSON text, it {error}; correct it") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} must be JSON text, it cannot be read; save the model again with "
            "save_pretrained"
        ) from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path} must hold one JSON object, it does not; save the model again with "
            "save_pretrained"
        )
    return found


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


# --- names of tensors against the model


def has_head(names: Iterable[str]) -> bool:
    """Whether tensors of these names are, or hold, a head for a task: not one of pretraining."""
    return any(
        next((part for part in name.split(".") if part not in _WRAPPERS), "") in _ANSWERS
        for name in names
    )


def foreign(names: Iterable[str], prefix: str) -> str | None:
    """The prefix of another architecture that the names of a file begin with; None if some have the
    `prefix` of the model, or none has one of an architecture."""
    first = {name.partition(".")[0] for name in names}
    return None if prefix in first else next(iter(sorted(first & FAMILIES.keys())), None)


def wrapped(names: Collection[str], wanted: Collection[str]) -> str | None:
    """The prefix that a wrapper left on the names of a file, if they are the `wanted` names but for
    it: `module.`, `_orig_mod.`, `model.`"""
    for name in names:
        parts = name.split(".")
        if inside := [part for part in parts if part in _WRAPPERS]:
            last = len(parts) - parts[::-1].index(inside[-1])
            return ".".join(
                [
                    *(
                        parts[:last]
                        if all(part in _WRAPPERS for part in parts[:last])
                        else inside[:1]
                    ),
                    "",
                ]
            )
    ends = {
        name[: -len(want)]
        for want in sorted(wanted)[:1]
        for name in names
        if name.endswith(f".{want}")
    }
    return next(
        (
            prefix
            for prefix in sorted(ends, key=len)
            if all(f"{prefix}{want}" in names for want in wanted)
        ),
        None,
    )


def unwrap(prefix: str, folder: Path) -> UserError:
    """What to do about it."""
    return UserError(
        f"the tensors in {folder} must have the names of a plain model, they have the prefix "
        f"{one_line(prefix, 60)!r} of a wrapper; take {one_line(prefix, 60)!r} out of every name "
        "in its safetensors, or save the inner model (model.module, model._orig_mod) with "
        "save_pretrained"
    )


def adapted(names: Iterable[str], folder: Path) -> UserError | None:
    """What to say if tensors are those of an adapter, which is no model and may have taken the
    names of its weights; None if none is."""
    lost = sorted(name for name in names if _ADAPTERS.search(name))
    return _homeless(lost, folder, _MERGE) if lost else None


def lacking(lost: Sequence[str], tensors: Collection[str], folder: Path, prefix: str) -> UserError:
    """What to say if the files do not have these tensors of the encoder, whose names begin with
    `prefix`."""
    layers = 1 + _last_layer(tensors)
    if other := foreign(tensors, prefix):
        why = (
            f"the names of the weights begin with {other!r}, the prefix of another architecture "
            f"(that of its model_type is {prefix!r}): correct model_type in config.json, or take "
            "the config.json that was saved with these weights"
        )
    elif all((match := _LAYER.search(name)) and int(match[1]) >= layers > 0 for name in lost):
        why = (
            f"the weights have {layers} layers: correct num_hidden_layers in config.json, or take "
            "the config.json that was saved with these weights"
        )
    else:
        why = "copy the folder again, or take the config.json that was saved with these weights"
    return UserError(
        f"the weights in {folder} must be those of its config.json, they lack {len(lost)} tensors "
        f"of the encoder ({shown(lost)}); {why}"
    )


def _last_layer(names: Iterable[str]) -> int:
    """The highest number of a layer in names of tensors; -1 if none has one."""
    return max((int(match[1]) for name in names if (match := _LAYER.search(name))), default=-1)


def without_a_place(
    names: Iterable[str], folder: Path, layers: int, new_head: bool
) -> UserError | None:
    """What to say if a file has tensors that the model does not: None if all of them are known to
    be harmless.

    Position numbers, poolers and the heads of pretraining are, under the names that transformers
    gives them; heads of tasks are if the model gets a `new_head`, or none.
    """
    lost = sorted(
        n
        for n in names
        if not (BUFFERS.search(n) or _OTHER_HEADS.fullmatch(n) or (new_head and _HEADS.search(n)))
    )
    if not lost:
        return None
    if any(_ADAPTERS.search(name) for name in lost):
        why = _MERGE
    elif any("distance_embedding" in name or "relative" in name for name in lost):
        why = (
            "relative positions (position_embedding_type) are no longer computed by transformers "
            "for this architecture: take a model with absolute positions"
        )
    elif _last_layer(lost) >= layers:
        why = (
            f"num_hidden_layers in config.json says {layers}: correct it, or take the config.json "
            "that was saved with these weights"
        )
    else:
        why = (
            "without them it would be another model: take one whose architecture transformers "
            "has, with the config.json it was saved with"
        )
    return _homeless(lost, folder, why)


def placed(name: str, wanted: Collection[str], prefix: str) -> str | None:
    """The one of the `wanted` names that transformers gives a tensor of a file; None if none.

    `prefix`: of the encoder in a model with a head, which one of the two may lack.
    """
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        if name.endswith(f"LayerNorm.{old}"):
            name = name.removesuffix(old) + new
    ways = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((way for way in ways if way in wanted), None)


def misshapen(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape], prefix: str
) -> dict[str, tuple[Shape, Shape]]:
    """Name in the model -> (shape in the file, shape that the model wants), where they differ."""
    pairs = ((placed(name, wanted, prefix), t.shape) for name, t in tensors.items())
    return {at: (shape, wanted[at]) for at, shape in pairs if at and shape != wanted[at]}


def _homeless(lost: list[str], folder: Path, why: str) -> UserError:
    return UserError(
        f"every tensor of the weights must have a place in the model, {shown(lost)} in {folder} "
        f"{'has' if len(lost) == 1 else 'have'} none; {why}"
    )


def shown(names: Sequence[str]) -> str:
    """The first of some names of tensors, and how many more there are."""
    return listed(names, 3, 400, each=120)

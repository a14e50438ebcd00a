"""What the weights of a model folder are before a byte of them is taken into memory: the headers of its safetensors, against its config.json.

Needs no torch. The limits of a config.json are those of models that exist, with room to spare.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdq.families import FAMILIES
from sdq.limits import limits
from sdq.settings import UserError, one_line

_LONGEST = 100_000_000  # bytes of a header, as safetensors itself allows
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_FLOATS = ("F64", "F32", "F16", "BF16")
_CALLED = {"I": "int", "U": "uint", "F": "float"}  # what safetensors calls I8 is int8 to everybody else
_BUFFERS = re.compile(r"(?:^|\.)(?:position_ids|token_type_ids|inv_freq|num_batches_tracked)$")  # counted anew by every model
# outside the encoder: what pretraining and other tasks read its last layer with
_OTHER_HEADS = re.compile(
    r"(?:^|\.)pooler\.|^(?:cls|lm_head|predictions|generator_predictions|generator_lm_head|discriminator_predictions|lm_predictions|mask_predictions|lm_loss"
    r"|sop_classifier|seq_relationship|qa_outputs|vocab_transform|vocab_layer_norm|vocab_projector|pred_layer)(?:\.|$)|^head\.(?:dense|norm)\.|^decoder\.(?:weight|bias)$"
)
_HEADS = re.compile(
    r"^(?:classifier|score|pre_classifier|logits_proj|sequence_summary|classification_head|head|decoder)\."
)  # of tasks: in the way of no new head
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_ADAPTERS = re.compile(r"adapter|lora_|(?:^|\.)(?:ia3|prefix_tuning|prompt_encoder|prompt_embeddings|modules_to_save)(?:\.|_|$)")
_MERGE = "these are adapters: merge them into the weights (of LoRA: merge_and_unload of PEFT), or take the model without them"
_LAYER = re.compile(r"\.layers?\.(\d+)\.")

# key of config.json -> (smallest, largest)
_WHOLE: dict[str, tuple[int, int]] = (
    dict.fromkeys(("hidden_size", "dim", "d_model", "embedding_size", "input_embedding_size", "output_embedding_size", "pooler_hidden_size"), (1, 65_536))
    | dict.fromkeys(("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"), (1, 10_000))
    | dict.fromkeys(("num_attention_heads", "n_heads", "num_key_value_heads"), (1, 10_000))
    | dict.fromkeys(("intermediate_size", "hidden_dim"), (1, 1_000_000))
    | dict.fromkeys(("vocab_size",), (1, 50_000_000))
    | dict.fromkeys(("max_position_embeddings",), (1, 10_000_000))
    | dict.fromkeys(("type_vocab_size",), (0, 10_000))
    | dict.fromkeys(("num_labels",), (1, 100_000))
    | dict.fromkeys(("position_buckets", "max_relative_positions", "relative_attention_num_buckets"), (-1, 100_000))
)
_DTYPES = {"float64", "double", "float32", "float", "float16", "half", "bfloat16", "auto"}


class Tensor(NamedTuple):
    """One tensor of a file: its kind of number as safetensors calls it (F32, I8), and its shape."""

    dtype: str
    shape: tuple[int, ...]


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Name -> tensor of all files that hold the folder's weights. UserError if a header is none, or a tensor is in two files."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, tensor in _header(path).items():
            if name in found:
                raise UserError(f"every tensor must be in one file, {_shown([name])} is in two of {folder}; save the model again with save_pretrained")
            found[name] = tensor
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that are loaded: model.safetensors, or else the parts that its index names. UserError if there are none."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise UserError(
            f"weights must be in model.safetensors, or in parts beside model.safetensors.index.json, {folder} has neither; save the model again with save_pretrained"
        )
    return [folder / name for name in sorted(set(_parts(index).values()))]


def _parts(index: Path) -> dict[str, str]:
    said = read_json(index).get("weight_map")
    if not isinstance(said, dict) or not said or not all(isinstance(part, str) for part in said.values()):
        raise UserError(f"{index} must have a weight_map from tensors to files, it does not; save the model again with save_pretrained")
    if stray := sorted(part for part in said.values() if Path(part).name != part or "\0" in part):
        raise UserError(
            f"parts of the weights must be files beside {index.name}, it names {one_line(stray[0], 80)!r}; save the model again with save_pretrained"
        )
    if missing := sorted(part for part in said.values() if not (index.parent / part).is_file()):
        raise UserError(f"all parts of the weights must be in {index.parent}, {missing[0]} is not; copy the folder again")
    return said


def _header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST, size - 8):
            raise _broken(path, f"its header would have {length} bytes, the file has {size}")
        try:
            said = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
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
        raise _broken(path, f"the tensor {_shown([name])} does not fit the file")
    return Tensor(str(dtype), shape)


def _broken(path: Path, why: str) -> UserError:
    return UserError(f"weights must be a whole safetensors file, {path} is none and it was refused: {why}; copy the file again")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model. UserError for anything else: no regular file, too long, a key twice, NaN, too deep."""
    most = 1_000_000 * limits().model_text_mb
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} must be a regular file, it is none; save the model again with save_pretrained")
        if path.stat().st_size > most:
            raise UserError(
                f"{path} must have at most {most // 1_000_000} MB, it has {path.stat().st_size // 1_000_000}; save the model again with save_pretrained"
            )
        found = json.loads(path.read_text("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except _Wrong as error:
        raise UserError(f"{path} must be JSON text with every key once and finite numbers, it has {error}; correct it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} must be JSON text, it cannot be read; save the model again with save_pretrained") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold one JSON object, it does not; save the model again with save_pretrained")
    return found


class _Wrong(ValueError):
    """What JSON allows and no model may have."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Wrong(f"the key {one_line(key, 60)!r} twice")
        if isinstance(value, float) and not math.isfinite(value):  # 1e999
            raise _Wrong(f"an infinite number under {one_line(key, 60)!r}")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise _Wrong(name)


# --- config.json against the headers


def fits(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """UserError if config.json has numbers that no model has, declares more than these weights hold, or the weights are no floating point numbers."""
    where = folder / "config.json"
    kind = config.get("model_type")
    if kind is not None and not (isinstance(kind, str) and kind.isprintable()):
        raise UserError(f"model_type must be the name of an architecture in {where}, got {_value(kind)}; save the model again with save_pretrained")
    for key, (least, most) in _WHOLE.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise UserError(f"{key} must be a whole number from {least} to {most} in {where}, got {_value(value)}; save the model again with save_pretrained")
    if config.get("is_decoder") not in (None, False):
        raise UserError(f"the model must be an encoder, is_decoder in {where} makes every word see only those before it; take an encoder, or correct it")
    old = {"gamma": "weight", "beta": "bias"}
    if twice := [name for name in tensors for end in (name.rpartition(".")[2],) if end in old and f"{name.removesuffix(end)}{old[end]}" in tensors]:
        raise UserError(f"every place in the model must have one tensor, {_shown(twice)} in {folder} is there under its new name too; take one of the two out")
    for key in ("dtype", "torch_dtype"):
        value = config.get(key)
        if value is not None and (not isinstance(value, str) or value.removeprefix("torch.") not in _DTYPES):
            raise UserError(f"{key} must name a floating point type such as float32 in {where}, got {_value(value)}; correct it")
    if (how := config.get("quantization_config")) is not None:
        method = how.get("quant_method") if isinstance(how, dict) else how
        raise UserError(f"the model must be stored in floating point, {where} says that it is quantized ({_value(method)}); save its weights unquantized first")
    if packed := [name for name, t in tensors.items() if t.dtype not in _FLOATS and not _BUFFERS.search(name)]:
        kinds = ", ".join(sorted({called(tensors[name].dtype) for name in packed}))
        raise UserError(
            f"weights must be floating point numbers, {_shown(packed)} in {folder} {'is' if len(packed) == 1 else 'are'} {kinds}; save the model unquantized, in float32 or float16"
        )
    _small_enough(config, tensors, where)


def called(dtype: str) -> str:
    """A kind of number as torch calls it: int8 for I8, bool for BOOL, float8_e4m3 for F8_E4M3."""
    return f"{_CALLED[dtype[0]]}{dtype[1:].lower()}" if dtype[:1] in _CALLED and dtype[1:2].isdigit() else dtype.lower()


def _small_enough(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: Path) -> None:
    def first(*keys: str) -> int:
        return next((int(config[key]) for key in keys if config.get(key) is not None), 0)

    kind = str(config.get("model_type"))
    width, inner, heads = first("hidden_size", "dim", "d_model"), first("intermediate_size", "hidden_dim"), first("num_attention_heads", "n_heads")
    layers = first("num_hidden_layers", "n_layers")
    if kind in FAMILIES and heads and width % heads:
        raise UserError(f"hidden_size must be a multiple of num_attention_heads in {where}, got {width} and {heads}; save the model again with save_pretrained")
    if kind == "albert":
        if layers > 1000:
            raise UserError(f"num_hidden_layers must be at most 1000 in {where}, got {layers}; correct it")
        layers = first("num_hidden_groups") * first("inner_group_num")
    held = sum(math.prod(t.shape) for t in tensors.values())
    tables = first("embedding_size", "input_embedding_size") or width
    has_table = kind != "modernbert" and config.get("position_biased_input") is not False
    rows = first("vocab_size") + (first("max_position_embeddings") if has_table else 0)
    declared = rows * tables + layers * (4 * width * width + 2 * width * inner)
    if declared > limits().checkpoint_parameters:
        raise UserError(
            f"a model must have at most {limits().checkpoint_parameters} parameters here, {where} declares {declared}; take a smaller one, or raise SDQ_CHECKPOINT_PARAMETERS"
        )
    if layers > len(tensors) or (kind in FAMILIES and declared > held):
        raise UserError(
            f"config.json must fit the weights beside it, {where} declares {layers} layers and at least {declared} parameters, the files hold {len(tensors)} tensors "
            f"with {held}; copy the folder again"
        )


# --- names of tensors against the model


def wrapped(names: Collection[str], wanted: Collection[str]) -> str | None:
    """The prefix that a wrapper left on the names of a file, if they are the `wanted` names but for it: `module.`, `_orig_mod.`, `model.`"""
    for name in names:
        parts = name.split(".")
        if inside := [part for part in parts if part in _WRAPPERS]:
            last = len(parts) - parts[::-1].index(inside[-1])
            return ".".join([*(parts[:last] if all(part in _WRAPPERS for part in parts[:last]) else inside[:1]), ""])
    ends = {name[: -len(want)] for want in sorted(wanted)[:1] for name in names if name.endswith(f".{want}")}
    return next((prefix for prefix in sorted(ends, key=len) if all(f"{prefix}{want}" in names for want in wanted)), None)


def unwrap(prefix: str, folder: Path) -> UserError:
    """What to do about it."""
    return UserError(
        f"the tensors in {folder} must have the names of a plain model, they have the prefix {one_line(prefix, 60)!r} of a wrapper; "
        f"take {one_line(prefix, 60)!r} out of every name in its safetensors, or save the inner model (model.module, model._orig_mod) with save_pretrained"
    )


def adapted(names: Iterable[str], folder: Path) -> UserError | None:
    """What to say if tensors are those of an adapter, which is no model and may have taken the names of its weights; None if none is."""
    lost = sorted(name for name in names if _ADAPTERS.search(name))
    return _homeless(lost, folder, _MERGE) if lost else None


def without_a_place(names: Iterable[str], folder: Path, layers: int, new_head: bool) -> UserError | None:
    """What to say if a file has tensors that the model does not: None if all of them are known to be harmless.

    Position numbers, poolers and the heads of pretraining are; heads of tasks are if the model gets a `new_head`, or none.
    """
    lost = sorted(n for n in names if not (_BUFFERS.search(n) or _OTHER_HEADS.search(n) or (new_head and _HEADS.search(n))))
    if not lost:
        return None
    if any(_ADAPTERS.search(name) for name in lost):
        why = _MERGE
    elif any("distance_embedding" in name or "relative" in name for name in lost):
        why = "relative positions (position_embedding_type) are no longer computed by transformers for this architecture: take a model with absolute positions"
    elif max((int(match[1]) for name in lost if (match := _LAYER.search(name))), default=-1) >= layers:
        why = f"num_hidden_layers in config.json says {layers}: correct it, or take the config.json that was saved with these weights"
    else:
        why = "without them it would be another model: take one whose architecture transformers has, with the config.json it was saved with"
    return _homeless(lost, folder, why)


def _homeless(lost: list[str], folder: Path, why: str) -> UserError:
    return UserError(
        f"every tensor of the weights must have a place in the model, {_shown(lost)} in {folder} {'has' if len(lost) == 1 else 'have'} none; {why}"
    )


def _shown(names: list[str]) -> str:
    few = ", ".join(one_line(name, 120) for name in names[:3])
    return few if len(names) <= 3 else f"{few} and {len(names) - 3} more"


def _value(value: Any) -> str:
    return one_line(repr(value), 80)

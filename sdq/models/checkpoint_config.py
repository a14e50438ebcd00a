"""What config.json of a model folder says, before anything is made of it: its values, and what it
declares against what the headers of the weights hold. Needs no torch.

The limits are those of models that exist, with room to spare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdq.io.limits import limits
from sdq.models.families import FAMILIES
from sdq.models.tensors import BUFFERS, FLOATS, Tensor, called, shown
from sdq.settings import UserError, one_line

# key of config.json -> (smallest, largest)
_WHOLE: dict[str, tuple[int, int]] = (
    dict.fromkeys(
        (
            "hidden_size",
            "dim",
            "d_model",
            "embedding_size",
            "input_embedding_size",
            "output_embedding_size",
            "pooler_hidden_size",
        ),
        (1, 65_536),
    )
    | dict.fromkeys(
        ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"), (1, 10_000)
    )
    | dict.fromkeys(("num_attention_heads", "n_heads", "num_key_value_heads"), (1, 10_000))
    | dict.fromkeys(("intermediate_size", "hidden_dim"), (1, 1_000_000))
    | dict.fromkeys(("vocab_size",), (1, 50_000_000))
    | dict.fromkeys(("max_position_embeddings",), (1, 10_000_000))
    | dict.fromkeys(("type_vocab_size",), (0, 10_000))
    | dict.fromkeys(("num_labels",), (1, 100_000))
    | dict.fromkeys(
        ("position_buckets", "max_relative_positions", "relative_attention_num_buckets"),
        (-1, 100_000),
    )
)
# end of a key -> (smallest, largest); a probability of 1 would leave nothing
_REAL: dict[str, tuple[float, float]] = {
    r"norm_eps|norm_epsilon": (1e-20, 0.1),
    r"initializer_range": (0, 100),
    r"dropout|dropout_prob": (0, 0.999),
}
_REAL_KEYS = re.compile("|".join(rf"((?!use_|token_dropout$)\w*(?:{end}))" for end in _REAL))
ACTIVATIONS = ("hidden_act", "hidden_activation", "pooler_hidden_act", "activation")
_DTYPES = ("float64", "double", "float32", "float", "float16", "half", "bfloat16")


def fits(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """UserError if config.json has values that no encoder has, declares more than these weights
    hold, or the weights are no floating point numbers.

    config: what config.json says
    tensors: of the weights, by name
    folder: of the model, for errors
    """
    where = folder / "config.json"
    _values(config, where)
    old = {"gamma": "weight", "beta": "bias"}
    ends = {name: name.rpartition(".")[2] for name in tensors}
    if twice := [
        name
        for name, end in ends.items()
        if end in old and f"{name.removesuffix(end)}{old[end]}" in tensors
    ]:
        raise UserError(
            f"every place in the model must have one tensor, {shown(twice)} in {folder} is there "
            "under its new name too; take one of the two out"
        )
    odd = {n: t for n, t in tensors.items() if t.dtype not in FLOATS and not BUFFERS.search(n)}
    if packed := [name for name, t in odd.items() if t.shape]:  # one number alone is a counter
        kinds = ", ".join(sorted({called(tensors[name].dtype) for name in packed}))
        raise UserError(
            f"weights must be floating point numbers, {shown(packed)} in {folder} "
            f"{'is' if len(packed) == 1 else 'are'} {kinds}; save the model unquantized, in "
            "float32 or float16"
        )
    _small_enough(config, tensors, where)


def _values(config: Mapping[str, Any], where: Path) -> None:
    no_own_code(config, where, ("AutoConfig", "AutoModel"))
    kind = config.get("model_type")
    if kind is not None and not (isinstance(kind, str) and kind.isprintable()):
        raise wrong("model_type", "the name of an architecture", where, kind)
    for key, (least, most) in _WHOLE.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise wrong(key, f"a whole number from {least} to {most}", where, value)
    for key, value in config.items():
        if match := _REAL_KEYS.fullmatch(key):
            low, high = list(_REAL.values())[(match.lastindex or 1) - 1]
            if value is not None and (type(value) not in (int, float) or not low <= value <= high):
                raise wrong(key, f"a number from {low:g} to {high:g}", where, value)
    most, pad = (config.get("vocab_size") or 50_000_000) - 1, config.get("pad_token_id")
    if pad is not None and (type(pad) is not int or not 0 <= pad <= most):
        raise wrong("pad_token_id", f"a whole number from 0 to {most}", where, pad)
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key) not in (None, False):
            raise UserError(
                f"the model must be an encoder, {key} in {where} makes it a decoder, in which "
                "every word sees only those before it; take an encoder, or correct it"
            )
    for key in ("dtype", "torch_dtype"):
        value = config.get(key)
        if value is not None and value not in _DTYPES:
            wanted = 'the name of a floating point type such as "float32"'
            plain = str(value).removeprefix("torch.")
            todo = f'write "{plain}"' if plain in _DTYPES else "correct it"
            raise wrong(key, wanted, where, value, todo)
    if (how := config.get("quantization_config")) is not None:
        method = how.get("quant_method") if isinstance(how, dict) else how
        raise UserError(
            f"the model must be stored in floating point, {where} says that it is quantized "
            f"({_value(method)}); save its weights unquantized first"
        )


def no_own_code(said: Mapping[str, Any], where: Path, kinds: tuple[str, ...]) -> None:
    """UserError if a file of a model names classes of its own in place of those of transformers
    that begin with one of `kinds`.

    said: what the file says
    where: the file, for errors
    kinds: beginnings of names of classes
    """
    maps = said.get("auto_map") or {}
    if not isinstance(maps, dict):
        raise wrong("auto_map", "an object", where, maps, "correct it, or take it out")
    for name, own in maps.items():
        if name.startswith(kinds):
            classes = own if isinstance(own, str) else [one for one in own or () if one]
            raise UserError(
                "a model must need no code but that of transformers, which alone is run here, "
                f"auto_map in {where} puts code of its own ({_value(classes)}) in the place of "
                f"{name}; save it as a model of transformers, or take auto_map out if that has its "
                "very class now"
            )


def wrong(
    key: str,
    wanted: str,
    where: Path,
    value: Any,
    todo: str = "save the model again with save_pretrained",
) -> UserError:
    """What to say of a value in config.json.

    key: in config.json
    wanted: what it must be
    where: the file
    value: what it is
    todo: the way out
    """
    return UserError(f"{key} must be {wanted} in {where}, got {_value(value)}; {todo}")


def _small_enough(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: Path) -> None:
    def first(*keys: str) -> int:
        return next((int(config[key]) for key in keys if config.get(key) is not None), 0)

    kind = str(config.get("model_type"))
    width, inner = first("hidden_size", "dim", "d_model"), first("intermediate_size", "hidden_dim")
    heads, layers = first("num_attention_heads", "n_heads"), first("num_hidden_layers", "n_layers")
    if kind in FAMILIES and heads and width % heads:
        raise UserError(
            f"hidden_size must be a multiple of num_attention_heads in {where}, got {width} and "
            f"{heads}; save the model again with save_pretrained"
        )
    if kind == "albert":
        if layers > 1000:
            raise UserError(
                f"num_hidden_layers must be at most 1000 in {where}, got {layers}; correct it"
            )
        layers = first("num_hidden_groups") * first("inner_group_num")
    tables = first("embedding_size", "input_embedding_size") or width
    has_table = kind != "modernbert" and config.get("position_biased_input") is not False
    rows = first("vocab_size") + (first("max_position_embeddings") if has_table else 0)
    declared = rows * tables + layers * (4 * width * width + 2 * width * inner)
    if declared > limits().checkpoint_parameters:
        raise UserError(
            f"a model must have at most {limits().checkpoint_parameters} parameters here, {where} "
            f"declares {declared}; take a smaller one, or raise SDQ_CHECKPOINT_PARAMETERS"
        )
    if layers > len(tensors):
        raise UserError(
            f"config.json must fit the weights beside it, {where} declares {layers} layers, the "
            f"files hold {len(tensors)} tensors; take the config.json that was saved with them"
        )


def _value(value: Any) -> str:
    return one_line(repr(value), 80)

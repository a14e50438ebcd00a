"""What transformers makes of a config.json, before a byte of the weights is in memory: the model
without numbers, whose shapes are held against those of the files."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdq.checkpoint import config_of
from sdq.checkpoint_config import ACTIVATIONS, wrong
from sdq.settings import UserError, one_line
from sdq.tensors import Shape, Tensor, misshapen, placed

# what a config.json may say of how a model is called, not of what it is: outputs by name, all
# tokens at once
HOW: dict[str, Any] = {"return_dict": True, "chunk_size_feed_forward": 0}
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number with a point",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "NoneType": "null",
}


def configuration(folder: Path, auto: Any, asked: str, **changes: Any) -> Any:
    """The configuration of a folder's model for a class of transformers (`auto`), with `changes`.
    UserError if transformers has no such model."""
    from transformers import AutoConfig
    from transformers.activations import ACT2FN
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    said, where = config_of(folder), folder / "config.json"
    for key in ACTIVATIONS:
        name = said.get(key)
        if isinstance(name, str) and name not in ACT2FN:
            near = difflib.get_close_matches(name, ACT2FN, 1) or ["gelu"]
            wanted = "an activation function that transformers has"
            raise wrong(key, wanted, where, name, f'correct it, perhaps to "{near[0]}"')
    kind = said.get("model_type")
    if kind in CONFIG_MAPPING:
        with in_one_sentence(f"the model in {folder} must be an encoder that transformers loads"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **HOW, **changes)
        config._attn_implementation = "eager"
        if type(config) in auto._model_mapping:
            return config
    given = "is not given" if kind is None else f"is {one_line(repr(kind), 60)}"
    raise UserError(
        f"the model must be an encoder that transformers has for {asked}, model_type in {where} {given}; take a model of another architecture, or correct it"
    )


def skeleton(auto: Any, config: Any) -> nn.Module:
    """The model of a configuration with shapes and without numbers: nothing is allocated."""
    with torch.device("meta"):
        model: nn.Module = auto.from_config(copy.deepcopy(config), trust_remote_code=False)
    return model


def _shapes(model: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def same_shapes(tensors: Mapping[str, Tensor], model: nn.Module, auto: Any, folder: Path, free: Collection[str]) -> None:
    """UserError if a tensor of the files has another shape than in the `model`, a skeleton.

    `free`: modules that may have another shape, as they will get other weights.
    """
    config: Any = model.config
    prefix = str(model.base_model_prefix)
    found = misshapen(tensors, _shapes(model), prefix)
    found = {n: pair for n, pair in found.items() if n.rpartition(".")[0] not in free}
    if not found:
        return
    at, (have, want) = next(iter(found.items()))
    name = next(n for n in tensors if placed(n, (at,), prefix))
    more = f" (and {len(found) - 1} more do not fit)" if len(found) > 1 else ""
    why = _disagrees(tensors, found, auto, config, prefix)
    raise UserError(
        f"every tensor must have the shape that config.json asks for, {one_line(name, 120)} in "
        f"{folder} has {_size(have)}, and should have {_size(want)}{more}; {why}"
    )


def _size(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _disagrees(
    tensors: Mapping[str, Tensor],
    found: Mapping[str, tuple[Shape, Shape]],
    auto: Any,
    config: Any,
    prefix: str,
) -> str:
    """What to correct: the number in config.json with which, put right, most tensors would fit."""
    pairs = dict.fromkeys(pair for shapes in found.values() for pair in zip(*shapes, strict=False) if len(set(pair)) > 1)
    said = {**config.to_dict(), "num_labels": config.num_labels}
    best = len(misshapen(tensors, _shapes(skeleton(auto, config)), prefix))
    saved = "take the config.json that was saved with these weights"
    why = saved
    for have, want in list(pairs)[:4]:
        for key, value in said.items():
            if type(value) is not int or want not in (value, 2 * value, 3 * value):
                continue  # q, k and v may be one tensor
            times = want // value if value else 1
            other = copy.deepcopy(config)
            try:
                setattr(other, key, have // times)
                left = len(misshapen(tensors, _shapes(skeleton(auto, other)), prefix))
            except Exception:  # no model has these two numbers together
                continue
            if left < best:
                key = "number of labels (id2label)" if key == "num_labels" else key
                best = left
                why = f"its {key} is {value}, that of the weights {have // times}: correct it, or {saved}"
    return why


@contextmanager
def in_one_sentence(wanted: str) -> Iterator[None]:
    """Inside, transformers is silent, and what it has against a folder becomes a UserError that
    begins with what is wanted."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # of any kind: what is in a folder may be anything, and a panic of the tokenizers' Rust is no Exception
        raise UserError(f"{wanted}; it was refused: {reason(error)}") from error
    finally:
        logging.set_verbosity(before)


def reason(error: BaseException) -> str:
    """What transformers has against a folder, as part of a sentence."""
    said = one_line(str(error))
    if match := re.match(r"Validation error for field '(\w+)'.*?\(value: (.*?)\)(?:;|$)", said):
        kinds = dict.fromkeys(re.findall(r"expected (\w+), got", said))
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        return f"{match[1]} in config.json must be {wanted}, got {one_line(match[2], 80)}; correct it"
    if match := re.search(r" at line 1 column (\d+)$", said):  # of the tokenizers' Rust
        return f"tokenizer.json is not as the library tokenizers writes it, at character {match[1]}"
    if "instantiate the backend tokenizer" in said:
        return "there is no tokenizer.json, and the other files are not enough to make one of"
    if isinstance(error, AttributeError | TypeError | KeyError | IndexError):  # says nothing of files
        return "a value in its files is missing, or of another kind than save_pretrained writes"
    return one_line(said, 200) or type(error).__name__

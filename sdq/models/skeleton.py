"""What transformers makes of a config.json, before a byte of the weights is in memory: the model
without numbers, whose shapes are held against those of the files."""

from __future__ import annotations

import copy
import difflib
import inspect
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdq.models.checkpoint import config_of
from sdq.models.checkpoint_config import ACTIVATIONS, wrong
from sdq.models.tensor_names import misshapen, placed
from sdq.models.tensors import Shape, Tensor
from sdq.settings import UserError, one_line

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


def configuration(folder: Path, auto: Any, asked: str, **overrides: Any) -> Any:
    """The configuration of a folder's model for a class of transformers. UserError if transformers
    has no such model.

    folder: of the model
    auto: a class of transformers
    asked: what is wanted of the folder, for errors
    overrides: entries that are replaced
    """
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
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        if named := [k for k in said if callable(getattr(CONFIG_MAPPING[kind], k, None))]:
            raise UserError(
                f"config.json must hold settings of a model, {one_line(named[0], 80)} in {where} "
                "is what a function of transformers is called; take it out"
            )
        with in_one_sentence(f"the model in {folder} must be an encoder that transformers loads"):
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **HOW, **overrides
            )
        config._attn_implementation = "eager"
        if type(config) in auto._model_mapping:
            return config
    given = "is not given" if kind is None else f"is {one_line(repr(kind), 60)}"
    raise UserError(
        f"the model must be an encoder that transformers has for {asked}, model_type in {where} "
        f"{given}; take a model of another architecture, or correct it"
    )


def of_kind(config: Mapping[str, Any], folder: Path, kind: str, remedy: str) -> str:
    """UserError if config.json says that the head gives answers of another kind, or is of a class
    of its own: its weights may have the shape that is asked for. What is to be remarked on.

    config: what config.json says
    folder: of the model, for errors
    kind: of the head
    remedy: the way out, for errors
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    where, problem = folder / "config.json", config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        todo = f"{remedy}; or correct it, if one label is right for each sentence or word"
        raise wrong("problem_type", "single_label_classification", where, problem, todo)
    ends = ("ForTokenClassification", "ForSequenceClassification")[:: 1 if kind == "token" else -1]
    said = config.get("architectures")
    named = [name for name in said if isinstance(name, str)] if isinstance(said, list) else []
    if any(n.endswith(ends[1]) for n in named) and not any(n.endswith(ends[0]) for n in named):
        raise UserError(
            f"the model in {folder} must have a head for {asks(kind)}, its head is another "
            f"({named[0]}); {remedy}"
        )
    classes = {
        "ForTokenClassification": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
        "ForSequenceClassification": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }[ends[0]]
    made = classes.get(str(config.get("model_type")))
    if made in named or not named:
        return ""
    shown_name = one_line(named[0], 80)
    if not (named[0].isidentifier() and hasattr(transformers, named[0])):
        raise UserError(
            f"the model must be of a class of transformers, architectures in {where} names "
            f"{shown_name}, which is none; code of a model's own is not run here: save it as a "
            "model of transformers"
        )
    if not named[0].endswith(ends[0]):
        return ""
    what = f"architectures in config.json names {shown_name}, model_type makes {made} of it"
    return f"{what}: that is what was run"


def asks(kind: str) -> str:
    """What a model is to be loaded for, in words."""
    return {"token": "token classification", "retrieval": "embedding"}.get(
        kind, "sequence classification"
    )


def skeleton(auto: Any, config: Any) -> nn.Module:
    """The model of a configuration with shapes and without numbers: nothing is allocated."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, where a tensor is empty
        model: nn.Module = auto.from_config(copy.deepcopy(config), trust_remote_code=False)
    return model


# inputs of a forward pass that a text does not give -> what they are, and what in config.json says
# that they count
_BEYOND_TEXT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "lang_ids": ("the language of every sentence", lambda c: len(c.languages) > 1),
    "langs": ("the language of every sentence", lambda c: c.use_lang_emb and c.n_langs > 1),
    "bbox": ("the place of every word on a page", lambda c: True),
    "input_shape_ids": ("the shape of every letter", lambda c: c.enable_shape),
    "input_pronunciation_ids": ("the sound of every letter", lambda c: c.enable_pronunciation),
}
_GIVEN = ("input_ids", "attention_mask", "token_type_ids")


def asks_for_text_alone(model: nn.Module, folder: Path) -> None:
    """UserError if a model needs more than token ids, their mask and token types."""
    asked = inspect.signature(model.forward).parameters
    lacks = {
        name: what
        for name, (what, counts) in _BEYOND_TEXT.items()
        if name in asked and counts(model.config)
    }
    lacks |= {
        name: "without which it cannot be run"
        for name, one in asked.items()
        if name not in (*_GIVEN, *_BEYOND_TEXT)
        and one.default is one.empty
        and one.kind is one.POSITIONAL_OR_KEYWORD
    }
    for name, what in lacks.items():
        raise UserError(
            f"the model must answer from the text alone, {type(model).__name__} in {folder} needs "
            f"{name} too ({what}), and nothing here gives it; take a model of another architecture"
        )


def keeps_tokens(model: nn.Module, names: Collection[str], folder: Path) -> None:
    """UserError if one of the named modules is given anything but a row for every token, or one
    for every sentence: what is measured of it could not be told from padding.

    model: loaded
    names: of its modules
    folder: for errors
    """
    seen: dict[str, Shape] = {}
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, tuple(args[0].shape)) and None
        )
        for name in names
    ]
    ids = torch.arange(3).repeat(2, 1)  # [2, 3]: any tokens will do
    try:
        with torch.no_grad(), suppress(Exception):  # what it cannot take shows with real sentences
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for hook in hooks:
            hook.remove()
    for name, shape in seen.items():
        if shape[:-1] not in ((2,), (2, 3)):
            raise UserError(
                f"every layer of a model must have one row per token, {name} of "
                f"{type(model).__name__} in {folder} has {_size(shape)} numbers for 2 sentences of "
                "3 tokens, so that padding cannot be told there; take a model of another "
                "architecture"
            )


def _shapes(model: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def same_shapes(
    tensors: Mapping[str, Tensor], model: nn.Module, auto: Any, folder: Path, free: Collection[str]
) -> None:
    """UserError if a tensor of the files has another shape than in the model.

    folder: for errors
    tensors: of the files
    model: a skeleton (see `skeleton`)
    auto: the class of transformers that loads it
    free: modules that may have another shape, as they will get other weights
    """
    config: Any = model.config
    prefix = str(model.base_model_prefix)
    differing = misshapen(tensors, _shapes(model), prefix)
    differing = {n: pair for n, pair in differing.items() if n.rpartition(".")[0] not in free}
    if not differing:
        return
    at, (have, want) = next(iter(differing.items()))
    name = next(n for n in tensors if placed(n, (at,), prefix))
    more = f" (and {len(differing) - 1} more do not fit)" if len(differing) > 1 else ""
    reason = _disagrees(tensors, differing, auto, config, prefix)
    raise UserError(
        f"every tensor must have the shape that config.json asks for, {one_line(name, 120)} in "
        f"{folder} has {_size(have)}, and should have {_size(want)}{more}; {reason}"
    )


def _size(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _disagrees(
    tensors: Mapping[str, Tensor],
    differing: Mapping[str, tuple[Shape, Shape]],
    auto: Any,
    config: Any,
    prefix: str,
) -> str:
    """What to correct: the number in config.json with which, put right, most tensors would fit."""
    pairs = dict.fromkeys(
        pair
        for shapes in differing.values()
        for pair in zip(*shapes, strict=False)
        if len(set(pair)) > 1
    )
    said = {**config.to_dict(), "num_labels": config.num_labels}
    best = len(misshapen(tensors, _shapes(skeleton(auto, config)), prefix))
    saved = "take the config.json that was saved with these weights"
    advice = saved
    for have, want in list(pairs)[:4]:
        for key, value in said.items():
            if type(value) is not int or want not in (value, 2 * value, 3 * value):
                continue  # q, k and v may be one tensor
            times = want // value if value else 1
            if have < times:
                continue
            other = copy.deepcopy(config)
            try:
                setattr(other, key, have // times)
                left = len(misshapen(tensors, _shapes(skeleton(auto, other)), prefix))
            except Exception:  # no model has these two numbers together
                continue
            if left < best:
                key = "number of labels (id2label)" if key == "num_labels" else key
                best = left
                advice = (
                    f"its {key} is {value}, that of the weights {have // times}: correct it, or "
                    f"{saved}"
                )
    return advice


@contextmanager
def in_one_sentence(wanted: str) -> Iterator[None]:
    """Inside, transformers is silent, and what it has against a folder becomes a UserError that
    begins with what is wanted."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # of any kind: what is in a folder may be anything, and a panic of the tokenizers' Rust is
        # no Exception
        raise UserError(f"{wanted}; it was refused: {reason(error)}") from error
    finally:
        logging.set_verbosity(before)


def reason(error: BaseException) -> str:
    """What transformers has against a folder, as part of a sentence."""
    said = one_line(str(error))
    if match := re.match(r"Validation error for field '(\w+)'.*?\(value: (.*?)\)(?:;|$)", said):
        kinds = dict.fromkeys(re.findall(r"expected (\w+), got", said))
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        return (
            f"{match[1]} in config.json must be {wanted}, got {one_line(match[2], 80)}; correct it"
        )
    if match := re.search(r" at line 1 column (\d+)$", said):  # of the tokenizers' Rust
        return f"tokenizer.json is not as the library tokenizers writes it, at character {match[1]}"
    if re.search(
        r"(?i)missing \S+ token from the vocabulary|`unk_id` is missing|unk token .* not found",
        said,
    ):
        return (
            "it has no token for what its vocabulary lacks; give the model in tokenizer.json an "
            "unk_token (of Unigram: unk_id) that is in its vocabulary"
        )
    if "instantiate the backend tokenizer" in said:
        return "there is no tokenizer.json, and the other files are not enough to make one of"
    # says nothing of files
    if isinstance(error, AttributeError | TypeError | KeyError | IndexError):
        return "a value in its files is missing, or of another kind than save_pretrained writes"
    return one_line(said, 200) or type(error).__name__

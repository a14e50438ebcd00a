"""Loading a model and its tokenizer from a folder."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdq.data.pieces import lead_with_space_
from sdq.models.checkpoint import config_of, too_large
from sdq.models.checkpoint_config import fits, no_own_code
from sdq.models.composition import embedded
from sdq.models.heads import joined_, remark_
from sdq.models.label_matching import join, names_of
from sdq.models.padding import minds_padding
from sdq.models.skeleton import (
    asks,
    asks_for_text_alone,
    configuration,
    in_one_sentence,
    keeps_tokens,
    of_kind,
    same_shapes,
    skeleton,
)
from sdq.models.structure import encoder_family, modules, steps
from sdq.models.tensor_names import (
    adapted,
    crowded,
    foreign,
    lacking,
    placed,
    unwrap,
    without_a_place,
    wrapped,
)
from sdq.models.tensors import read_json, shown, stored_as, tensors_of
from sdq.settings import UserError, one_line


def load(
    folder: Path,
    kind: str,
    labels: tuple[str, ...],
    remedy: str = "fine-tune it on this task first",
) -> tuple[nn.Module, Any]:
    """(model in float32 and eval mode, fast tokenizer) of a folder.

    folder: of the model

    kind: "token", or anything else for one answer per sentence or pair
    labels: output i of the model is label i; outputs that the task has no label for come after them
        (see `sdq.models.heads`)
    remedy: what to do about a head that does not fit, for errors

    UserError for an architecture transformers cannot load so, weights that are not what the model
    needs, not finite or no floats, and a head that is missing, of another kind, or never learned a
    label. Code that came with a model never runs.
    """
    config, where = config_of(folder), folder / "config.json"
    names = names_of(config, where)
    joint = join(names, labels, where, remedy)
    odd = of_kind(config, folder, kind, remedy)
    model, missing = _read(folder, kind, id2label=dict(enumerate(names)))
    if missing:
        none = _headless(model, missing)
        raise UserError(
            f"the model in {folder} must have a {'' if none else 'whole '}head for {asks(kind)}, "
            f"{'it is a base model: ' if none else ''}its weights lack {shown(missing)}; {remedy}"
        )
    joined_(model, joint, labels, where)
    for said in filter(None, (odd, minds_padding(model))):
        remark_(model, said)
    return model, fitting(
        tokenizer_of(folder, longest(model), apart=kind == "token"), model, folder
    )


def encoder(folder: Path) -> nn.Module:
    """The encoder of a folder without any head, in float32 and eval mode. UserError as `load`."""
    model, _ = _read(folder, "retrieval")
    if getattr(model, "pooler", None) is not None:
        setattr(model, "pooler", None)  # a head of its own, for another task  # noqa: B010
    return model


def start(
    folder: Path, kind: str, labels: tuple[str, ...], seed: int, **overrides: Any
) -> tuple[nn.Module, Any]:
    """(model in float32 and eval mode, fast tokenizer) to be fine-tuned: the encoder of a folder
    under a head of these labels.

    folder: of the model

    kind, labels: as of `load`
    seed: the head starts from it, unless the folder has one of that shape: that is joined to the
        labels, if it can be
    changes: entries of the configuration that are replaced
    """
    named = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    overrides["problem_type"] = None  # of the head that was there before
    model, missing = _read(folder, kind, new_head=True, **named, **overrides)
    if missing:
        if not _headless(model, missing):
            remark_(model, f"the weights lack {shown(missing)} of the head: it starts anew")
        torch.manual_seed(seed)
        fresh = type(model)(model.config).state_dict()
        model.load_state_dict({name: fresh[name] for name in missing}, strict=False)
    else:
        with suppress(UserError):  # a head to start from need not have learned these labels
            joint = join(names_of(config_of(folder), folder / "config.json"), labels, folder, "")
            if len(joint.order) == len(labels):
                joined_(model, replace(joint, remark=""), labels, folder / "config.json")
    return model, fitting(
        tokenizer_of(folder, longest(model), apart=kind == "token"), model, folder
    )


def longest(model: nn.Module) -> int | None:
    """How many tokens a model has positions for; None where positions are not a table."""
    tables = [
        m
        for name, m in model.named_modules()
        if isinstance(m, nn.Embedding) and name.endswith("position_embeddings")
    ]
    # RoBERTa and its kin count positions from the padding's number on
    return min(
        (m.num_embeddings - (0 if m.padding_idx is None else m.padding_idx + 1) for m in tables),
        default=None,
    )


def tokenizer_of(folder: Path, longest: int | None = None, apart: bool = False) -> Any:
    """The fast tokenizer of a folder. UserError if there is none that can be read, or be made to.

    folder: of the model
    longest: how many tokens it cuts at, if it would not earlier
    apart: it is given words, and takes each as it is in a text (see sdq.data.pieces)
    """
    from transformers import AutoTokenizer

    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json"):
        if (folder / name).exists():
            no_own_code(read_json(folder / name), folder / name, ("AutoTokenizer",))
    with in_one_sentence(
        f"the tokenizer in {folder} must be one that transformers loads without code of its own"
    ):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    for has, what in (
        (tokenizer.is_fast, "fast form (tokenizer.json)"),
        (tokenizer.pad_token_id is not None, "padding token"),
    ):
        if not has:
            raise UserError(
                f"the tokenizer in {folder} must be a fast one with a padding token, it has no "
                f"{what}; save it again with save_pretrained"
            )
    if apart and lead_with_space_(tokenizer.backend_tokenizer, f"the tokenizer in {folder}"):
        # as saved with the model that is fine-tuned with it
        tokenizer.add_prefix_space = tokenizer.init_kwargs["add_prefix_space"] = True
    tokenizer.model_max_length = _room(tokenizer, longest, folder)
    return tokenizer


def _read(
    folder: Path, kind: str, new_head: bool = False, **overrides: Any
) -> tuple[nn.Module, list[str]]:
    """(model, names of its head's weights that the folder does not have). `changes` replace entries
    of the configuration; with a `new_head` one of another shape is put aside."""
    import transformers

    tensors = tensors_of(folder)
    fits(config_of(folder), tensors, folder)
    auto: Any = {
        "token": transformers.AutoModelForTokenClassification,
        "retrieval": transformers.AutoModel,
    }.get(kind, transformers.AutoModelForSequenceClassification)
    wanted = f"the model in {folder} must be an encoder that transformers loads for {asks(kind)}"
    config = configuration(folder, auto, asks(kind), **overrides)
    with in_one_sentence(wanted):
        plan = skeleton(auto, config)
    asks_for_text_alone(plan, folder)
    top = {m.name for m in modules(plan) if m.role == "head"}
    same_shapes(tensors, plan, auto, folder, top if new_head else ())
    if not encoder_family(plan).guessed:  # else transformers may know the tensors by other names
        places = plan.state_dict()
        at = {name: placed(name, places, str(plan.base_model_prefix)) for name in tensors}
        if error := crowded(at, folder):
            raise error
        lost = places.keys() - at.values()
        _encoder_is_whole(
            lost, top, [name for name in tensors if not at[name]], tensors, folder, plan
        )
    with in_one_sentence(wanted):
        model, told = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=new_head,
        )
    missing = [*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])]
    dropped = _dropped(told["unexpected_keys"], tensors, model)
    _encoder_is_whole(missing, top, dropped, tensors, folder, plan)
    if error := without_a_place(
        dropped, folder, len(steps(model)), kind == "retrieval" or new_head
    ):
        raise error
    for name, parameter in model.named_parameters():
        if not all(torch.isfinite(end) for end in parameter.aminmax()):  # of NaN both ends are NaN
            raise UserError(
                f"weights must be finite numbers, {name} in {folder} holds NaN or infinity; the "
                "checkpoint is damaged or its training diverged"
            )
    # the embedded model's shipped runs say nothing of it
    if not embedded(folder) and (said := stored_as(tensors)):
        remark_(model, said)
    keeps_tokens(model.eval(), [m.name for m in modules(model) if m.role != "embedding"], folder)
    return model, sorted(missing)


def _encoder_is_whole(
    missing: Collection[str],
    top: Collection[str],
    dropped: Collection[str],
    tensors: Collection[str],
    folder: Path,
    plan: nn.Module,
) -> None:
    """UserError if any of the `missing` names is not of the head, whose modules are `top`."""
    if lost := sorted(name for name in missing if name.rpartition(".")[0] not in top):
        own = str(plan.base_model_prefix)
        if not foreign(tensors, own) and (prefix := wrapped(tensors, lost)):
            raise unwrap(prefix, folder)
        raise adapted(dropped, folder) or lacking(lost, tensors, folder, own)


def _dropped(told: Collection[str], tensors: Collection[str], model: Any) -> set[str]:
    """Tensors of the files that the model has no place for, those too that transformers drops
    without a word."""
    silent = model._keys_to_ignore_on_load_unexpected or ()
    kept = model.state_dict()
    unsaid = {name for name in tensors if any(re.search(pattern, name) for pattern in silent)}
    return {*told, *(n for n in unsaid if not placed(n, kept, model.base_model_prefix))}


def _headless(model: nn.Module, missing: Collection[str]) -> bool:
    """Whether the layer that gives the logits is missing as a whole, and not only a part of it."""
    config: Any = model.config
    return any(
        all(f"{name}.{part}" in missing for part, _ in module.named_parameters())
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == config.num_labels
    )


def fitting(tokenizer: Any, model: nn.Module, folder: Path) -> Any:
    """The tokenizer, once it is known that the model has a row for everything that it yields; it
    numbers the texts of a pair only if the model tells them apart. UserError if the two are not of
    one another.

    tokenizer: of the folder
    model: of the folder
    folder: for errors
    """
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    rows = int(table.num_embeddings)
    with in_one_sentence(
        f"the tokenizer in {folder} must be one that transformers loads without code of its own"
    ):
        ids = {token: int(i) for token, i in tokenizer.get_vocab().items()}
        ids |= {
            f"what is put around {text!r}": max(tokenizer(text)["input_ids"], default=0)
            for text in ("a", "1", "𐎀ꙮ")
        }
        around = int(tokenizer.num_special_tokens_to_add(pair=True))
    if beyond := sorted((i, token) for token, i in ids.items() if i >= rows):
        raise too_large(folder, rows, len(beyond), beyond[0][1], beyond[0][0])
    room = _room(tokenizer, longest(model), folder)
    if room < around + 2:
        raise UserError(
            f"the model in {folder} must take inputs of at least {around + 2} tokens, it takes "
            f"{room}; correct max_position_embeddings or model_max_length"
        )
    types = next(
        (
            m
            for name, m in model.named_modules()
            if isinstance(m, nn.Embedding) and name.endswith("token_type_embeddings")
        ),
        None,
    )
    if (types is None and "token_type_ids" not in signature(model.forward).parameters) or (
        types is not None and types.num_embeddings < 2
    ):
        tokenizer.model_input_names = [
            name for name in tokenizer.model_input_names if name != "token_type_ids"
        ]
    return tokenizer


def _room(tokenizer: Any, longest: int | None, folder: Path) -> int:
    """Tokens of an input at most, by what the tokenizer says and the model has positions for."""
    said = tokenizer.model_max_length
    if not isinstance(said, int | float) or isinstance(said, bool) or not said >= 1:
        raise UserError(
            f"model_max_length must be a number above 0 in {folder / 'tokenizer_config.json'}, got "
            f"{one_line(repr(said), 60)}; correct it"
        )
    return int(min(said, 10**30 if longest is None else longest))

"""The names and shapes of a checkpoint's tensors against those of the model. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from sdq.models.families import FAMILIES
from sdq.models.tensors import BUFFERS, Shape, Tensor, shown
from sdq.settings import UserError, one_line

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
# modules that give the logits of a task
_ANSWERS = ("classifier", "score", "logits_proj", "sequence_summary", "classification_head")
# of tasks: in the way of no new head
_HEADS = re.compile(rf"^(?:{'|'.join(_ANSWERS)}|pre_classifier|head|decoder)\.")
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
        components = name.split(".")
        if inside := [part for part in components if part in _WRAPPERS]:
            last = len(components) - components[::-1].index(inside[-1])
            return ".".join(
                [
                    *(
                        components[:last]
                        if all(part in _WRAPPERS for part in components[:last])
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
    """What to say if the files do not have tensors of the encoder.

    folder: of the model, for errors
    lost: the names of those that are missing
    tensors: the names of those that are there
    prefix: that names of the encoder begin with
    """
    layers = 1 + _last_layer(tensors)
    if other := foreign(tensors, prefix):
        remedy = (
            f"the names of the weights begin with {other!r}, the prefix of another architecture "
            f"(that of its model_type is {prefix!r}): correct model_type in config.json, or take "
            "the config.json that was saved with these weights"
        )
    elif all((match := _LAYER.search(name)) and int(match[1]) >= layers > 0 for name in lost):
        remedy = (
            f"the weights have {layers} layers: correct num_hidden_layers in config.json, or take "
            "the config.json that was saved with these weights"
        )
    else:
        remedy = "copy the folder again, or take the config.json that was saved with these weights"
    return UserError(
        f"the weights in {folder} must be those of its config.json, they lack {len(lost)} tensors "
        f"of the encoder ({shown(lost)}); {remedy}"
    )


def _last_layer(names: Iterable[str]) -> int:
    """The highest number of a layer in names of tensors; -1 if none has one."""
    return max((int(match[1]) for name in names if (match := _LAYER.search(name))), default=-1)


def without_a_place(
    names: Iterable[str], folder: Path, layers: int, new_head: bool
) -> UserError | None:
    """What to say if a file has tensors that the model does not: None if all of them are known to
    be harmless.

    folder: of the model, for errors
    names: of the tensors that the model has no place for
    layers: how many the model has
    new_head: whether it gets another head, or none; then heads of tasks are harmless

    Position numbers, poolers and the heads of pretraining always are, under the names that
    transformers gives them.
    """
    lost = sorted(
        n
        for n in names
        if not (BUFFERS.search(n) or _OTHER_HEADS.fullmatch(n) or (new_head and _HEADS.search(n)))
    )
    if not lost:
        return None
    if any(_ADAPTERS.search(name) for name in lost):
        remedy = _MERGE
    elif any("distance_embedding" in name or "relative" in name for name in lost):
        remedy = (
            "relative positions (position_embedding_type) are no longer computed by transformers "
            "for this architecture: take a model with absolute positions"
        )
    elif _last_layer(lost) >= layers:
        remedy = (
            f"num_hidden_layers in config.json says {layers}: correct it, or take the config.json "
            "that was saved with these weights"
        )
    else:
        remedy = (
            "without them it would be another model: take one whose architecture transformers "
            "has, with the config.json it was saved with"
        )
    return _homeless(lost, folder, remedy)


def placed(name: str, wanted: Collection[str], prefix: str) -> str | None:
    """The name that transformers gives a tensor of a file in a model; None if it has none.

    name: in the file
    wanted: the names in the model
    prefix: of the encoder in a model with a head, which one of the two may lack
    """
    for old, new in (("gamma", "weight"), ("beta", "bias")):
        if name.endswith(f"LayerNorm.{old}"):
            name = name.removesuffix(old) + new
    ways = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
    return next((way for way in ways if way in wanted), None)


def crowded(at: Mapping[str, str | None], folder: Path) -> UserError | None:
    """What to say if two tensors of the files have one place in the model, of which only one can be
    taken; None if none do. `at`: name in the files -> place."""
    there: dict[str, str] = {}
    for name, place in at.items():
        if place is not None and (other := there.setdefault(place, name)) != name:
            return UserError(
                f"every place in the model must have one tensor, {shown([other, name])} in "
                f"{folder} have the same; take one of the two out"
            )
    return None


def misshapen(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Shape], prefix: str
) -> dict[str, tuple[Shape, Shape]]:
    """Name in the model -> (shape in the file, shape that the model wants), where they differ.

    tensors: of the file, by name
    wanted: name in the model -> shape
    prefix: as of `placed`
    """
    pairs = ((placed(name, wanted, prefix), t.shape) for name, t in tensors.items())
    return {at: (shape, wanted[at]) for at, shape in pairs if at and shape != wanted[at]}


def _homeless(lost: list[str], folder: Path, remedy: str) -> UserError:
    return UserError(
        f"every tensor of the weights must have a place in the model, {shown(lost)} in {folder} "
        f"{'has' if len(lost) == 1 else 'have'} none; {remedy}"
    )

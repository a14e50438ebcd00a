"""A model's head: its outputs in the order of a task's labels, and what it answers beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdq.data.schemes import foreign
from sdq.data.tagging import SPAN_METRICS
from sdq.io.lazy import torch
from sdq.models.label_matching import Joint, is_number
from sdq.settings import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sdq.data.task import Task


def joined_(model: nn.Module, joint: Joint, labels: Sequence[str], where: Path) -> None:
    """Put the outputs of a model's head into the order of a task's labels, the others after them,
    and name them so in its configuration.

    model: with a head of N outputs
    joint: which output becomes which
    labels: of the task
    where: the model's config.json, for errors

    UserError for a head whose outputs cannot be put into another order.
    """
    if joint.reordered:
        _permute_(model, joint.order, where)
    config: Any = model.config
    config.id2label = dict(enumerate([*labels, *joint.extra]))
    config.label2id = {name: i for i, name in config.id2label.items()}
    setattr(model, "extra_labels", joint.extra)  # noqa: B010
    setattr(model, "output_order", joint.order)  # noqa: B010
    if joint.remark:
        remark_(model, joint.remark)


def answered(model: nn.Module, logits: Tensor) -> Tensor:
    """Logits [..., C] -> the outputs with the largest [...]; of equal ones the first in the order
    of the checkpoint, as by argmax before the head was permuted."""
    if (order := getattr(model, "output_order", None)) is None:
        return logits.argmax(-1)
    place = torch.tensor(order, device=logits.device).argsort()
    return place[logits[..., place].argmax(-1)]


def remark_(model: nn.Module, said: str) -> None:
    """Add a sentence that is shown with the results of a model (see
    `sdq.models.structure.remarks`)."""
    setattr(model, "loading_remarks", (*getattr(model, "loading_remarks", ()), said))  # noqa: B010


def loading_remarks(model: nn.Module) -> tuple[str, ...]:
    """What was permuted or assumed when the model was loaded."""
    return tuple(
        said for module in model.modules() for said in getattr(module, "loading_remarks", ())
    )


def widened(task: Task, model: nn.Module) -> Task:
    """The task with the names of what the model can answer beyond its labels (`Task.extra`).
    UserError in a ranking, if such a name is no number."""
    extra = tuple(getattr(model, "extra_labels", ()))
    if task.kind == "token":
        extra = _without_space(extra, task.labels)
        task = _in_scheme(task, extra)
    if (
        "ndcg" in (task.metric, *task.beside)
        and (odd := next((name for name in extra if not is_number(name)), None)) is not None
    ):
        raise UserError(
            "every label of a model that ranks must be a number, it can also answer "
            f"{one_line(odd, 60)!r}; take a model that was trained on this task"
        )
    return replace(task, extra=extra) if extra else task


def _in_scheme(task: Task, extra: Sequence[str]) -> Task:
    """The task, with what is to be said where a model can answer with tags of another scheme.
    UserError where none of its spans would be counted."""
    if task.tagging is None or not {task.metric, *task.beside} & {*SPAN_METRICS}:
        return task
    wrong, said = foreign(task.tagging, task.labels, extra)
    if wrong:
        raise UserError(wrong)
    return replace(task, remarks=(*task.remarks, said)) if said else task


def _without_space(names: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Names without white space, as answers are kept with a space between; none is a label or
    another's, as it would be counted as that one."""
    spaceless: list[str] = []
    for name in ("_".join(name.split()) for name in names):
        while name in labels or name in spaceless:
            name += "_"
        spaceless.append(name)
    return tuple(spaceless)


def _permute_(model: nn.Module, order: Sequence[int], where: Path) -> None:
    """Reorder the rows of the Linear that gives the logits. Which one it is shows in a forward
    pass; a second one shows that it was."""
    nn, at = torch.nn, torch.tensor(order)
    seen: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == len(order)
    ]
    try:
        before = _logits(model)
    finally:
        for hook in hooks:
            hook.remove()
    last = [
        name
        for name, out in seen.items()
        if out.numel() == before.numel() and _equal(out.reshape(before.shape), before)
    ]
    if last:
        linear: Any = model.get_submodule(last[-1])
        with torch.no_grad():
            linear.weight.copy_(linear.weight[at].clone())
            if linear.bias is not None:
                linear.bias.copy_(linear.bias[at].clone())
    if not last or not torch.allclose(
        _logits(model), before[..., at], rtol=1e-4, atol=1e-6, equal_nan=True
    ):
        raise UserError(
            "the head of this model must be one whose outputs can be put into another order, that "
            f"of {type(model).__name__} in {where.parent} cannot; list the task's `labels` in the "
            "model's order"
        )


def _equal(one: Any, two: Any) -> bool:
    return bool(torch.allclose(one, two, rtol=0, atol=0, equal_nan=True))


def _logits(model: nn.Module) -> Any:
    config: Any = model.config
    ids = torch.arange(4)[None] % int(config.vocab_size)  # [1, 4]: any tokens will do
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

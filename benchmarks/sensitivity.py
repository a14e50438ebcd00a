"""What it costs to learn which module breaks the model, and how right the estimate is: `python -m
benchmarks.sensitivity`.

1. The exact scan of all modules of `mini` against the same scan without reuse, which must give the
same table bit for bit. 2. The estimate from gradients against an FP32 fine-tuning step on the same
batch. 3. Spearman's rho of estimate and exact scan, 128 test sentences in 15 languages.

Times are interleaved within one process; medians of the ratios are printed as JSON with all
repetitions. Ratios travel, times do not.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator

import torch
from torch import nn

from benchmarks.costs import _seconds, _stepper
from sdq.analyses.fisher import agreement, estimate
from sdq.analyses.sensitivity import scan
from sdq.cli.allocator import keep_freed_memory
from sdq.data.batches import Encoded, encode
from sdq.data.registry import load_task
from sdq.models.checkpoint import folder_of
from sdq.models.loading import load
from sdq.quant.rewrite import rewrite
from sdq.recipe import PRESETS

TASK = "intent"


def _sample(sentences: int) -> tuple[nn.Module, Encoded, list[str]]:
    """(teacher, that many test sentences, their languages)"""
    task = load_task(TASK)
    teacher, tokenizer = load(folder_of("mini", TASK), task.kind, task.labels)
    chosen = random.Random(0).sample(task.examples("test"), sentences)
    return teacher, encode(chosen, task, tokenizer), [e.language for e in chosen]


def scans(repeats: int = 7, sentences: int = 24) -> list[tuple[float, bool]]:
    """(time with reuse / time without, are both tables equal bit for bit) of the scan of all
    modules, both measures."""
    keep_freed_memory()  # as the command line does
    teacher, data, languages = _sample(sentences)
    student = rewrite(teacher, PRESETS["ptq-w4a8"].rules)
    scan(student, data, languages)  # measures the weights' ranges, once and for all
    found = []
    for _ in range(repeats):
        tables = []
        part = _seconds(lambda tables=tables: tables.append(scan(student, data, languages)))
        whole = _seconds(
            lambda tables=tables: tables.append(scan(student, data, languages, reuse=False))
        )
        found.append((part / whole, tables[0].equals(tables[1])))
    return found


def estimates(repeats: int = 10) -> list[float]:
    """Time of the estimate on a batch of 32 / time of an FP32 fine-tuning step on it."""
    teacher, data, _ = _sample(32)
    student, tuned = rewrite(teacher, PRESETS["ptq-w4a8"].rules), rewrite(teacher, ())
    for name, parameter in tuned.named_parameters():
        parameter.requires_grad_("embeddings" not in name)
    step, batch = _stepper(tuned, teacher, ()), next(data.in_order(32))
    pairs = [
        (_seconds(lambda: estimate(student, data)), _seconds(lambda: step(batch)))
        for _ in range(repeats)
    ]
    return [mine / theirs for mine, theirs in pairs[2:]]


def _rows() -> Iterator[dict[str, object]]:
    found = scans()
    yield {
        "what": "exact scan of all modules / the same without reuse",
        "median": round(statistics.median(r for r, _ in found), 2),
        "limit": 0.6,
        "all": [round(r, 2) for r, _ in found],
        "equal bit for bit": all(equal for _, equal in found),
    }
    ratios = estimates()
    yield {
        "what": "estimate of all modules / FP32 fine-tuning step",
        "median": round(statistics.median(ratios), 2),
        "limit": 2,
        "all": [round(r, 2) for r in ratios],
    }
    for recipe in ("ptq-w4a8", "ptq-w2a8"):
        teacher, data, languages = _sample(128)
        student = rewrite(teacher, PRESETS[recipe].rules)
        table, exact = estimate(student, data), scan(student, data, languages, ("one",))
        rho, modules = agreement(table, exact)
        kl = exact[exact["language"] == "all"].set_index("module")["kl"]
        yield {
            "what": f"Spearman's rho of estimate and exact scan, {recipe}",
            "rho": round(rho, 3),
            "limit": 0.8,
            "modules": modules,
            "median of exact / estimate": round(
                float((kl / table.set_index("module")["estimate"]).median()), 2
            ),
        }


if __name__ == "__main__":
    print(f"threads: {torch.get_num_threads()}")
    for row in _rows():
        print(json.dumps(row), flush=True)

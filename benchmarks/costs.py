"""What the engine costs, as ratios within one process: `python -m benchmarks.costs` (or `make
bench`).

1. A whole PTQ run on an empty store against the two plain evaluations it must contain (FP32 and
quantized). 2. One SDQ step against one FP32 fine-tuning step, on the same batches: with the dropout
each is trained with, and with the same in both.

Everything is interleaved; medians of the ratios are printed as JSON with all repetitions. Ratios
travel, times do not.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from sdq.data.batches import encode
from sdq.data.registry import load_task
from sdq.evaluate.predict import predict
from sdq.models.checkpoint import folder_of
from sdq.models.loading import load
from sdq.pipeline.run import run
from sdq.quant.rewrite import rewrite
from sdq.recipe import PRESETS
from sdq.store import Store
from sdq.train.loop import Watched, losses, without_dropout_


def _seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def ptq_run(repeats: int = 3) -> list[float]:
    """Ratio of a whole PTQ run (15 languages, errors through depth, stored) to two plain
    evaluations."""
    task = load_task("intent")
    teacher, tokenizer = load(folder_of("mini", "intent"), task.kind, task.labels)
    student = rewrite(teacher, PRESETS["ptq-w4a8"].rules)
    examples = task.examples("test")
    ratios = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as empty:
            whole = _seconds(
                lambda: run(
                    PRESETS["ptq-w4a8"], "mini", "intent", Store(Path(empty) / "runs", shipped=None)
                )
            )
        plain = sum(
            _seconds(lambda model=model: predict(model, encode(examples, task, tokenizer)))
            for model in (teacher, student)
        )
        ratios.append(whole / plain)
    return ratios


def sdq_step(steps: int = 40, tuned: bool = True, students: bool = False) -> dict[str, list[float]]:
    """Ratios of a QAT and of an SDQ Att-KLD step to an FP32 fine-tuning step on the same batch.

    `tuned` and `students`: whether dropout is on in fine-tuning (as `sdq finetune` has it) and in
    the students (the presets have it off).
    """
    task = load_task("intent")
    teacher, tokenizer = load(folder_of("mini", "intent"), task.kind, task.labels)
    data = encode(task.examples("train", ("en",)), task, tokenizer)
    batches = data.shuffled(32, 0)
    steppers = {}
    for name in ("fp32", "qat-w4a8", "sdq-att-kld-w4a8"):
        recipe = PRESETS[name]
        model = rewrite(teacher, recipe.rules)
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_("embeddings" not in parameter_name)
        if not (tuned if name == "fp32" else students):
            without_dropout_(model)
        terms = recipe.training.distillation if recipe.training else ()
        steppers[name] = _stepper(model, teacher, terms)
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(steps):
        batch = next(batches)
        for name, step in steppers.items():
            times[name].append(_seconds(lambda step=step, batch=batch: step(batch)))
    return {
        name: [b / a for a, b in zip(times["fp32"], times[name], strict=True)][5:]
        for name in times
        if name != "fp32"
    }


def _stepper(model, teacher, terms):  # type: ignore[no-untyped-def]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True
    )
    student, guide = Watched(model, terms), Watched(teacher, terms)
    model.train()

    def step(batch) -> None:  # type: ignore[no-untyped-def]
        parts = losses(student, guide, batch, terms, torch.ones(len(batch.at), dtype=torch.bool))
        loss = parts["ce"] + sum(term.weight * parts[term.kind] for term in terms)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        torch.autograd.graph.increment_version(
            [p for p in model.parameters() if p.requires_grad]
        )  # as the loop does: weights have changed

    return step


def _rows() -> Iterator[dict[str, object]]:
    whole = ptq_run()
    yield {
        "what": "PTQ run / (FP32 evaluation + quantized evaluation)",
        "median": round(statistics.median(whole), 2),
        "limit": 2.5,
        "all": [round(r, 2) for r in whole],
    }
    for how, tuned, students in (
        ("as both are trained", True, False),
        ("dropout in both", True, True),
        ("dropout in neither", False, False),
    ):
        for name, ratios in sdq_step(tuned=tuned, students=students).items():
            yield {
                "what": f"{name} step / FP32 fine-tuning step, {how}",
                "median": round(statistics.median(ratios), 2),
                "limit": 1.6 if name.startswith("sdq") else None,
                "quartiles": [round(q, 2) for q in statistics.quantiles(ratios, n=4)],
            }


if __name__ == "__main__":
    print(f"threads: {torch.get_num_threads()}")
    for row in _rows():
        print(json.dumps(row), flush=True)

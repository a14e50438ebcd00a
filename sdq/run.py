"""The one path: recipe + model + task -> a stored run. Imports torch only when there is something to compute."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sdq import files
from sdq.boundary import begun, boundary
from sdq.checkpoint import address, folder_of, ready, remedy
from sdq.data.task import Example, Task
from sdq.data.tasks import fingerprint as task_fingerprint
from sdq.data.tasks import load_task
from sdq.identity import weights_of
from sdq.recipe import Recipe
from sdq.report import Report
from sdq.settings import UserError
from sdq.store import Store, run_id

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from sdq.data.batches import Encoded

Progress = Callable[[dict[str, Any]], None]
ERROR_SENTENCES = 64
INSPECTED = 8  # sentences per language


@boundary()
def run(recipe: Recipe, model: str, task_name: str, store: Store, progress: Progress = lambda event: None) -> Report:
    """Do what the recipe says, or return the stored result if it was done before.

    Whatever fails leaves as a UserError, and is written to the run's events too (see sdq.boundary).
    """
    data, model = task_fingerprint(task_name), address(model)
    weights = weights_of(model, task_name, fetch=True)
    run = run_id(recipe, weights, data)
    if store.done(run, weights=True):
        with contextlib.suppress(OSError):  # of a process killed after its last word; a folder that cannot be written has none
            if (store.folder / run / files.LOCK).exists():
                with store.alone(run):
                    store.checkpoint(run).unlink(missing_ok=True)
        return store.report(run)
    task = load_task(task_name)  # data that cannot be read start no run
    if task.kind == "retrieval" and recipe.training is not None:
        raise UserError(f"a training must have labels, the retrieval task {task.name} has none; choose a recipe without training (PTQ)")
    ready(model, task.name, head=task.kind != "retrieval")

    def tell(event: dict[str, Any]) -> None:
        store.tell(run, event)
        progress(event)

    with store.alone(run, lambda: progress({"event": "stage", "name": "wait", "text": "Waiting: another process computes this run"})):
        if store.done(run, weights=True):  # it was
            return store.report(run)
        begun(store.folder / run, tell)
        damage = store.set_aside(run)
        store.begin(run, {"recipe": recipe.model_dump(mode="json"), "model": model, "task": task.name, "weights": weights, "data": data})
        if damage is not None:
            tell({"event": "damaged", "message": f"the earlier result is set aside and computed anew: {damage}"})
        return _compute(recipe, model, task, store, run, run_id(Recipe(), weights, data), {"data": data, "weights": weights}, tell)


def _compute(recipe: Recipe, model: str, task: Task, store: Store, run: str, plain: str, made_of: dict[str, str], tell: Progress) -> Report:
    from sdq.data.batches import encode
    from sdq.data.check import bearing
    from sdq.evaluate import outcomes, predict, scores, scores_beside, watched
    from sdq.heads import widened
    from sdq.inspect.activations import activations
    from sdq.inspect.depth import depth
    from sdq.inspect.errors import layer_errors, size_bytes
    from sdq.inspect.weights import weights
    from sdq.models import remarks
    from sdq.quant.migrate import migrate
    from sdq.quant.rewrite import calibrate_, quantizers, rewrite
    from sdq.retrieval import load_for
    from sdq.train.loop import frozen_by, train_
    from sdq.train.resume import write

    seconds: dict[str, float] = {}
    watch = _Watch(seconds, tell)
    with watch("load", "Reading the model and the sentences"):
        teacher, tokenizer = load_for(task, folder_of(model, task.name), remedy(model, task.name))
        task = widened(task, teacher)
        test = task.examples("test")
        calibrated_on = calibration_examples(recipe, task)
        data = encode(test, task, tokenizer)
        if data.cut:
            tell({"event": "cut", "split": "test", "sentences": data.cut, "of": len(test), "longest": task.longest})

    def evaluate(what: nn.Module) -> pd.DataFrame:
        def said(done: int) -> None:
            tell({"event": "evaluate", "done": done, "of": len(test)})

        return outcomes(test, *predict(what, data, said), task)

    with watch("reference", "Scoring the FP32 model"):
        reference = _reference(store, run, plain, lambda: evaluate(teacher))
        noticed = [*bearing(task), *_of_answers(task, reference)]
    with watch("calibrate", "Measuring activation ranges"):
        calibration = encode(calibrated_on, task, tokenizer)

        def seen(what: nn.Module) -> Iterator[dict[str, Tensor]]:
            return watched(what, calibration, recipe.calibration.batch_size)

        def calibrate(what: nn.Module) -> None:
            try:
                calibrate_(what, seen(what))
            except (ValueError, RuntimeError):
                predict(teacher, calibration)  # an observer may stumble over numbers that are not finite before they reach the logits
                raise

        base = teacher if recipe.migration is None else migrate(teacher, seen(teacher), recipe.migration)
        student = rewrite(base, recipe.rules, share=frozen_by(recipe.training, base))
        calibrate(student)
    history = None
    if recipe.training is not None:
        with watch("train", "Training the quantized student"):
            dev = task.examples("dev", (task.labelled,))
            dev_data = encode(dev, task, tokenizer)
            unlabelled = encode(task.examples("train", task.zero_shot), task, tokenizer) if recipe.training.unlabelled else None
            history = train_(
                student, encode(task.examples("train", (task.labelled,)), task, tokenizer), recipe.training,
                lambda what: scores(outcomes(dev, *predict(what, dev_data), task), task).by_language[task.labelled],
                teacher=teacher, unlabelled=unlabelled, before_check=calibrate, seed=recipe.seed, progress=tell,
                checkpoint=store.checkpoint(run),
            )  # fmt: skip
    with watch("evaluate", "Scoring the quantized model"):
        result = evaluate(student) if recipe.rules else reference
    with watch("errors", "Measuring rounding errors through depth"):
        sample = encode(random.Random(0).sample(test, min(ERROR_SENTENCES, len(test))), task, tokenizer)
        moved = teacher if recipe.training else None
        layers = layer_errors(student, moved, sample) if quantizers(student) else ()
    with watch("inspect", "Looking into weights and activations"):
        examples = looked_at(task)
        encoded, languages = encode(examples, task, tokenizer), [e.language for e in examples]
        store.keep(run, "weights", weights(student))
        for name, table in zip(("activations", "profiles"), activations(student, encoded, languages), strict=True):
            store.keep(run, name, table)
        if quantizers(student):
            for name, table in zip(("depth", "tokens"), depth(student, moved, encoded, languages), strict=True):
                store.keep(run, name, table)
        store.keep(run, "sample", _sample(examples, encoded, tokenizer))
    if recipe.training is not None:
        write(store.folder / run / "model.safetensors", student.state_dict())
    named = {"task_name": task.title} if task.title else {}
    before, after = (scores_beside(table, test, task) for table in (reference, result))
    report = Report(
        run=run, recipe=recipe.model_dump(mode="json"), method=recipe.method, model=model, task=task.name, metric=task.metric,
        labelled=task.labelled, reference=scores(reference, task), quantized=scores(result, task), layers=layers,
        beside={name: (before[name], after[name]) for name in task.beside},
        history=None if history is None else {"steps": history.steps, "checks": history.checks, "kept": history.kept},
        seconds={k: round(v, 3) for k, v in seconds.items()}, size_bytes=size_bytes(student), provenance=_provenance(recipe, data, [*noticed, *remarks(teacher)]) | named | made_of,
    )  # fmt: skip
    store.finish(report, result)
    return report


def _of_answers(task: Task, reference: pd.DataFrame) -> list[str]:
    """What is to be said where the answers are written in another scheme than the task's tags."""
    from sdq.data.tagging import SPAN_METRICS, mismatched

    if task.tagging is None or not {task.metric, *task.beside} & {*SPAN_METRICS}:
        return []
    said = mismatched(task.tagging, (answer.split(" ") for answer in reference["answer"] if answer))
    return [said] if said else []


def _reference(store: Store, run: str, plain: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The FP32 outcomes, from the stored FP32 run `plain` if there is one; otherwise computed."""
    return store.sentences(plain) if plain != run and store.done(plain) else compute()


def calibration_examples(recipe: Recipe, task: Task) -> list[Example]:
    """The sentences static ranges are measured on: a seeded sample of the train split. UserError for a language that the task does not have."""
    pool = task.examples("train", calibration_languages(recipe, task))
    return random.Random(recipe.seed).sample(pool, min(recipe.calibration.sentences, len(pool)))


def calibration_languages(recipe: Recipe, task: Task) -> tuple[str, ...]:
    """The languages that static ranges are measured on. UserError for one that the task does not have."""
    chosen = recipe.calibration.languages
    if isinstance(chosen, str):
        return (task.labelled,) if chosen == "labelled" else task.languages
    if unknown := [code for code in chosen if code not in task.languages]:
        raise UserError(f"the languages to calibrate on must be among {', '.join(task.languages)}, those of task {task.name}; got {unknown[0]!r}")
    return chosen


def looked_at(task: Task) -> list[Example]:
    """The test sentences that weights, activations and errors are looked at on: the same ids in every language, where ids are shared."""
    chosen, there = [], {e.language for e in task.examples("test")}
    for code in (code for code in task.languages if code in there):
        mine = sorted(task.examples("test", (code,)), key=lambda e: hashlib.sha256(e.id.removeprefix(code).encode()).digest())
        chosen += mine[:INSPECTED]
    return chosen


def _sample(examples: list[Example], data: Encoded, tokenizer: Any) -> pd.DataFrame:
    """One row per sentence looked at: sentence (its position), id, language, tokens."""
    import pandas as pd

    rows = [(i, e.id, e.language, tokenizer.convert_ids_to_tokens(ids)) for i, (e, ids) in enumerate(zip(examples, data.ids, strict=True))]
    return pd.DataFrame(rows, columns=["sentence", "id", "language", "tokens"])


class _Watch:
    """Says what begins and measures how long it took, in seconds."""

    def __init__(self, seconds: dict[str, float], tell: Progress) -> None:
        self.seconds, self.tell = seconds, tell

    def __call__(self, name: str, text: str) -> _Watch:
        self.name = name
        self.tell({"event": "stage", "name": name, "text": text})
        return self

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.started


def _provenance(recipe: Recipe, test: Encoded, remarks: list[str]) -> dict[str, Any]:
    import torch
    import transformers

    from sdq.store import ENGINE

    return {
        "seed": recipe.seed, "test_sentences": len(test), "test_sentences_cut": test.cut, "torch": torch.__version__, "transformers": transformers.__version__,
        "engine": ENGINE, **({"remarks": "; ".join(said.removesuffix(".") for said in remarks)} if remarks else {}),
    }  # fmt: skip

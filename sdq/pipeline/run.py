"""The one path: recipe + model + task -> a stored run. Imports torch only when there is something
to compute."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sdq.data.registry import load_task
from sdq.data.task import Example, Task
from sdq.io import files
from sdq.io.boundary import begun, boundary
from sdq.io.events import Progress
from sdq.io.garbage import settled, uncollected
from sdq.models.checkpoint import ready, remedy
from sdq.pipeline.request import Request
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import ENGINE, Store

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from sdq.data.batches import Encoded
    from sdq.train.resume import History

INSPECTED = 8  # sentences per language


@boundary()
def run(
    recipe: Recipe,
    model: str,
    task_name: str,
    store: Store,
    progress: Progress = lambda event: None,
) -> Report:
    """Do what the recipe says, or return the stored result if it was done before.

    Whatever fails leaves as a UserError, and is written to the run's events too (see
    sdq.io.boundary).
    """
    request = Request.of(recipe, model, task_name)
    run = request.run
    if store.done(run, weights=True):
        _tidy(run, store)
        return store.report(run)
    task = load_task(task_name)  # data that cannot be read start no run
    if task.kind == "retrieval" and recipe.training is not None:
        raise UserError(
            f"a training must have labels, the retrieval task {task.name} has none; choose a "
            "recipe without training (PTQ)"
        )
    ready(request.model, task.name, head=task.kind != "retrieval")

    def tell(event: dict[str, Any]) -> None:
        store.tell(run, event)
        progress(event)

    waits = {"event": "stage", "name": "wait", "text": "Waiting: another process computes this run"}
    with store.alone(run, lambda: progress(waits)):
        if store.done(run, weights=True):  # it was
            return store.report(run)
        begun(store.folder / run, tell)
        damage = store.set_aside(run)
        asked = {
            "recipe": recipe.model_dump(mode="json"),
            "model": request.model,
            "task": task.name,
        }
        store.begin(run, asked | {"weights": request.weights, "data": request.data})
        if damage is not None:
            tell(
                {
                    "event": "damaged",
                    "message": f"the earlier result is set aside and computed anew: {damage}",
                }
            )
        computation = _Computation(request, task, store, tell)
        with settled():
            return computation.report()


def _tidy(run: str, store: Store) -> None:
    """Remove what a process left that was killed after its last word; a folder that cannot be
    written has none."""
    with contextlib.suppress(OSError):
        if (store.folder / run / files.LOCK).exists():
            with store.alone(run):
                store.checkpoint(run).unlink(missing_ok=True)


class _Computation:
    """What a run computes, stage by stage: teacher, reference, student, training, scores, and what
    is seen inside."""

    def __init__(self, request: Request, task: Task, store: Store, tell: Progress) -> None:
        """Read the model and the test sentences. UserError for a model that cannot do the task."""
        from sdq.models.heads import widened
        from sdq.models.retrieval import load_for
        from sdq.pipeline.student import calibration_examples

        self.request, self.recipe, self.store, self.tell = request, request.recipe, store, tell
        self.seconds: dict[str, float] = {}
        with self.stage("load", "Reading the model and the sentences"), uncollected():
            advice = remedy(request.model, task.name)
            self.teacher, self.tokenizer = load_for(task, request.folder, advice)
            request.check(task)
            self.task = task = widened(task, self.teacher)
            self.test = task.examples("test")
            chosen = calibration_examples(self.recipe, task)
            self.data, self.calibration = self.encoded(self.test), self.encoded(chosen)
            if self.data.cut:
                tell(
                    {
                        "event": "cut",
                        "split": "test",
                        "sentences": self.data.cut,
                        "of": len(self.test),
                        "longest": task.longest,
                    }
                )

    def report(self) -> Report:
        """Compute the run, and store it."""
        from sdq.pipeline.student import build_student

        with self.stage("reference", "Scoring the FP32 model"):
            reference = self.reference()
        with self.stage("calibrate", "Measuring activation ranges"):
            student = build_student(self.recipe, self.teacher, self.calibration)
        history = None
        if self.recipe.training is not None:
            with self.stage("train", "Training the student"):
                history = self.train_(student)
        with self.stage("evaluate", "Scoring the result"):
            same = self.recipe.method == "FP32"
            result = reference if same else self.outcomes(student)
        with self.stage("inspect", "Looking into weights and activations"):
            self.look_into(student)
        report = self.written(student, reference, result, history)
        self.store.finish(report, result)
        return report

    @contextlib.contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Say what begins, and keep how long it took, in seconds."""
        self.tell({"event": "stage", "name": name, "text": text})
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def encoded(self, examples: list[Example]) -> Encoded:
        from sdq.data.batches import encode

        return encode(examples, self.task, self.tokenizer)

    def outcomes(self, model: nn.Module) -> pd.DataFrame:
        """What a model answers to the test sentences, see `sdq.evaluate.predict.outcomes`."""
        from sdq.evaluate.predict import outcomes, predict
        from sdq.quant.runtimes import RUNTIMES

        def said(done: int) -> None:
            self.tell({"event": "evaluate", "done": done, "of": len(self.test)})

        forward = RUNTIMES["simulated"](model)
        return outcomes(self.test, *predict(model, self.data, said, forward), self.task)

    def reference(self) -> pd.DataFrame:
        """The outcomes of FP32: from its stored run if there is one; otherwise computed."""
        stored = self.request.reference
        if stored != self.request.run and self.store.done(stored):
            return self.store.sentences(stored)
        return self.outcomes(self.teacher)

    def train_(self, student: nn.Module) -> History:
        """Train the student on the labels of one language, or go on from its checkpoint."""
        from sdq.evaluate.predict import outcomes, predict, scores
        from sdq.pipeline.student import calibrate_student_
        from sdq.train.loop import train_
        from sdq.train.resume import write

        task, training = self.task, self.recipe.training
        assert training is not None
        dev = task.examples("dev", (task.labelled,))
        dev_data = self.encoded(dev)

        def score(model: nn.Module) -> float:
            return scores(outcomes(dev, *predict(model, dev_data), task), task).by_language[
                task.labelled
            ]

        def calibrate(model: nn.Module) -> None:
            calibrate_student_(
                model, self.teacher, self.calibration, self.recipe.calibration.batch_size
            )

        history = train_(
            student,
            self.encoded(task.examples("train", (task.labelled,))),
            training,
            score,
            teacher=self.teacher,
            unlabelled=self.encoded(task.examples("train", task.zero_shot))
            if training.unlabelled
            else None,
            before_check=calibrate,
            seed=self.recipe.seed,
            progress=self.tell,
            checkpoint=self.store.checkpoint(self.request.run),
        )
        write(self.store.folder / self.request.run / "model.safetensors", student.state_dict())
        return history

    def look_into(self, student: nn.Module) -> None:
        """Keep the tables of weights, activations and errors."""
        from sdq.analyses.activations import activations
        from sdq.analyses.layerwise_error import layerwise_error
        from sdq.analyses.weights import weights
        from sdq.quant.rewrite import quantizers

        run, keep = self.request.run, self.store.keep
        examples = inspected_examples(self.task)
        data, languages = self.encoded(examples), [e.language for e in examples]
        keep(run, "weights", weights(student))
        for name, table in zip(
            ("activations", "profiles"), activations(student, data, languages), strict=True
        ):
            keep(run, name, table)
        if quantizers(student):
            teacher = self.teacher if self.recipe.training else None
            for name, table in zip(
                ("depth", "tokens"),
                layerwise_error(student, teacher, data, languages),
                strict=True,
            ):
                keep(run, name, table)
        keep(run, "sample", _sample(examples, data, self.tokenizer))

    def written(
        self,
        student: nn.Module,
        reference: pd.DataFrame,
        result: pd.DataFrame,
        history: History | None,
    ) -> Report:
        """The report of what came out."""
        from sdq.evaluate.predict import scores, secondary_scores
        from sdq.quant.size import size_bytes

        request, task = self.request, self.task
        before, after = (secondary_scores(table, self.test, task) for table in (reference, result))
        return Report(
            run=request.run,
            recipe=self.recipe.model_dump(mode="json"),
            method=self.recipe.method,
            model=request.model,
            task=task.name,
            metric=task.metric,
            labelled=task.labelled,
            reference=scores(reference, task),
            quantized=scores(result, task),
            beside={name: (before[name], after[name]) for name in task.beside},
            history=None
            if history is None
            else {"steps": history.steps, "checks": history.checks, "kept": history.kept},
            seconds=self.seconds,
            size_bytes=size_bytes(student),
            provenance=self.provenance(reference, history),
        )

    def provenance(self, reference: pd.DataFrame, history: History | None) -> dict[str, Any]:
        """What the numbers were made of and with, and what is to be remarked on them."""
        import torch
        import transformers

        from sdq.data.check import bearing
        from sdq.models.structure import remarks
        from sdq.train.schedule import cut_short

        answers = _of_answers(self.task, reference)
        said = [*bearing(self.task, self.store.folder.parent), *answers, *remarks(self.teacher)]
        if history is not None and history.unfinished:
            assert self.recipe.training is not None
            said.append(cut_short(self.recipe.training))
        made = {
            "seed": self.recipe.seed,
            "test_sentences": len(self.data),
            "test_sentences_cut": self.data.cut,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "engine": ENGINE,
        }
        made |= {"remarks": "; ".join(text.removesuffix(".") for text in said)} if said else {}
        made |= {"task_name": self.task.title} if self.task.title else {}
        return made | {"data": self.request.data, "weights": self.request.weights}


def _of_answers(task: Task, reference: pd.DataFrame) -> list[str]:
    """What is to be said where the answers are written in another scheme than the task's tags."""
    from sdq.data.schemes import mismatched
    from sdq.data.tagging import SPAN_METRICS

    if task.tagging is None or not {task.metric, *task.beside} & {*SPAN_METRICS}:
        return []
    said = mismatched(task.tagging, (answer.split(" ") for answer in reference["answer"] if answer))
    return [said] if said else []


def inspected_examples(task: Task) -> list[Example]:
    """The test sentences that weights, activations and errors are looked at on, by language in the
    task's order."""
    from sdq.pipeline.student import stratified_sample

    there = {e.language: None for e in task.examples("test")}
    test = [e for code in task.languages if code in there for e in task.examples("test", (code,))]
    return stratified_sample(test, INSPECTED * len(there))


def _sample(examples: list[Example], data: Encoded, tokenizer: Any) -> pd.DataFrame:
    """One row per sentence looked at: sentence (its position), id, language, tokens."""
    import pandas as pd

    tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in data.ids]
    rows = [
        (i, e.id, e.language, of) for i, (e, of) in enumerate(zip(examples, tokens, strict=True))
    ]
    return pd.DataFrame(rows, columns=["sentence", "id", "language", "tokens"])

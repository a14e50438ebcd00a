"""Which analyses there are: what each measures in the model of a run, as tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdq.inspection.settings import Inspection, Tables

if TYPE_CHECKING:
    from sdq.inspection.subject import Subject


@dataclass(frozen=True)
class Analysis:
    """One question about a quantized model. `compute` gives the tables it is answered by, by the
    names in `tables`."""

    title: str
    tables: tuple[str, ...]
    compute: Callable[[Subject, Inspection], Tables]


def _sensitivity(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.sensitivity import alone, changes, table

    found = changes(
        subject.student, subject.data, subject.languages, ("one", "but_one", "all"), how.batch_size
    )
    return {
        "sensitivity": table(subject.student, found),
        "alone": alone(subject.student, found, [e.id for e in subject.examples]),
    }


def _estimate(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.fisher import estimate

    return {"estimate": estimate(subject.student, subject.data, how.batch_size)}


def _parts(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.weights_vs_activations import parts

    return {"parts": parts(subject.student, subject.data, subject.languages, how.batch_size)}


def _floor(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.noise_floor import floor

    return {
        "floor": floor(
            subject.student, subject.data, subject.languages, how.repeats, how.seed, how.batch_size
        )
    }


def _attribution(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.attribution import SENTENCES, drift, words
    from sdq.pipeline.student import stratified_sample

    chosen = stratified_sample(subject.examples, min(how.sentences, SENTENCES))
    data = subject.data.some([subject.examples.index(example) for example in chosen])
    teacher = subject.teacher if subject.recipe.training is not None else None
    found = words(
        subject.student,
        teacher,
        data,
        chosen,
        subject.task.outputs,
        subject.tokenizer,
        seed=how.seed,
    )
    return {"words": found, "drift": drift(found)}


def _conductance(subject: Subject, how: Inspection) -> Tables:
    from sdq.analyses.conductance import conductance

    return {
        "conductance": conductance(
            subject.student,
            subject.data,
            subject.languages,
            subject.tables.get("sensitivity"),
            how.batch_size,
        )
    }


def _why(subject: Subject, how: Inspection) -> Tables:
    from sdq.inspection.root_causes import found

    return found(subject, how)


def _costs(subject: Subject, how: Inspection) -> Tables:
    from sdq.inspection.trials import price

    return price(subject, how)


def _remedies(subject: Subject, how: Inspection) -> Tables:
    from sdq.inspection.trials import tried

    return tried(subject, how)


# name -> analysis, in the order in which they are computed; a later one may read the tables of
# earlier ones through `subject.tables`
ANALYSES: dict[str, Analysis] = {
    "sensitivity": Analysis(
        "Which module breaks the answers, alone and as the only exception",
        ("sensitivity", "alone"),
        _sensitivity,
    ),
    "estimate": Analysis("The same, estimated from gradients", ("estimate",), _estimate),
    "parts": Analysis(
        "Whether the weights or the activations break the answers", ("parts",), _parts
    ),
    "floor": Analysis("How much all this moves by itself: the noise floor", ("floor",), _floor),
    "why": Analysis(
        "Why the worst modules break, and what removing each cause wins", ("why", "mismatch"), _why
    ),
    "costs": Analysis(
        "What each width of each module costs, and what is to be had at which size",
        ("costs", "pareto"),
        _costs,
    ),
    "remedies": Analysis(
        "What helps: other recipes, run and compared with this one", ("remedies",), _remedies
    ),
    "attribution": Analysis(
        "Which words the model looks at, in FP32 and quantized", ("words", "drift"), _attribution
    ),
    "conductance": Analysis(
        "Through which module the damage flows: a second opinion", ("conductance",), _conductance
    ),
}

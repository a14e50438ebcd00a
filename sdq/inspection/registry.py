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


def _sensitivity(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.sensitivity import alone, divergences, scan_table

    measured = divergences(
        subject.student,
        subject.data,
        subject.languages,
        ("one", "but_one", "all"),
        settings.batch_size,
    )
    return {
        "sensitivity": scan_table(subject.student, measured),
        "alone": alone(subject.student, measured, [e.id for e in subject.examples]),
    }


def _estimate(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.fisher import estimate

    return {"estimate": estimate(subject.student, subject.data, settings.batch_size)}


def _weights_vs_activations(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.weights_vs_activations import weights_vs_activations

    return {
        "parts": weights_vs_activations(
            subject.student, subject.data, subject.languages, settings.batch_size
        )
    }


def _noise_floor(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.noise_floor import noise_floor

    return {
        "floor": noise_floor(
            subject.student,
            subject.data,
            subject.languages,
            settings.repeats,
            settings.seed,
            settings.batch_size,
        )
    }


def _attribution(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.attribution import SENTENCES, drift, word_attributions
    from sdq.pipeline.student import stratified_sample

    chosen = stratified_sample(subject.examples, min(settings.sentences, SENTENCES))
    data = subject.data.some([subject.examples.index(example) for example in chosen])
    teacher = subject.teacher if subject.recipe.training is not None else None
    attributions = word_attributions(
        subject.student,
        teacher,
        data,
        chosen,
        subject.task.outputs,
        subject.tokenizer,
        seed=settings.seed,
    )
    return {"words": attributions, "drift": drift(attributions)}


def _conductance(subject: Subject, settings: Inspection) -> Tables:
    from sdq.analyses.conductance import conductance

    return {
        "conductance": conductance(
            subject.student,
            subject.data,
            subject.languages,
            subject.tables.get("sensitivity"),
            settings.batch_size,
        )
    }


def _root_causes(subject: Subject, settings: Inspection) -> Tables:
    from sdq.inspection.root_causes import root_causes

    return root_causes(subject, settings)


def _bitwidth_sensitivity(subject: Subject, settings: Inspection) -> Tables:
    from sdq.inspection.trials import price_widths

    return price_widths(subject, settings)


def _remedies(subject: Subject, settings: Inspection) -> Tables:
    from sdq.inspection.trials import try_remedies

    return try_remedies(subject, settings)


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
        "Whether the weights or the activations break the answers",
        ("parts",),
        _weights_vs_activations,
    ),
    "floor": Analysis(
        "How much all this moves by itself: the noise floor", ("floor",), _noise_floor
    ),
    "why": Analysis(
        "Why the worst modules break, and what removing each cause wins",
        ("why", "mismatch"),
        _root_causes,
    ),
    "costs": Analysis(
        "What each width of each module costs, and what is to be had at which size",
        ("costs", "pareto"),
        _bitwidth_sensitivity,
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

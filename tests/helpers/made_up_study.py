"""Made-up finished runs of a study, light ones: scores and sentences alone, no model."""

from __future__ import annotations

from dataclasses import replace

from sdq.reproduce.plan import MIDI, Job, seeded
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up

NAMES = ("full-integer", "static-per-tensor")
STUDY = replace(  # two of its schemes, both tasks
    MIDI, blocks=tuple((scheme, tasks) for scheme, tasks in MIDI.blocks if scheme.name in NAMES)
)
KEPT = {"FP32": 1.0, "FP32 longer": 1.0, "PTQ": 0.7, "QAT": 0.85, "SDQ": 0.95}  # of FP32's score
SENTENCES = 25  # per language


def add(store: Store, job: Job) -> Report:
    """Write the finished run of a job; seeds differ a little."""
    recipe = seeded(job.preset, job.seed)
    full = made_up.outcomes(1.0, job.task, SENTENCES)
    table = made_up.outcomes(KEPT[recipe.method] - 0.02 * recipe.seed, job.task, SENTENCES)
    report = Report(
        run=STUDY.run_of(job),
        recipe=recipe.model_dump(mode="json"),
        method=recipe.method,
        model=STUDY.model,
        task=job.task,
        metric="accuracy" if job.task == "intent" else "f1",
        labelled="en",
        reference=made_up.scores(full),
        quantized=made_up.scores(table),
        seconds={"evaluate": 1.0},
        size_bytes={"fp32": 24_000_000, "quantized_simulated": 6_400_000},
        provenance={"seed": recipe.seed},
    )
    store.begin(report.run, {"recipe": report.recipe})
    store.finish(report, table)
    return report

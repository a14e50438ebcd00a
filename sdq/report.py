"""Report: what came out of a run, as plain rows. Reading one needs no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import Field, field_serializer, field_validator

from sdq.settings import Settings


def title(task: str) -> str:
    """What a task is called where there is no room for a path: `/home/me/topics/task.json` is "topics"."""
    if task.startswith(("xglue:", "hub:")):
        kind, _, rest = task.partition(":")
        return f"{'XGLUE' if kind == 'xglue' else 'Hub'} {Path(rest).name}"
    path = Path(task)
    return task if path.suffix != ".json" else path.parent.name if path.stem == "task" and path.parent.name else path.stem


class Metric(Settings):
    """Unit and direction of a number, said once."""

    name: str
    unit: str
    higher_is_better: bool
    kinds: tuple[str, ...] = Field((), description="Of a score: the kinds of task (see sdq.data.taskfile) it is for")

    @property
    def of_words(self) -> bool:
        """Whether it scores tags of words: answers and positions are those of words then."""
        return self.kinds == ("token",)

    @property
    def inside(self) -> str:
        """Its name inside a sentence: accuracy, F1, nDCG."""
        return self.name if any(c.isupper() or c.isdigit() for c in self.name[1:]) else self.name.lower()


METRICS = {
    "accuracy": Metric(name="Accuracy", unit="%", higher_is_better=True, kinds=("sentence", "pair", "ranking", "retrieval")),
    "f1": Metric(name="F1", unit="%", higher_is_better=True, kinds=("token",)),
    "precision": Metric(name="Precision", unit="%", higher_is_better=True, kinds=("token",)),
    "token_accuracy": Metric(name="Token accuracy", unit="%", higher_is_better=True, kinds=("token",)),
    "ndcg": Metric(name="nDCG", unit="%", higher_is_better=True, kinds=("ranking",)),
    "relative_l2": Metric(name="Relative L2 error", unit="ratio", higher_is_better=False),
    "sqnr": Metric(name="SQNR", unit="dB", higher_is_better=True),
    "size": Metric(name="Size", unit="bytes", higher_is_better=False),
}


class Scores(Settings):
    """Scores in 0..1: the unweighted mean over all languages, over the zero-shot ones (NaN if there is none), and each language's."""

    mean: float
    zero_shot_mean: float
    by_language: dict[str, float]

    @field_validator("zero_shot_mean", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return math.nan if value is None else value

    @field_serializer("zero_shot_mean", when_used="json")
    def _written(self, value: float) -> float | None:
        return None if math.isnan(value) else value  # JSON has no NaN

    @property
    def leading(self) -> float:
        """The zero-shot mean; of a task of one language its score."""
        return self.mean if math.isnan(self.zero_shot_mean) else self.zero_shot_mean


class LayerError(Settings):
    """Rounding error (same weights, quantizers on against off) at the output of one block.

    `local`: only this block quantizes; `accumulated`: everything up to here does. `attention_*` is the same at the
    self-attention context. `teacher_gap` is against the FP32 teacher and exists only for trained students.
    Relative L2 (ratio, lower is better) and SQNR (dB, higher is better).
    """

    block: int
    local_relative_l2: float
    local_sqnr_db: float
    accumulated_relative_l2: float
    accumulated_sqnr_db: float
    attention_accumulated_relative_l2: float
    teacher_gap_relative_l2: float | None = None


class Report(Settings):
    """Everything a page, the command line or a script may want to know of a finished run."""

    run: str
    recipe: dict[str, Any]
    method: str
    model: str
    task: str
    metric: str
    labelled: str
    reference: Scores
    quantized: Scores
    beside: dict[str, tuple[Scores, Scores]] = Field({}, description="Other metrics than the one that counts: name -> (reference, quantized)")
    layers: tuple[LayerError, ...]
    history: dict[str, Any] | None = Field(None, description="Loss terms per step, dev scores, kept step")
    seconds: dict[str, float]
    size_bytes: dict[str, int] = Field(description="fp32 is what the parameters take; quantized is simulated: what the codes and scales would take")
    provenance: dict[str, Any]

    @property
    def on(self) -> str:
        """What its task is called."""
        return title(self.task)

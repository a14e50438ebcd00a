"""Report: what came out of a run, as plain rows. Reading one needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_serializer, field_validator, model_validator

from sdq.settings import Settings


def title(task: str) -> str:
    """What a task is called where there is no room for a path: `/home/me/topics/task.json` is
    "topics"."""
    if task.startswith(("xglue:", "hub:")):
        kind, _, rest = task.partition(":")
        return f"{'XGLUE' if kind == 'xglue' else 'Hub'} {Path(rest).name}"
    path = Path(task)
    return (
        task
        if path.suffix != ".json"
        else path.parent.name
        if path.stem == "task" and path.parent.name
        else path.stem
    )


EVERY = "all"  # in a column of languages: all of them together
NO_ERROR_DB = 200.0  # the signal-to-noise ratio that stands for "no error at all"


class Metric(Settings):
    """Unit and direction of a number, said once."""

    name: str
    unit: str
    higher_is_better: bool
    kinds: tuple[str, ...] = Field(
        (), description="Of a score: the kinds of task (see sdq.data.taskfile) it is for"
    )

    @property
    def of_words(self) -> bool:
        """Whether it scores tags of words: answers and positions are those of words then."""
        return self.kinds == ("token",)

    @property
    def inside(self) -> str:
        """Its name inside a sentence: accuracy, F1, nDCG."""
        return (
            self.name
            if any(c.isupper() or c.isdigit() for c in self.name[1:])
            else self.name.lower()
        )


METRICS = {
    "accuracy": Metric(
        name="Accuracy",
        unit="%",
        higher_is_better=True,
        kinds=("sentence", "pair", "ranking", "retrieval"),
    ),
    "f1": Metric(name="F1", unit="%", higher_is_better=True, kinds=("token",)),
    "precision": Metric(name="Precision", unit="%", higher_is_better=True, kinds=("token",)),
    "token_accuracy": Metric(
        name="Token accuracy", unit="%", higher_is_better=True, kinds=("token",)
    ),
    "ndcg": Metric(name="nDCG", unit="%", higher_is_better=True, kinds=("ranking",)),
    "relative_l2": Metric(name="Relative L2 error", unit="ratio", higher_is_better=False),
    "sqnr": Metric(name="SQNR", unit="dB", higher_is_better=True),
    "size": Metric(name="Size", unit="bytes", higher_is_better=False),
}


Share = Annotated[
    float, Field(ge=0, le=1 + 1e-9, allow_inf_nan=False)
]  # a mean of ones may be rounded up


class Scores(Settings):
    """Scores in 0..1: the unweighted mean over all languages, over the zero-shot ones (NaN if there
    is none), and each language's."""

    mean: Share
    zero_shot_mean: float
    by_language: dict[str, Share] = Field(min_length=1)

    @field_validator("zero_shot_mean")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not (math.isnan(value) or 0 <= value <= 1 + 1e-9):
            raise ValueError("a score must be from 0 to 1")
        return value

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


class History(Settings):
    """What a training told: loss terms per logged step, dev scores, and the step whose weights were
    kept."""

    steps: tuple[dict[str, float], ...]
    checks: tuple[dict[str, float], ...]
    kept: int = Field(ge=0)

    @field_validator("steps", "checks")
    @classmethod
    def _stepped(cls, rows: tuple[dict[str, float], ...]) -> tuple[dict[str, float], ...]:
        if any("step" not in row for row in rows):
            raise ValueError("each row must have its step")
        return rows


class Report(Settings):
    """Everything a page, the command line or a script may want to know of a finished run. Of a
    stored one `within` has been called."""

    run: str
    recipe: dict[str, Any] = Field(
        description="As sdq.recipe.Recipe gives it: name, seed, rules, training"
    )
    method: str
    model: str
    task: str
    metric: str = Field(description="One of METRICS")
    labelled: str
    reference: Scores
    quantized: Scores
    beside: dict[str, tuple[Scores, Scores]] = Field(
        {}, description="Other metrics than the one that counts: name -> (reference, quantized)"
    )
    history: dict[str, Any] | None = Field(
        None, description="Loss terms per step, dev scores, kept step"
    )
    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    size_bytes: dict[str, int] = Field(
        description="fp32 is what the parameters take; quantized_simulated: what the codes and "
        "scales would take"
    )
    provenance: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _without_layers(cls, given: Any) -> Any:
        """Reports of older versions had errors per block, which the table `depth` has more of."""
        return (
            {k: v for k, v in given.items() if k != "layers"} if isinstance(given, dict) else given
        )

    def within(self) -> Report:
        """This report, if it has what pages rely on beyond the types: whoever reads a stored one
        calls this. ValueError that says what is out of bounds."""
        if not {"name", "seed", "rules"} <= self.recipe.keys():
            raise ValueError("recipe must have name, seed and rules")
        if unknown := [name for name in (self.metric, *self.beside) if name not in METRICS]:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {unknown[0][:40]!r}")
        every = [
            self.reference,
            self.quantized,
            *(scores for both in self.beside.values() for scores in both),
        ]
        if any(scores.by_language.keys() != self.quantized.by_language.keys() for scores in every):
            raise ValueError("all scores must be of the same languages")
        sizes = {name: self.size_bytes.get(name, -1) for name in ("fp32", "quantized_simulated")}
        if sizes["fp32"] <= 0 or sizes["quantized_simulated"] < int(self.is_quantized):
            raise ValueError(
                "size_bytes must have fp32 and quantized_simulated, both positive, got "
                f"{self.size_bytes}"
            )
        if self.history is not None:
            History.model_validate(self.history)
        return self

    @property
    def is_reference(self) -> bool:
        """Whether it is the FP32 model as it was, which all others are compared with."""
        return self.method == "FP32"

    @property
    def is_quantized(self) -> bool:
        """Whether anything is quantized: neither in FP32, nor in FP32 trained longer."""
        return bool(self.recipe["rules"])

    @property
    def size(self) -> int:
        """Bytes: of the parameters in FP32; simulated where something is quantized."""
        return self.size_bytes["quantized_simulated" if self.is_quantized else "fp32"]

    @property
    def rank(self) -> tuple[Any, ...]:
        """Where a run stands in a list of runs: by task, width (widest first), method and seed."""
        first: dict[str, Any] = next(iter(self.recipe["rules"]), {})
        specs = [first.get("weight"), first.get("activation")]
        widths = [-spec["bits"] if spec else -32 for spec in specs]
        return (self.on, widths, self.method, self.recipe["name"], self.recipe["seed"], self.run)

    @property
    def on(self) -> str:
        """What its task is called: as its task file said when it was run."""
        return str(self.provenance.get("task_name") or title(self.task))


def against_fp32(reports: Iterable[Report]) -> list[Report]:
    """Those that are compared with FP32 in their order, quantized ones first: what a picture says
    is of its first run, and FP32 trained longer is only their control."""
    return sorted((r for r in reports if not r.is_reference), key=lambda r: not r.is_quantized)

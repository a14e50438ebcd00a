"""What to do about a quantized run: recipes that may mend it, chosen by what each width of each
module costs, and what they won when they were run.

The costs come from unlabelled train sentences (see `sdq.analyses.costs`); the test split only
measures. Torch is imported only to compute.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import pandas as pd

from sdq.quant.mixed_precision import (
    FP,
    Choice,
    choice_of,
    choose,
    keep_worst,
    pareto,
    rules,
    with_ranges,
)
from sdq.quant.spec import WeightSpec
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store.identity import identify

if TYPE_CHECKING:
    from torch import nn

    from sdq.inspection.settings import Inspection
    from sdq.inspection.subject import Subject

SHARES = (0.8, 1.0, 1.25, 1.5)  # sizes of the mixed recipes, as shares of the run's own
WORST = (1, 2, 4)  # how many modules are kept in FP32
STRENGTH = 0.5  # of the migration (Xiao et al. 2023, section 4)
_COLUMNS = [
    "remedy",
    "what",
    "recipe",
    "bytes",
    "predicted",
    "score",
    "zero_shot",
    "change",
    "low",
    "high",
    "p",
    "n",
    "run",
]


@dataclass(frozen=True)
class Remedy:
    """A recipe that may mend a run: `code` says which remedy it is, `what` says it in words;
    `predicted` is in nats, None before it is measured."""

    code: str
    what: str
    recipe: Recipe
    predicted: float | None = None


# --- what the costs of the widths say; needs no torch


def present(costs: pd.DataFrame) -> Choice:
    """What the run has now, as a choice from its table of costs."""
    return choice_of(costs[costs["present"]])


def at(point: Mapping[str, Any], costs: pd.DataFrame) -> Choice:
    """The choice behind a row of the table "pareto"."""
    widths, ranges = json.loads(point["widths"]), json.loads(point["ranges"])
    taken = [
        (widths[m], ranges[m]) == (b, r)
        for m, b, r in zip(costs["module"], costs["bits"], costs["ranges"], strict=True)
    ]
    return choice_of(costs[taken])


def mixed(recipe: Recipe, choice: Choice, code: str) -> Recipe:
    """The recipe with the widths of a choice; `code` is added to its name."""
    return _named(recipe, code, rules=rules(choice, recipe.rules))


def wanted(
    report: Report, costs: pd.DataFrame, size: float | None = None, tolerated: float | None = None
) -> tuple[Recipe, Choice]:
    """The recipe of least cost whose model takes at most `size` bytes (simulated); or the smallest
    whose summed cost (nats) is at most `tolerated`.

    And the choice of widths in it. UserError unless exactly one limit is given, and if no widths
    meet it.
    """
    one_limit(size, tolerated)
    rest = report.size_bytes["quantized_simulated"] - present(costs).bytes
    least = rest + int(costs.groupby("module")["bytes"].min().sum())
    if size is not None and not size >= least:
        raise UserError(
            f"the size must be at least {least} bytes, the least that the widths in the table can "
            f"reach, got {size:.0f}; allow more"
        )
    choice = choose(costs, None if size is None else size - rest, tolerated)
    return mixed(
        Recipe.model_validate(report.recipe), choice, f"mixed-{(rest + choice.bytes) / 1e6:.2f}mb"
    ), choice


def one_limit(size: float | None, tolerated: float | None) -> None:
    """UserError unless exactly one of them is given."""
    if (size is None) == (tolerated is None):
        raise UserError(
            "exactly one limit must be given, a size or a tolerated cost, got "
            f"{'neither' if size is None else 'both'}"
        )


def words(report: Report, costs: pd.DataFrame, choice: Choice) -> str:
    """A choice beside the run it is made from: size, predicted cost, and how many modules have
    which width."""
    now, full = present(costs), report.size_bytes["quantized_simulated"]
    size = full - now.bytes + choice.bytes
    counts = ", ".join(
        f"{n} {'in FP32' if bits == FP else f'of {bits} bits'}"
        for bits, n in sorted(Counter(choice.widths.values()).items())
    )
    return (
        f"{size} bytes (simulated; run {report.run}: {full}), predicted cost {choice.cost:.3g} "
        f"nats (run {report.run}: {now.cost:.3g})\n"
        f"{len(choice.widths)} modules: {counts}"
    )


def candidates(recipe: Recipe, costs: pd.DataFrame, size: int) -> list[Remedy]:
    """The remedies that apply to a recipe whose model takes `size` bytes (simulated)."""
    found = [*_mixed(recipe, costs, size), *_kept(recipe, costs)]
    if recipe.migration is None and any(rule.activation for rule in recipe.rules):
        what = f"Move outliers from activations into weights (SmoothQuant, strength {STRENGTH:g})"
        found.append(Remedy("migration", what, _named(recipe, "migrated", migration=STRENGTH)))
    if "tensor" in present(costs).ranges.values():
        found.append(_by_channel(recipe, costs))
    if recipe.calibration.languages != "all" and any(
        rule.activation and not rule.activation.dynamic for rule in recipe.rules
    ):
        everywhere = recipe.calibration.model_copy(update={"languages": "all"})
        found.append(
            Remedy(
                "calibration",
                "Calibrate on sentences of all languages",
                _named(recipe, "calibrated", calibration=everywhere),
            )
        )
    return [remedy for remedy in found if remedy.recipe.canonical() != recipe.canonical()]


def _mixed(recipe: Recipe, costs: pd.DataFrame, size: int) -> Iterator[Remedy]:
    rest, least = size - present(costs).bytes, costs.groupby("module")["bytes"].min().sum()
    for share in SHARES:
        if share * size - rest < least:
            continue
        choice = choose(costs, budget_bytes=share * size - rest)
        code, than = (
            f"mixed-{100 * share:.0f}",
            f"{100 * abs(share - 1):.0f} % {'smaller' if share < 1 else 'larger'}",
        )
        yield Remedy(
            code,
            f"Mixed widths, {'as large as this run' if share == 1 else than}",
            mixed(recipe, choice, code),
            choice.cost,
        )


def _kept(recipe: Recipe, costs: pd.DataFrame) -> Iterator[Remedy]:
    alone = costs[costs["present"]].set_index("module")["cost"]
    for k in (k for k in WORST if k < len(alone)):
        code, which = f"keep-{k}", "worst module" if k == 1 else f"{k} worst modules"
        left = math.fsum(sorted(alone)[:-k])
        yield Remedy(
            code,
            f"Keep the {which} in FP32",
            _named(recipe, code, rules=keep_worst(alone, k, recipe.rules)),
            left,
        )


def _by_channel(recipe: Recipe, costs: pd.DataFrame) -> Remedy:
    """A range per output channel wherever a weight has one for all of it, at the same widths."""
    finer = tuple(
        rule.model_copy(update={"weight": with_ranges(rule.weight, "channel")})
        if _coarse(rule.weight)
        else rule
        for rule in recipe.rules
    )
    left = by_channel(costs).cost
    return Remedy(
        "channel",
        "One range per output channel instead of one per layer",
        _named(recipe, "channel", rules=finer),
        left,
    )


def by_channel(costs: pd.DataFrame) -> Choice:
    """What the run has now, but with a range per output channel wherever there is one for a whole
    weight."""
    now = present(costs)
    wanted = {
        m: (bits, "channel" if now.ranges[m] == "tensor" else now.ranges[m])
        for m, bits in now.widths.items()
    }
    return choice_of(
        costs[
            [
                wanted[m] == (b, r)
                for m, b, r in zip(costs["module"], costs["bits"], costs["ranges"], strict=True)
            ]
        ]
    )


def _coarse(spec: WeightSpec | None) -> TypeGuard[WeightSpec]:
    return spec is not None and spec.granularity.kind == "tensor"


def _named(recipe: Recipe, code: str, **changed: Any) -> Recipe:
    return recipe.model_copy(update={"name": f"{recipe.name[: 60 - len(code)]}-{code}", **changed})


# --- what is computed


def price(subject: Subject, how: Inspection) -> dict[str, pd.DataFrame]:
    """The tables "costs" (see `sdq.analyses.costs`) and "pareto" (see
    `sdq.quant.mixed_precision.pareto`; bytes are of the whole model, simulated).

    Of the FP32 model under the rules of the run, also if the run trains: a recipe with other widths
    would train from there as well. UserError if the rules round no weight.
    """
    from sdq.analyses.costs import costs
    from sdq.quant.size import size_bytes

    student = _untrained(subject, subject.recipe)
    table = costs(student, *_text(subject, how), batch_size=how.batch_size)
    if table.empty:
        raise UserError(
            "a recipe must round weights for their widths to be chosen, this one rounds "
            "activations only; choose another run"
        )
    front = pareto(table)
    rest = size_bytes(student)["quantized_simulated"] - present(table).bytes
    return {"costs": table, "pareto": front.assign(bytes=front["bytes"] + rest)}


def tried(subject: Subject, how: Inspection) -> dict[str, pd.DataFrame]:
    """The table "remedies": each of `candidates`, run on the test split (or on `how.tested`
    sentences of it) and paired with the run itself.

    remedy (code), what (words), recipe (JSON), bytes (of the model, simulated), predicted (summed
    cost, nats, lower is better), score and zero_shot (%: mean over all languages and over those
    without labels), change of the latter against the run with its 95 % interval low, high (points),
    p, n (sentences), run (its id if it is stored, or empty). Where there are no languages without
    labels, change is over all. A recipe that trains is not run here: what it gives is missing,
    unless it is stored, and `predicted` is before training.
    """
    from sdq.analyses.costs import total
    from sdq.evaluate.significance import ALL, ZERO_SHOT, verdicts
    from sdq.quant.size import size_bytes

    text, trial = _text(subject, how), _Trial(subject, how)
    size = size_bytes(_untrained(subject, subject.recipe))["quantized_simulated"]
    before, rows = trial.run(subject.recipe, subject.student), []
    for remedy in candidates(subject.recipe, subject.tables["costs"], size):
        student = _untrained(subject, remedy.recipe)
        predicted = (
            total(student, *text, batch_size=how.batch_size)
            if remedy.predicted is None
            else remedy.predicted
        )
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, math.nan)
        row |= {
            "remedy": remedy.code,
            "what": remedy.what,
            "recipe": remedy.recipe.model_dump_json(),
            "predicted": predicted,
            "n": 0,
            "run": trial.stored(remedy.recipe),
        }
        row["bytes"] = size_bytes(student)["quantized_simulated"]
        if before is not None and (after := trial.run(remedy.recipe, student)) is not None:
            found = verdicts(
                before,
                after,
                list(dict.fromkeys(before["language"])),
                (subject.task.labelled,),
                how.seed,
            ).set_index("language")
            zero = found.loc[
                ZERO_SHOT
                if ZERO_SHOT in found.index
                else ALL
                if ALL in found.index
                else found.index[0]
            ]
            row |= {
                "score": found["other"].get(ALL, zero["other"]),
                "zero_shot": zero["other"],
                **zero[["change", "low", "high", "p", "n"]],
            }
        rows.append(row)
    return {
        "remedies": pd.DataFrame(rows, columns=_COLUMNS).astype({"bytes": "int64", "n": "int64"})
    }


class _Trial:
    """Answers of recipes on the test sentences that remedies are scored on."""

    def __init__(self, subject: Subject, how: Inspection) -> None:
        from sdq.data.batches import encode
        from sdq.pipeline.student import stratified_sample

        every = subject.task.examples("test")
        self.subject, self.whole = subject, how.tested is None
        self.examples = every if how.tested is None else stratified_sample(every, how.tested)
        self.data = encode(self.examples, subject.task, subject.tokenizer)

    def stored(self, recipe: Recipe) -> str:
        """The id of the recipe's finished run, or nothing."""
        report, store = self.subject.report, self.subject.store
        run = identify(recipe, report.model, report.task) if report is not None else ""
        return run if store is not None and run and store.done(run) else ""

    def run(self, recipe: Recipe, student: nn.Module) -> pd.DataFrame | None:
        """Per-sentence outcomes: the stored ones if there are, else the student's; None for a
        recipe that trains, if the student is not the run's own."""
        from sdq.evaluate.predict import outcomes, predict

        if self.whole and self.subject.store is not None and (run := self.stored(recipe)):
            return self.subject.store.sentences(run)
        if recipe.training is not None and student is not self.subject.student:
            return None
        return outcomes(self.examples, *predict(student, self.data), self.subject.task)


def _untrained(subject: Subject, recipe: Recipe) -> nn.Module:
    """The model of a recipe without its training."""
    from sdq.inspection.subject import student_of

    if recipe == subject.recipe and recipe.training is None:
        return subject.student
    return student_of(
        recipe.model_copy(update={"training": None}),
        subject.teacher,
        subject.task,
        subject.tokenizer,
    )


def _text(subject: Subject, how: Inspection) -> tuple[Any, list[str]]:
    """(unlabelled train sentences in all languages, tokenized; a language per sentence)"""
    from sdq.data.batches import encode

    examples = subject.unlabelled(how.sentences)
    return encode(examples, subject.task, subject.tokenizer), [e.language for e in examples]

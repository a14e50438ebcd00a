"""What to do about a quantized run: recipes that may mend it, chosen by what each width of each module costs, and what they won when they were run.

The costs come from unlabelled train sentences (see `sdq.inspect.costs`); the test split only measures. Torch is imported only to compute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from sdq.identity import identify
from sdq.mixed import FP, Choice, choose, holding, keep_worst, pareto, rules
from sdq.quant.spec import PerChannel, Rule
from sdq.recipe import Recipe
from sdq.report import Report
from sdq.settings import UserError

if TYPE_CHECKING:
    from torch import nn

    from sdq.inspection import Inspection
    from sdq.subject import Subject

SHARES = (0.8, 1.0, 1.25, 1.5)  # sizes of the mixed recipes, as shares of the run's own
WORST = (1, 2, 4)  # how many modules are kept in FP32
STRENGTH = 0.5  # of the migration (Xiao et al. 2023, section 4)
_COLUMNS = ["remedy", "what", "recipe", "bytes", "predicted", "score", "zero_shot", "change", "low", "high", "p", "n", "run"]


@dataclass(frozen=True)
class Remedy:
    """A recipe that may mend a run: `code` says which remedy it is, `what` says it in words; `predicted` is in nats, None before it is measured."""

    code: str
    what: str
    recipe: Recipe
    predicted: float | None = None


# --- what the costs of the widths say; needs no torch


def present(recipe: Recipe, costs: pd.DataFrame) -> dict[str, int]:
    """The width the recipe gives each module of a table of costs: bits, FP = 32."""
    found = {}
    for name, role in costs.drop_duplicates("module")[["module", "role"]].itertuples(index=False):
        rule = holding(name, role, recipe.rules) or Rule()
        found[name] = rule.weight.bits if rule.weight else FP
    return found


def chosen(widths: Mapping[str, int], costs: pd.DataFrame) -> Choice:
    """These widths as a choice: their summed cost and bytes by the table."""
    rows = costs[[widths.get(name) == bits for name, bits in zip(costs["module"], costs["bits"], strict=True)]]
    return Choice(dict(widths), math.fsum(rows["cost"]), int(rows["bytes"].sum()), dict(zip(rows["module"], rows["role"], strict=True)))


def mixed(recipe: Recipe, choice: Choice, name: str) -> Recipe:
    """The recipe with the widths of a choice, under its name and `name`."""
    return recipe.model_copy(update={"name": f"{recipe.name[: 60 - len(name)]}-{name}", "rules": rules(choice, recipe.rules)})


def fixed(report: Report, costs: pd.DataFrame) -> int:
    """Bytes of the run's model that no width changes."""
    return report.size_bytes["quantized_simulated"] - chosen(present(Recipe.model_validate(report.recipe), costs), costs).bytes


def wanted(report: Report, costs: pd.DataFrame, size: float | None = None, tolerated: float | None = None) -> tuple[Recipe, Choice]:
    """The recipe of least cost whose whole model takes at most `size` bytes (simulated); or the smallest whose cost is at most `tolerated` (nats).

    And the choice of widths in it. UserError unless exactly one limit is given, and if no widths meet it.
    """
    if (size is None) == (tolerated is None):
        raise UserError(f"exactly one limit must be given, a size or a tolerated cost, got {'neither' if size is None else 'both'}")
    rest = fixed(report, costs)
    least = rest + int(costs.groupby("module")["bytes"].min().sum())
    if size is not None and not size >= least:
        raise UserError(f"the size must be at least {least} bytes, the least that the widths in the table can reach, got {size:.0f}; allow more")
    choice = choose(costs, None if size is None else size - rest, tolerated)
    return mixed(Recipe.model_validate(report.recipe), choice, f"mixed-{(rest + choice.bytes) / 1e6:.2f}mb"), choice


def candidates(recipe: Recipe, costs: pd.DataFrame, rest: int, channel: pd.DataFrame | None = None) -> list[Remedy]:
    """The remedies that apply to a recipe. `rest`: bytes that no width changes; `channel`: costs of the same recipe with a range per output channel."""
    now = chosen(present(recipe, costs), costs)
    found = list(_mixed(recipe, costs, now.bytes + rest, rest, SHARES, "", ""))
    at_present = costs[[now.widths[name] == bits for name, bits in zip(costs["module"], costs["bits"], strict=True)]].set_index("module")["cost"]
    for k in (k for k in WORST if k < (at_present > 0).sum()):
        kept = recipe.model_copy(update={"name": f"{recipe.name[:53]}-keep-{k}", "rules": keep_worst(at_present, k, recipe.rules)})
        left = math.fsum(sorted(at_present)[: len(at_present) - k])
        found.append(Remedy(f"keep-{k}", f"Keep the {'worst module' if k == 1 else f'{k} worst modules'} in FP32", kept, left))
    if recipe.migration is None and any(rule.activation for rule in recipe.rules):
        moved = recipe.model_copy(update={"name": f"{recipe.name[:50]}-migrated", "migration": STRENGTH})
        found.append(Remedy("migration", f"Move outliers from activations into weights (strength {STRENGTH:g})", moved))
    if channel is not None:
        per_channel = by_channel(recipe)
        found.append(Remedy("channel", "One range per output channel instead of one per layer", per_channel, chosen(present(recipe, channel), channel).cost))
        found += _mixed(per_channel, channel, now.bytes + rest, rest, (1.0,), "channel-", "One range per output channel and ")
    if recipe.calibration.languages != "all" and any(rule.activation and not rule.activation.dynamic for rule in recipe.rules):
        everywhere = recipe.calibration.model_copy(update={"languages": "all"})
        of_all = recipe.model_copy(update={"name": f"{recipe.name[:48]}-calibrated", "calibration": everywhere})
        found.append(Remedy("calibration", "Calibrate on sentences of all languages", of_all))
    return [remedy for remedy in found if remedy.recipe.canonical() != recipe.canonical()]


def _mixed(recipe: Recipe, costs: pd.DataFrame, size: int, rest: int, shares: Iterable[float], code: str, words: str) -> Iterable[Remedy]:
    """Mixed widths at these shares of `size`, as far as the widths reach them."""
    for share in shares:
        try:
            choice = choose(costs, budget_bytes=share * size - rest)
        except UserError:
            continue
        name, than = f"mixed-{100 * share:.0f}", "smaller" if share < 1 else "larger"
        what = f"{words}mixed widths, {'as large as this run' if share == 1 else f'at least {100 * (1 - share):.0f} % smaller' if share < 1 else f'at most {100 * (share - 1):.0f} % {than}'}"
        yield Remedy(f"{code}{name}", what[:1].upper() + what[1:], mixed(recipe, choice, name), choice.cost)


def by_channel(recipe: Recipe) -> Recipe:
    """The recipe with a range per output channel wherever a weight has one for all of it."""
    finer = [
        rule.model_copy(update={"weight": rule.weight.model_copy(update={"granularity": PerChannel()})}) if _coarse(rule) and rule.weight else rule
        for rule in recipe.rules
    ]
    return recipe.model_copy(update={"name": f"{recipe.name[:52]}-channel", "rules": tuple(finer)})


def _coarse(rule: Rule) -> bool:
    return rule.weight is not None and rule.weight.granularity.kind == "tensor"


# --- what is computed


def price(subject: Subject, how: Inspection) -> dict[str, pd.DataFrame]:
    """The tables "costs" (see `sdq.inspect.costs`) and "pareto" (see `sdq.mixed.pareto`; bytes are of the whole model, simulated).

    Of the FP32 model under the rules of the run, also if the run trains: a recipe with other widths would train from there as well.
    """
    from sdq.inspect.costs import costs
    from sdq.inspect.errors import size_bytes

    student = _untrained(subject, subject.recipe)
    table = costs(student, *_text(subject, how), batch_size=how.batch_size)
    front = pareto(table)
    rest = size_bytes(student)["quantized_simulated"] - chosen(present(subject.recipe, table), table).bytes
    return {"costs": table, "pareto": front.assign(bytes=front["bytes"] + rest)}


def tried(subject: Subject, how: Inspection) -> dict[str, pd.DataFrame]:
    """The table "remedies": each of `candidates`, run on the test split (or on `how.tested` sentences of it) and paired with the run itself.

    remedy (code), what (words), recipe (JSON), bytes (of the model, simulated), predicted (summed cost, nats, lower is better), score and
    zero_shot (%: mean over all languages and over those without labels), change of the latter against the run with its 95 % interval low,
    high (points), p, n (sentences), run (its id if it is stored, or empty). Where there are no languages without labels, change is over
    all. A recipe that trains is not run here: what it gives is missing, unless it is stored, and `predicted` is before training.
    """
    from sdq.inspect.costs import costs, total
    from sdq.inspect.errors import size_bytes
    from sdq.verdicts import ALL, ZERO_SHOT, verdicts

    text, trial = _text(subject, how), _Trial(subject, how)
    table = subject.tables["costs"]
    student = _untrained(subject, subject.recipe)
    rest = size_bytes(student)["quantized_simulated"] - chosen(present(subject.recipe, table), table).bytes
    channel = None
    if any(_coarse(rule) for rule in subject.recipe.rules):
        channel = costs(_untrained(subject, by_channel(subject.recipe)), *text, batch_size=how.batch_size)
    before, rows = trial.run(subject.recipe, subject.student), []
    for remedy in candidates(subject.recipe, table, rest, channel):
        student = _untrained(subject, remedy.recipe)
        predicted = total(student, *text, batch_size=how.batch_size) if remedy.predicted is None else remedy.predicted
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
            found = verdicts(before, after, list(dict.fromkeys(before["language"])), (subject.task.labelled,), how.seed).set_index("language")
            zero = found.loc[ZERO_SHOT if ZERO_SHOT in found.index else ALL if ALL in found.index else found.index[0]]
            row |= {"score": found["other"].get(ALL, zero["other"]), "zero_shot": zero["other"], **zero[["change", "low", "high", "p", "n"]]}
        rows.append(row)
    return {"remedies": pd.DataFrame(rows, columns=_COLUMNS).astype({"bytes": "int64", "n": "int64"})}


class _Trial:
    """Answers of recipes on the test sentences that remedies are scored on."""

    def __init__(self, subject: Subject, how: Inspection) -> None:
        from sdq.data.batches import encode
        from sdq.subject import spread

        every = subject.task.examples("test")
        self.subject, self.whole = subject, how.tested is None
        self.examples = every if how.tested is None else spread(every, how.tested)
        self.data = encode(self.examples, subject.task, subject.tokenizer)

    def stored(self, recipe: Recipe) -> str:
        """The id of the recipe's finished run, or nothing."""
        report, store = self.subject.report, self.subject.store
        run = identify(recipe, report.model, report.task) if report is not None else ""
        return run if store is not None and run and store.done(run) else ""

    def run(self, recipe: Recipe, student: nn.Module) -> pd.DataFrame | None:
        """Per-sentence outcomes: the stored ones if there are, else the student's; None for a recipe that trains, if the student is not the run's own."""
        from sdq.evaluate import outcomes, predict

        if self.whole and self.subject.store is not None and (run := self.stored(recipe)):
            return self.subject.store.sentences(run)
        if recipe.training is not None and student is not self.subject.student:
            return None
        return outcomes(self.examples, *predict(student, self.data), self.subject.task)


def _untrained(subject: Subject, recipe: Recipe) -> nn.Module:
    """The model of a recipe without its training."""
    from sdq.subject import student_of

    if recipe == subject.recipe and recipe.training is None:
        return subject.student
    return student_of(recipe.model_copy(update={"training": None}), subject.teacher, subject.task, subject.tokenizer)


def _text(subject: Subject, how: Inspection) -> tuple[Any, list[str]]:
    """(unlabelled train sentences in all languages, tokenized; a language per sentence)"""
    from sdq.data.batches import encode

    examples = subject.unlabelled(how.sentences)
    return encode(examples, subject.task, subject.tokenizer), [e.language for e in examples]

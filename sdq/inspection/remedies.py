"""What to do about a quantized run: recipes that may mend it, chosen by what each width of each
module costs. Needs no torch.

The costs come from unlabelled train sentences (see `sdq.analyses.bitwidth_sensitivity`); the test
split only measures what the recipes win (see `sdq.inspection.trials`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import pandas as pd

from sdq.inspection.reasons import reason
from sdq.labels import module_label
from sdq.quant.mixed_precision import (
    FP,
    Choice,
    choice_of,
    choose,
    keep_worst,
    last_matching_rule,
    rules,
    with_ranges,
)
from sdq.quant.spec import Apart, OutlierColumns, WeightSpec
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError

SHARES = (0.8, 1.0, 1.25, 1.5)  # sizes of the mixed recipes, as shares of the run's own
WORST = (1, 2, 4)  # how many modules are kept in FP32
STRENGTH = 0.5  # of the migration (Xiao et al. 2023, section 4)
MODULES = 2  # of so many an outlier column is split, or kept in 16 bits
# reason -> the column of the table "why" that says which column of the weight it is in
_COLUMN_OF = {"outlier_unit": "at", "weight_column": "at", "single_weight": "position"}


@dataclass(frozen=True)
class Remedy:
    """A recipe that may mend a run: `code` says which remedy it is, `what` says it in words;
    `predicted` is in nats, None before it is measured."""

    code: str
    what: str
    recipe: Recipe
    predicted: float | None = None


def current_choice(costs: pd.DataFrame) -> Choice:
    """What the run has now, as a choice from its table of costs."""
    return choice_of(costs[costs["present"]])


def choice_at(point: Mapping[str, Any], costs: pd.DataFrame) -> Choice:
    """The choice behind a row of the table "pareto"."""
    widths, ranges = json.loads(point["widths"]), json.loads(point["ranges"])
    taken = [
        (widths[m], ranges[m]) == (b, r)
        for m, b, r in zip(costs["module"], costs["bits"], costs["ranges"], strict=True)
    ]
    return choice_of(costs[taken])


def mixed_precision_recipe(recipe: Recipe, choice: Choice, code: str) -> Recipe:
    """The recipe with the widths of a choice.

    recipe: the run's
    choice: of a width per module
    code: is added to the recipe's name
    """
    return _named(recipe, code, rules=rules(choice, recipe.rules))


def recipe_within(
    report: Report, costs: pd.DataFrame, size: float | None = None, max_cost: float | None = None
) -> tuple[Recipe, Choice]:
    """The recipe of least cost whose model takes at most `size` bytes (simulated); or the smallest
    whose summed cost (nats) is at most `max_cost`.

    report: of the run
    costs: the table "costs" of its inspection
    size: bytes, simulated
    max_cost: nats

    And the choice of widths in it. UserError unless exactly one limit is given, and if no widths
    meet it.
    """
    one_limit(size, max_cost)
    rest = report.size_bytes["quantized_simulated"] - current_choice(costs).bytes
    least = rest + int(costs.groupby("module")["bytes"].min().sum())
    if size is not None and not size >= least:
        raise UserError(
            f"the size must be at least {least} bytes, the least that the widths in the table can "
            f"reach, got {size:.0f}; allow more"
        )
    choice = choose(costs, None if size is None else size - rest, max_cost)
    return mixed_precision_recipe(
        Recipe.model_validate(report.recipe), choice, f"mixed-{(rest + choice.bytes) / 1e6:.2f}mb"
    ), choice


def one_limit(size: float | None, max_cost: float | None) -> None:
    """UserError unless exactly one of them is given."""
    if (size is None) == (max_cost is None):
        raise UserError(
            "exactly one limit must be given, a size or a tolerated cost, got "
            f"{'neither' if size is None else 'both'}"
        )


def choice_summary(report: Report, costs: pd.DataFrame, choice: Choice) -> str:
    """A choice beside the run it is made from: size, predicted cost, and how many modules have
    which width.

    report: of the run
    costs: the table "costs" of its inspection
    choice: of a width per module
    """
    now, full = current_choice(costs), report.size_bytes["quantized_simulated"]
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


def candidates(
    recipe: Recipe, costs: pd.DataFrame, size: int, why: pd.DataFrame | None = None
) -> list[Remedy]:
    """The remedies that apply to a recipe.

    recipe: the run's
    costs: the table "costs" of its inspection
    size: of the run's model, bytes, simulated
    why: the table "why" of its inspection; without it no column is split or kept
    """
    remedies = [*_mixed_widths(recipe, costs, size), *_kept(recipe, costs)]
    if recipe.migration is None and any(rule.activation for rule in recipe.rules):
        what = f"Move outliers from activations into weights (SmoothQuant, strength {STRENGTH:g})"
        remedies.append(Remedy("migration", what, _named(recipe, "migrated", migration=STRENGTH)))
    if "tensor" in current_choice(costs).ranges.values():
        remedies.append(_by_channel(recipe, costs))
    if why is not None:
        remedies += _columns_apart(recipe, why)
    if recipe.calibration.languages != "all" and any(
        rule.activation and not rule.activation.dynamic for rule in recipe.rules
    ):
        everywhere = recipe.calibration.model_copy(update={"languages": "all"})
        remedies.append(
            Remedy(
                "calibration",
                "Calibrate on sentences of all languages",
                _named(recipe, "calibrated", calibration=everywhere),
            )
        )
    return [remedy for remedy in remedies if remedy.recipe.canonical() != recipe.canonical()]


def _mixed_widths(recipe: Recipe, costs: pd.DataFrame, size: int) -> Iterator[Remedy]:
    rest, least = size - current_choice(costs).bytes, costs.groupby("module")["bytes"].min().sum()
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
            mixed_precision_recipe(recipe, choice, code),
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


def _columns_apart(recipe: Recipe, why: pd.DataFrame) -> Iterator[Remedy]:
    """The columns that explain the worst modules split, and kept in 16 bits."""
    for code, what in (
        ("split-column", "Split {} into two halves"),
        ("keep-column", "Keep {} in 16 bits"),
    ):
        made, named = [], []
        for row, column, side in outlier_columns(why):
            before = last_matching_rule(row["module"], row["role"], recipe.rules)
            how: Apart = "keep" if code == "keep-column" else side
            if before is None or (others := _joined(before.outliers, column, how)) is None:
                continue
            rule = {"roles": (), "name": row["module"], "outliers": others}
            made.append(before.model_copy(update=rule))
            label = module_label(row["module"], row["role"], row["block"])
            named.append(f"column {column} of {label}")
        if made:
            changed = _named(recipe, code, rules=(*recipe.rules, *made))
            yield Remedy(code, what.format(" and ".join(named)), changed)


def outlier_columns(
    why: pd.DataFrame,
) -> list[tuple[dict[str, Any], int, Apart]]:
    """The MODULES worst modules whose reason (see `sdq.inspection.reasons`) is a column of the
    weight, a single number in it or a unit of the input.

    why: the table "why" of an inspection

    Of each its row of the table, the column of the weight, and which way of splitting it halves
    what stands out.
    """
    reasons = [reason(rows) for _, rows in why.groupby("module", sort=False)]
    found = [row for row in reasons if row is not None and row["cause"] in _COLUMN_OF]
    found.sort(key=lambda row: -row["kl"])
    return [
        (
            row,
            int(row[_COLUMN_OF[row["cause"]]]),
            "split_input" if row["cause"] == "outlier_unit" else "split_weight",
        )
        for row in found[:MODULES]
    ]


def _joined(before: OutlierColumns | None, column: int, how: Apart) -> OutlierColumns | None:
    """The columns a rule holds apart already, and this one; None if it does, or in another way."""
    if before is None:
        return OutlierColumns(columns=(column,), how=how)
    if before.how != how or column in before.columns:
        return None
    return OutlierColumns(columns=(*before.columns, column), how=how)


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
    now = current_choice(costs)
    kept = {
        m: (bits, "channel" if now.ranges[m] == "tensor" else now.ranges[m])
        for m, bits in now.widths.items()
    }
    return choice_of(
        costs[
            [
                kept[m] == (b, r)
                for m, b, r in zip(costs["module"], costs["bits"], costs["ranges"], strict=True)
            ]
        ]
    )


def _coarse(spec: WeightSpec | None) -> TypeGuard[WeightSpec]:
    return spec is not None and spec.granularity.kind == "tensor"


def _named(recipe: Recipe, code: str, **changed: Any) -> Recipe:
    return recipe.model_copy(update={"name": f"{recipe.name[: 60 - len(code)]}-{code}", **changed})

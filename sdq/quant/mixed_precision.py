"""Mixed precision: which width for which module, from measured costs, under a limit. An exact
choice, not a greedy one.

The costs are taken to add up over the modules; whether they do is a question for a run of the
chosen recipe. One row of the table is picked per module, a multiple-choice knapsack (Hubara et al.
2021, arXiv 2006.10518, section 4 choose so from layer-wise costs, with an integer program). A table
of costs has the columns module, bits (2 to 8, or FP = 32), cost (expected increase of the KL in
nats, or drop in points; lower is better; below 0 only by noise, taken as it is) and bytes (of the
weight at that width with its scales, see `weight_bytes`); for base rules that are for roles, role;
and if there is a choice of it, ranges (how many weights share a range: "tensor" or "channel").
Reads no torch but in `weight_bytes`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from sdq.models.families import SITE_ROLES
from sdq.quant.spec import OutlierColumns, PerChannel, PerTensor, Rule, WeightSpec
from sdq.settings import UserError

FP = 32
_WIDTHS = (*range(2, 9), FP)
_ROUNDING = 1e-12  # of the largest cost

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Choice:
    """Bits per module (FP = 32), their summed cost (unit of the table, lower is better) and bytes
    (simulated); role and ranges per module if known."""

    widths: Mapping[str, int]
    cost: float
    bytes: int
    roles: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, str] = field(default_factory=dict)


def choose(
    table: pd.DataFrame, budget_bytes: float | None = None, max_cost: float | None = None
) -> Choice:
    """The widths of least summed cost whose bytes are at most `budget_bytes`; or the smallest whose
    summed cost is at most `max_cost`.

    table: of costs
    budget_bytes: of the weights, simulated
    max_cost: in the unit of the table

    Of equal costs it is the smallest, of equal sizes the one of least cost. Costs are equal if they
    differ by less than 1e-12 of the largest in the table, which is also what the choice may exceed
    `max_cost` by; its bytes never exceed the budget. ValueError unless exactly one limit is
    given and the table is sound; UserError if no choice of widths meets the limit.
    """
    if (budget_bytes is None) == (max_cost is None):
        both = "neither" if max_cost is None else "both"
        raise ValueError(f"exactly one of budget_bytes and max_cost must be given, got {both}")
    front = _Front(table)
    if budget_bytes is not None:
        limit, least, what, unit = budget_bytes, float(front.bytes[0]), "the budget", " bytes"
    else:
        assert max_cost is not None
        limit, least, what, unit = max_cost, front.least_cost(), "the tolerated cost", ""
    if not limit >= least - (0 if unit else front.slack):  # also refuses NaN
        reach = f"{int(least) if unit else least}{unit}"
        raise UserError(
            f"{what} must be at least {reach}, the least that the widths in the table can reach, "
            f"got {limit}; raise it or measure other widths"
        )
    return front.within(limit) if budget_bytes is not None else front.smallest(limit)


def pareto(table: pd.DataFrame, points: int = 20) -> pd.DataFrame:
    """What is to be had at which size: bytes (simulated), cost (predicted, unit of the table),
    widths and ranges (per module, as JSON).

    table: of costs
    points: at least 2

    At most `points` >= 2 choices, from the smallest to that of least cost, at budgets evenly spaced
    in the logarithm of the size; each row is larger than the one before and costs less, none is
    dominated by any choice of widths. ValueError as for `choose`.
    """
    if points < 2:
        raise ValueError(f"there must be at least 2 points, got {points}")
    front = _Front(table)
    smallest, best = front.within(front.bytes[0]), front.smallest(front.least_cost())
    choices = {smallest.bytes: smallest, best.bytes: best}
    for budget in np.geomspace(smallest.bytes, best.bytes, points)[1:-1]:
        choice = front.within(max(float(budget), smallest.bytes))
        choices[choice.bytes] = choice
    rows: list[tuple[int, float, str, str]] = []
    for size, choice in sorted(choices.items()):
        if not rows or choice.cost < rows[-1][1]:
            rows.append(
                (
                    size,
                    choice.cost,
                    json.dumps(dict(choice.widths)),
                    json.dumps(dict(choice.ranges)),
                )
            )
    return pd.DataFrame(rows, columns=["bytes", "cost", "widths", "ranges"])


# --- a choice as rules of a recipe


def rules(choice: Choice, base: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The base rules, and after them one per module that they do not give what the choice does: its
    width and ranges; everything else as in `base`.

    FP quantizes neither weight nor input. What the choice does not name stays as in `base`.
    ValueError for a module that is to be quantized but whose weight no base rule quantizes, and if
    base rules are for roles but the table of costs had no column role.
    """
    made = []
    for name, bits in choice.widths.items():
        rule = last_matching_rule(name, choice.roles.get(name), base) or Rule()
        if bits == FP:
            made += [Rule(name=name)] if rule.weight or rule.activation else []
        elif rule.weight is None:
            raise ValueError(
                f"a base rule must say how the weight of {name} is quantized, none does; add one "
                f"or choose FP (bits {FP}) for it"
            )
        elif (
            spec := with_ranges(rule.weight, choice.ranges.get(name)).model_copy(
                update={"bits": bits}
            )
        ) != rule.weight:
            made.append(rule.model_copy(update={"roles": (), "name": name, "weight": spec}))
    return (*base, *made)


def with_ranges(spec: WeightSpec, ranges: str | None) -> WeightSpec:
    """The spec with a range per "tensor" or per "channel"; None leaves it, and so does the name of
    what it has."""
    if ranges in (None, spec.granularity.kind):
        return spec
    return spec.model_copy(
        update={"granularity": {"tensor": PerTensor(), "channel": PerChannel()}[str(ranges)]}
    )


def keep_worst(
    costs: Mapping[str, float] | pd.Series[float], k: int, base: tuple[Rule, ...]
) -> tuple[Rule, ...]:
    """The base rules, and after them one for each of the k modules of greatest cost, which stay FP;
    of equal ones the first.

    costs: module -> what quantizing it costs (any unit, higher is worse), such as a column of
        `sdq.analyses.sensitivity.scan` by module
    k: modules, from 0 to all of them
    base: the rules of the recipe

    ValueError for a k outside 0..modules, or costs that
    are not finite.
    """
    by_module = {str(name): float(cost) for name, cost in costs.items()}
    if not 0 <= k <= len(by_module):
        raise ValueError(f"k must be from 0 to the number of modules, {len(by_module)}, got {k}")
    if wrong := [name for name, cost in by_module.items() if not math.isfinite(cost)]:
        raise ValueError(
            f"costs must be finite numbers, that of {wrong[0]} is {by_module[wrong[0]]}; measure "
            "it again"
        )
    worst = sorted(by_module, key=lambda name: -by_module[name])[:k]
    return (*base, *map(_kept, worst))


def _kept(name: str) -> Rule:
    """The rule that keeps a module, or the activation site of a quantizer, in FP32."""
    module, _, end = name.rpartition(".")
    role: Any = end.removesuffix("_quantizer")
    return Rule(roles=(role,), name=module) if role in SITE_ROLES else Rule(name=name)


def last_matching_rule(name: str, role: str | None, base: tuple[Rule, ...]) -> Rule | None:
    """The base rule that rewrite would take for a module: the last that matches.

    name: of the module
    role: of the module; None: not known
    base: the rules of the recipe
    """
    if role is None and any(rule.roles and fnmatchcase(name, rule.name) for rule in base):
        raise ValueError(
            "the table of costs must have a column role, as base rules are for roles, it has none "
            f"for {name}; add it from sdq.models.structure.modules"
        )
    matching = (rule for rule in reversed(base) if rule.matches(name, role or ""))
    return next(matching, None)


def weight_bytes(
    shape: tuple[int, ...], spec: WeightSpec | None, outliers: OutlierColumns | None = None
) -> int:
    """Bytes (simulated) of a weight [rows, columns]: its codes packed, and per range a scale in
    FP32 and, if affine, a byte of zero-point. None: FP32.

    Of each outlier column its number, 4 bytes; a split one is held twice, one that is kept takes 2
    bytes a row instead of its codes.
    """
    import torch

    count, apart = math.prod(shape), 0
    if outliers is not None:
        n = len(outliers.columns)
        apart = 4 * n
        if outliers.how != "keep":
            count += shape[0] * n
        elif spec is not None:
            count -= shape[0] * n
            apart += 2 * shape[0] * n
    if spec is None:
        return 4 * count + apart
    # no memory, no numbers
    ranges = spec.granularity.rows(torch.empty(shape, device="meta")).shape[0]
    return math.ceil(count * spec.bits / 8) + ranges * (4 if spec.symmetric else 5) + apart


# --- every choice worth having


class _Front:
    """Of all choices of one row per module those that no other beats: none as small costs less.

    Modules are added one by one, and what is beaten among the sums is left out, as it would be
    beaten with any later rows too (Nemhauser and Ullmann 1969, "Discrete dynamic programming and
    capital allocation"). Exact, and quick where costs are measured: 14,000 choices are left for the
    74 modules of XLM-R-base. Sums in floating point may be off by `slack`, 1e-12 of the largest
    cost.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        """ValueError for a table that is not sound."""
        _check(table)
        cost, size = table["cost"].to_numpy(float), table["bytes"].to_numpy(np.int64)
        self.table, self.slack = table, float(_ROUNDING * np.abs(cost).max())
        # [choices], from the smallest to the largest
        self.costs, self.bytes = (
            np.zeros(1),
            np.zeros(1, np.int64),
        )
        self._steps: list[tuple[Array, Array]] = []  # per module: choice before it, and row taken
        for _, rows in table.reset_index(drop=True).groupby("module", sort=False).groups.items():
            candidates = np.asarray(rows)
            costs = (self.costs[:, None] + cost[candidates]).ravel()
            sizes = (self.bytes[:, None] + size[candidates]).ravel()
            order = np.lexsort((costs, sizes))
            cheapest = np.minimum.accumulate(costs[order])
            kept = order[np.append(True, cheapest[1:] < cheapest[:-1])]
            self.costs, self.bytes = costs[kept], sizes[kept]
            self._steps.append(
                (
                    (kept // len(candidates)).astype(np.int32),
                    candidates[kept % len(candidates)].astype(np.int32),
                )
            )

    def least_cost(self) -> float:
        return math.fsum(self.table.groupby("module")["cost"].min())

    def within(self, budget: float) -> Choice:
        """The choice of least cost of at most so many bytes; of equal costs the smallest."""
        last = int(np.searchsorted(self.bytes, budget, side="right")) - 1
        return self.smallest(self.costs[last])

    def smallest(self, max_cost: float) -> Choice:
        """The smallest choice of at most this cost."""
        at = int(np.argmax(self.costs <= max_cost + self.slack))
        rows = []
        for before, row in reversed(self._steps):
            rows.append(int(row[at]))
            at = int(before[at])
        return choice_of(self.table.iloc[rows[::-1]])


def _check(table: pd.DataFrame) -> None:
    if missing := [c for c in ("module", "bits", "cost", "bytes") if c not in table]:
        raise ValueError(
            f"the table of costs must have the columns module, bits, cost and bytes, {missing[0]} "
            "is missing"
        )
    if table.empty:
        raise ValueError("the table of costs must have at least one row, it has none")
    if wrong := sorted(set(table["bits"]) - set(_WIDTHS)):
        raise ValueError(f"bits must be from 2 to 8, or {FP} for FP, got {wrong[0]}")
    if (
        again := table.duplicated(["module", "bits", *(["ranges"] if "ranges" in table else [])])
    ).any():
        row = table[again].iloc[0]
        raise ValueError(
            f"the table of costs must have one row per module and width, {row['module']} at "
            f"{row['bits']} bits has more; average them first"
        )
    if not np.isfinite(table["cost"].to_numpy(float)).all():
        raise ValueError(
            "costs must be finite numbers, the table holds NaN or infinity; measure them again"
        )
    size = table["bytes"].to_numpy(float)
    if not (np.isfinite(size) & (size > 0) & (size == np.floor(size))).all():
        raise ValueError(
            "bytes must be whole numbers above 0, the table holds others; see weight_bytes"
        )


def choice_of(rows: pd.DataFrame) -> Choice:
    """The choice of these rows of a table of costs, one per module."""
    widths = {str(name): int(bits) for name, bits in zip(rows["module"], rows["bits"], strict=True)}
    roles, ranges = (
        {str(m): str(v) for m, v in zip(rows["module"], rows[c], strict=True)} if c in rows else {}
        for c in ("role", "ranges")
    )
    return Choice(widths, math.fsum(rows["cost"]), int(rows["bytes"].sum()), roles, ranges)

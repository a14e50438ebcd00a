"""Mixed precision: which width for which module, from measured costs, under a limit. An exact choice, not a greedy one.

The costs are taken to add up over the modules; whether they do is a question for a run of the chosen recipe. One integer program picks one
row of the table per module, a multiple-choice knapsack (Hubara et al. 2021, arXiv 2006.10518, section 4 choose so from layer-wise costs); it
is solved by HiGHS. A table of costs has the columns module, bits (2 to 8, or FP = 32), cost (expected increase of the KL in nats, or drop in
points; lower is better; below 0 only by noise, taken as it is) and bytes (of the weight at that width with its scales, see `weight_bytes`);
for base rules that are for roles, role; and if there is a choice of it, ranges (how many weights share a range: "tensor" or "channel").
Reads no torch but in `weight_bytes`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from sdq.quant.spec import PerChannel, PerTensor, Rule, WeightSpec
from sdq.settings import UserError

FP = 32
_WIDTHS = (*range(2, 9), FP)
_REACH = 1e4  # largest coefficient given to HiGHS, whose tolerances are absolute (1e-6)
_ROUNDING = 1e-12  # of the largest value, see _slack

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Choice:
    """Bits per module (FP = 32), their summed cost (unit of the table, lower is better) and bytes (simulated); role and ranges per module if known."""

    widths: Mapping[str, int]
    cost: float
    bytes: int
    roles: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, str] = field(default_factory=dict)


def choose(table: pd.DataFrame, budget_bytes: float | None = None, tolerated: float | None = None) -> Choice:
    """The widths of least summed cost whose bytes are at most `budget_bytes`; or the smallest whose summed cost is at most `tolerated`.

    Of equal costs it is the smallest, of equal sizes the one of least cost. Sums are equal if they differ by less than 1e-10 of the
    largest value in the table; the bytes of the choice never exceed the budget, the cost exceeds what is tolerated by rounding (1e-12) only.
    ValueError unless exactly one limit is given and the table is sound; UserError if no choice of widths meets the limit.
    """
    if (budget_bytes is None) == (tolerated is None):
        both = "neither" if tolerated is None else "both"
        raise ValueError(f"exactly one of budget_bytes and tolerated must be given, got {both}")
    _check(table)
    cost, size = table["cost"].to_numpy(float), table["bytes"].to_numpy(float)
    names = list(dict.fromkeys(table["module"]))
    member = np.array([[m == name for m in table["module"]] for name in names])  # [modules, rows]
    if budget_bytes is not None:
        whole = math.floor(budget_bytes) if math.isfinite(budget_bytes) else budget_bytes  # bytes are whole
        first, second, limit, what, unit = cost, size, whole, "the budget", " bytes"
    else:
        assert tolerated is not None
        first, second, limit, what, unit = size, cost, tolerated, "the tolerated cost", ""
    least = math.fsum(min(second[mine]) for mine in member)
    if not limit >= least - _slack(second):  # also refuses NaN
        reach = f"{int(least) if unit else least}{unit}"
        raise UserError(f"{what} must be at least {reach}, the least that the widths in the table can reach, got {limit}; raise it or measure other widths")
    found = _least(first, second, limit, member)
    found = _least(second, first, math.fsum(first[found]), member)
    return choice_of(table.iloc[found])


def pareto(table: pd.DataFrame, points: int = 20) -> pd.DataFrame:
    """What is to be had at which size: bytes (simulated), cost (predicted, unit of the table), widths and ranges (per module, as JSON).

    At most `points` >= 2 choices, from the smallest to that of least cost, at budgets evenly spaced in the logarithm of the size; each row is
    larger than the one before and costs less, none is dominated by any choice of widths. ValueError as for `choose`.
    """
    if points < 2:
        raise ValueError(f"there must be at least 2 points, got {points}")
    _check(table)
    per_module = table.groupby("module", sort=False)
    smallest = choose(table, budget_bytes=int(per_module["bytes"].min().sum()))
    best = choose(table, tolerated=math.fsum(per_module["cost"].min()))
    found = {smallest.bytes: smallest, best.bytes: best}
    for budget in np.geomspace(smallest.bytes, best.bytes, points)[1:-1]:
        choice = choose(table, budget_bytes=max(float(budget), smallest.bytes))
        found[choice.bytes] = choice
    rows: list[tuple[int, float, str, str]] = []
    for size, choice in sorted(found.items()):
        if not rows or choice.cost < rows[-1][1]:
            rows.append((size, choice.cost, json.dumps(dict(choice.widths)), json.dumps(dict(choice.ranges))))
    return pd.DataFrame(rows, columns=["bytes", "cost", "widths", "ranges"])


# --- a choice as rules of a recipe


def rules(choice: Choice, base: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The base rules, and after them one per module that they do not give what the choice does: its width and ranges; everything else as in `base`.

    FP quantizes neither weight nor input. What the choice does not name stays as in `base`. ValueError for a module that is to be quantized but
    whose weight no base rule quantizes, and if base rules are for roles but the table of costs had no column role.
    """
    made = []
    for name, bits in choice.widths.items():
        rule = holding(name, choice.roles.get(name), base) or Rule()
        if bits == FP:
            made += [Rule(name=name)] if rule.weight or rule.activation else []
        elif rule.weight is None:
            raise ValueError(f"a base rule must say how the weight of {name} is quantized, none does; add one or choose FP (bits {FP}) for it")
        elif (spec := with_ranges(rule.weight, choice.ranges.get(name)).model_copy(update={"bits": bits})) != rule.weight:
            made.append(Rule(name=name, weight=spec, activation=rule.activation))
    return (*base, *made)


def with_ranges(spec: WeightSpec, ranges: str | None) -> WeightSpec:
    """The spec with a range per "tensor" or per "channel"; None leaves it, and so does the name of what it has."""
    if ranges in (None, spec.granularity.kind):
        return spec
    return spec.model_copy(update={"granularity": {"tensor": PerTensor(), "channel": PerChannel()}[str(ranges)]})


def keep_worst(costs: Mapping[str, float] | pd.Series[float], k: int, base: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The base rules, and after them one for each of the k modules of greatest cost, which stay FP; of equal ones the first.

    costs: module -> what quantizing it costs (any unit, higher is worse), such as a column of `sdq.inspect.sensitivity.scan`
    by module. ValueError for a k outside 0..modules, or costs that are not finite.
    """
    known = {str(name): float(cost) for name, cost in costs.items()}
    if not 0 <= k <= len(known):
        raise ValueError(f"k must be from 0 to the number of modules, {len(known)}, got {k}")
    if wrong := [name for name, cost in known.items() if not math.isfinite(cost)]:
        raise ValueError(f"costs must be finite numbers, that of {wrong[0]} is {known[wrong[0]]}; measure it again")
    worst = sorted(known, key=lambda name: -known[name])[:k]
    return (*base, *(Rule(name=name) for name in worst))


def holding(name: str, role: str | None, base: tuple[Rule, ...]) -> Rule | None:
    """The base rule that rewrite would take for a module: the last that matches."""
    found = None
    for rule in base:
        if not fnmatchcase(name, rule.name):
            continue
        if rule.roles and role is None:
            raise ValueError(f"the table of costs must have a column role, as base rules are for roles, it has none for {name}; add it from sdq.models.modules")
        if not rule.roles or role in rule.roles:
            found = rule
    return found


def weight_bytes(shape: tuple[int, ...], spec: WeightSpec | None) -> int:
    """Bytes (simulated) of a weight [rows, columns]: its codes packed, and per range a scale in FP32 and, if affine, a byte of zero-point. None: FP32."""
    import torch

    if spec is None:
        return 4 * math.prod(shape)
    ranges = spec.granularity.rows(torch.empty(shape, device="meta")).shape[0]  # no memory, no numbers
    return math.ceil(math.prod(shape) * spec.bits / 8) + ranges * (4 if spec.symmetric else 5)


# --- the integer program


def _check(table: pd.DataFrame) -> None:
    if missing := [c for c in ("module", "bits", "cost", "bytes") if c not in table]:
        raise ValueError(f"the table of costs must have the columns module, bits, cost and bytes, {missing[0]} is missing")
    if table.empty:
        raise ValueError("the table of costs must have at least one row, it has none")
    if wrong := sorted(set(table["bits"]) - set(_WIDTHS)):
        raise ValueError(f"bits must be from 2 to 8, or {FP} for FP, got {wrong[0]}")
    if (again := table.duplicated(["module", "bits", *(["ranges"] if "ranges" in table else [])])).any():
        row = table[again].iloc[0]
        raise ValueError(f"the table of costs must have one row per module and width, {row['module']} at {row['bits']} bits has more; average them first")
    if not np.isfinite(table["cost"].to_numpy(float)).all():
        raise ValueError("costs must be finite numbers, the table holds NaN or infinity; measure them again")
    size = table["bytes"].to_numpy(float)
    if not (np.isfinite(size) & (size > 0) & (size == np.floor(size))).all():
        raise ValueError("bytes must be whole numbers above 0, the table holds others; see weight_bytes")


def _least(goal: Array, limited: Array, limit: float, member: Array) -> Array:
    """Rows [modules], one per module, of least summed goal among those whose summed `limited` is at most limit.

    goal, limited [rows]; member [modules, rows]: which rows are a module's. Some choice must meet the limit.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # half a second of import that no page needs

    least = math.fsum(limited[mine].min() for mine in member)
    within = max(limit + _slack(limited), least)
    # HiGHS has absolute tolerances: it is given what each row takes above its module's least, of what there is above all the least
    extra, gain = _above_least(limited, member), _above_least(goal, member)
    room = min(within - least, float(extra.sum()))  # a limit far off is none
    fits = extra <= room
    unit = room if room > 0 else 1.0
    constraints = [LinearConstraint(member, 1, 1), LinearConstraint(np.where(fits, extra / unit, 0) * _REACH, -np.inf, room / unit * _REACH)]
    gain = gain / (gain[fits].max() or 1.0) * _REACH
    while True:
        exactly = {"mip_rel_gap": 0}  # HiGHS allows itself a gap of 1e-4
        with _silent():
            result = milp(np.where(fits, gain, 0), integrality=fits, bounds=Bounds(0, fits), constraints=constraints, options=exactly)
        if result.x is None:
            raise RuntimeError(f"the integer program must have a solution, HiGHS found none: {result.message}")
        taken: Array = np.where(member & fits, result.x, -1).argmax(1)
        if math.fsum(limited[taken]) <= within:
            return taken
        # a little over, within the tolerance: forbid it and look again
        over = np.zeros_like(goal)
        over[taken] = 1
        constraints.append(LinearConstraint(over, -np.inf, len(member) - 1))


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, nothing reaches the process's standard output: HiGHS 1.12 prints there what it was told not to, and JSON may be on it."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _above_least(values: Array, member: Array) -> Array:
    """[rows] what each value is above the least of its module."""
    least: Array = np.where(member, values, np.inf).min(1)[member.argmax(0)]
    return values - least


def _slack(values: Array) -> float:
    """What a sum of these values may exceed its limit by: for bytes less than one."""
    return float(_ROUNDING * np.abs(values).max())


def choice_of(rows: pd.DataFrame) -> Choice:
    """The choice of these rows of a table of costs, one per module."""
    widths = {str(name): int(bits) for name, bits in zip(rows["module"], rows["bits"], strict=True)}
    roles, ranges = ({str(m): str(v) for m, v in zip(rows["module"], rows[c], strict=True)} if c in rows else {} for c in ("role", "ranges"))
    return Choice(widths, math.fsum(rows["cost"]), int(rows["bytes"].sum()), roles, ranges)

"""Mixed precision against all combinations of widths."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from sdq.quant.mixed_precision import FP, Choice, choose, pareto
from sdq.settings import UserError

WIDTHS = (2, 3, 4, 6, 8, FP)
EXACT = st.integers(-3, 60).map(lambda n: n / 16)  # sums without rounding, and many ties
ANY = st.floats(-1e-3, 3, allow_subnormal=False)
SIZES = st.one_of(st.integers(1, 12), st.integers(10**9 - 20, 10**9))


def measured(rows: list[tuple[str, int, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["module", "bits", "cost", "bytes"])


@st.composite
def tables(draw: Any, costs: Any = EXACT) -> pd.DataFrame:
    """One to four modules with one to four widths each, rows in any order."""
    rows = []
    for i in range(draw(st.integers(1, 4))):
        for bits in draw(st.lists(st.sampled_from(WIDTHS), min_size=1, max_size=4, unique=True)):
            rows.append((f"m{i}", bits, draw(costs), draw(SIZES)))
    return measured(draw(st.permutations(rows)))


def combinations(table: pd.DataFrame) -> list[tuple[float, int]]:
    """(cost, bytes) of every choice of widths."""
    per_module = [
        list(zip(rows["cost"], rows["bytes"], strict=True)) for _, rows in table.groupby("module")
    ]
    return [
        (math.fsum(c for c, _ in picked), sum(b for _, b in picked))
        for picked in itertools.product(*per_module)
    ]


def check_sums(choice: Choice, table: pd.DataFrame) -> None:
    """The choice names every module once, and its cost and bytes are those of the table."""
    assert set(choice.widths) == set(table["module"])
    front = [
        table[(table["module"] == m) & (table["bits"] == b)].iloc[0]
        for m, b in choice.widths.items()
    ]
    assert choice.cost == math.fsum(row["cost"] for row in front)
    assert choice.bytes == sum(row["bytes"] for row in front)


# --- against all combinations


@given(tables(), st.data())
def test_least_cost_within_a_budget(table: pd.DataFrame, data: Any) -> None:
    """Exact, and of equal costs the smallest."""
    every = combinations(table)
    budget = data.draw(st.sampled_from(sorted({b for _, b in every}))) + data.draw(
        st.sampled_from([0, 0.5, 3])
    )
    choice = choose(table, budget_bytes=budget)
    check_sums(choice, table)
    assert (choice.cost, choice.bytes) == min((c, b) for c, b in every if b <= budget)


@given(tables(), st.data())
def test_least_bytes_within_a_tolerated_cost(table: pd.DataFrame, data: Any) -> None:
    """Exact, and of equal sizes the one of least cost."""
    every = combinations(table)
    tolerated = data.draw(st.sampled_from(sorted({c for c, _ in every}))) + data.draw(
        st.sampled_from([0, 1 / 32])
    )
    choice = choose(table, max_cost=tolerated)
    check_sums(choice, table)
    assert (choice.bytes, choice.cost) == min((b, c) for c, b in every if c <= tolerated)


@given(tables(ANY), st.data())
def test_any_costs(table: pd.DataFrame, data: Any) -> None:
    """Up to rounding in the costs; exact in the bytes."""
    every = combinations(table)
    largest = max(1e-30, float(table["cost"].abs().max()))
    cost, size = data.draw(st.sampled_from(every))
    choice = choose(table, budget_bytes=size)
    assert choice.bytes <= size
    assert choice.cost <= min(c for c, b in every if b <= size) + 1e-9 * largest
    choice = choose(table, max_cost=cost)  # a sum of the table itself is always reachable
    assert choice.cost <= cost + 1e-9 * largest
    assert choice.bytes <= min(b for c, b in every if c <= cost)


def test_a_byte_too_much_is_too_much() -> None:
    """Sizes of a gigabyte that differ by a byte, costs of the eighth digit: more than a solver's
    tolerance tells apart."""
    table = measured(
        [
            (f"m{i}", bits, cost, size)
            for i in range(3)
            for bits, cost, size in ((8, 1 + 1e-8 * i, 10**9), (FP, 0.0, 10**9 + 1))
        ]
    )
    assert choose(table, budget_bytes=3 * 10**9 + 2).widths == {"m0": 8, "m1": FP, "m2": FP}
    assert choose(table, budget_bytes=3 * 10**9 + 1.999).widths == {"m0": 8, "m1": 8, "m2": FP}


def test_rounding_of_a_sum_refuses_nobody() -> None:
    table = measured([("a", 4, 0.1, 1), ("b", 4, 0.2, 1), ("a", 8, 0.05, 9)])
    assert 0.1 + 0.2 > 0.3
    assert choose(table, max_cost=0.3).bytes == 2
    alone = table[table["bits"] == 4]
    assert choose(alone, max_cost=0.3).bytes == 2
    assert choose(table, max_cost=0.3 - 1e-9).bytes == 10
    with pytest.raises(UserError):
        choose(alone, max_cost=0.3 - 1e-9)


def test_a_limit_far_off_is_none() -> None:
    table = measured([("a", 4, 0.1, 1), ("a", 8, 0.05, 9), ("b", 4, 0.0, 3)])
    for far in (1e6, 1e300, math.inf):
        assert choose(table, budget_bytes=far).widths == {"a": 8, "b": 4}
        assert choose(table, max_cost=far).widths == {"a": 4, "b": 4}


def greedy(table: pd.DataFrame, budget: int) -> float:
    """Cost of widening, again and again, what gains most per byte and still fits."""
    # the smallest
    at = {
        row["module"]: row for row in table.sort_values("bytes", ascending=False).to_dict("records")
    }
    while True:
        room = budget - sum(row["bytes"] for row in at.values())
        steps = [
            (
                row,
                row["bytes"] - at[row["module"]]["bytes"],
                at[row["module"]]["cost"] - row["cost"],
            )
            for row in table.to_dict("records")
        ]
        steps = [(gain / more, row) for row, more, gain in steps if 0 < more <= room and gain > 0]
        if not steps:
            return math.fsum(row["cost"] for row in at.values())
        best = max(steps, key=lambda step: step[0])[1]
        at[best["module"]] = best


def test_where_greedy_is_wrong() -> None:
    """The best ratio uses up room in which the two others would have gained more together."""
    table = measured(
        [
            ("a", 4, 6.1, 1),
            ("a", 8, 0.0, 7),
            ("b", 4, 5.0, 1),
            ("b", 8, 0.0, 6),
            ("c", 4, 5.0, 1),
            ("c", 8, 0.0, 6),
        ]
    )
    assert greedy(table, 13) == 10.0
    choice = choose(table, budget_bytes=13)
    assert choice.widths == {"a": 4, "b": 8, "c": 8}
    assert choice.cost == 6.1


def test_a_large_model() -> None:
    """All widths of 36 modules: never over the budget, and better than greedy."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(36):
        weights, weak = int(rng.integers(100_000, 3_000_000)), np.exp(rng.normal(-6, 1.5))
        rows += [
            (f"m{i}", b, 0.0 if b == FP else weak * 4.0**-b + 1e-7 * rng.normal(), weights * b // 8)
            for b in WIDTHS
        ]
    table = measured(rows)
    gained = []
    for bits in (3, 4, 6):
        budget = int(table[table["bits"] == bits]["bytes"].sum()) - 1000
        choice = choose(table, budget_bytes=budget)
        check_sums(choice, table)
        assert choice.bytes <= budget
        gained.append(greedy(table, budget) - choice.cost)
    assert min(gained) > 0


def solved(table: pd.DataFrame, budget: int) -> float:
    """The least cost within a budget, by an integer program that HiGHS solves."""
    cost, size = table["cost"].to_numpy(), table["bytes"].to_numpy(float)
    member = np.array([table["module"] == name for name in dict.fromkeys(table["module"])])
    limits = [LinearConstraint(member, 1, 1), LinearConstraint(size, -np.inf, budget)]
    return float(
        milp(
            cost, integrality=1, bounds=Bounds(0, 1), constraints=limits, options={"mip_rel_gap": 0}
        ).fun
    )


@pytest.mark.parametrize("seed", range(5))
def test_an_integer_program_finds_nothing_cheaper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(12):
        weights, weak = int(rng.integers(100, 3000)), float(np.exp(rng.normal(0, 1.5)))
        rows += [(f"m{i}", b, 0.0 if b == FP else weak * 4.0**-b, weights * b) for b in WIDTHS]
    table = measured(rows)
    for bits in (2.5, 4, 5):
        budget = int(table[table["bits"] == 2]["bytes"].sum() * bits / 2)
        assert choose(table, budget_bytes=budget).cost == pytest.approx(
            solved(table, budget), rel=1e-6
        )


def test_costs_of_many_sizes_take_no_longer() -> None:
    """A hundred modules of equal shapes whose costs lie eleven powers of ten apart: a solver of
    integer programs tells few of these choices apart."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(100):
        weak = 10.0 ** rng.uniform(-17, -6)
        rows += [
            (f"m{i}", b, 0.0 if b == FP else weak * 4.0**-b, (i % 3 + 1) * 32 * b) for b in WIDTHS
        ]
    table, started = measured(rows), time.process_time()
    front = pareto(table)
    assert time.process_time() - started < 20  # 0.2 s
    assert (front["cost"].diff()[1:] < 0).all()


# --- what is refused


def test_exactly_one_limit() -> None:
    table = measured([("a", 4, 1.0, 10)])
    with pytest.raises(
        ValueError, match=r"exactly one of budget_bytes and max_cost must be given, got neither"
    ):
        choose(table)
    with pytest.raises(ValueError, match=r"got both"):
        choose(table, budget_bytes=10, max_cost=1)


@given(tables(ANY))
def test_a_limit_out_of_reach_names_the_least(table: pd.DataFrame) -> None:
    """What the sentence names can be given, and is reached."""
    every = combinations(table)
    smallest, least = min(b for _, b in every), min(c for c, _ in every)
    with pytest.raises(
        UserError, match=rf"budget must be at least {smallest} bytes, .*, got {smallest - 1};"
    ):
        choose(table, budget_bytes=smallest - 1)
    assert choose(table, budget_bytes=smallest).bytes == smallest
    with pytest.raises(UserError, match=r"tolerated cost must be at least") as caught:
        choose(table, max_cost=least - 1)
    named = float(re.findall(r"at least ([^,]+),", str(caught.value))[0])
    assert named == least
    assert choose(table, max_cost=named).cost == pytest.approx(least, abs=1e-9)
    for limit in ({"max_cost": math.nan}, {"budget_bytes": math.nan}):
        with pytest.raises(UserError, match="got nan"):
            choose(table, **limit)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "at least one row"),
        ([("a", 1, 0.0, 1)], "bits must be from 2 to 8, or 32 for FP, got 1"),
        ([("a", 16, 0.0, 1)], "got 16"),
        ([("a", 4, 0.0, 1), ("a", 4, 1.0, 1)], "a at 4 bits has more"),
        ([("a", 4, math.nan, 1)], "costs must be finite"),
        ([("a", 4, 0.0, 0)], "bytes must be whole numbers"),
        ([("a", 4, 0.0, 1.5)], "bytes must be whole numbers"),
    ],
)
def test_an_unsound_table(rows: Any, said: str) -> None:
    for ask in (lambda t: choose(t, budget_bytes=10), pareto):
        with pytest.raises(ValueError, match=said):
            ask(measured(rows))
    with pytest.raises(ValueError, match="bytes is missing"):
        choose(measured(rows).drop(columns="bytes"), budget_bytes=1)


# --- sweep


@given(tables(), st.integers(2, 8))
def test_pareto_is_monotone_and_undominated(table: pd.DataFrame, points: int) -> None:
    every, front = combinations(table), pareto(table, points)
    assert list(front.columns) == ["bytes", "cost", "widths", "ranges"]
    assert 1 <= len(front) <= points
    assert (front["bytes"].diff()[1:] > 0).all()
    assert (front["cost"].diff()[1:] < 0).all()
    assert front["bytes"].iloc[0] == min(b for _, b in every)
    assert (front["cost"].iloc[-1], front["bytes"].iloc[-1]) == min(every)
    for row in front.itertuples():
        assert not any(
            c <= row.cost and b <= row.bytes and (c, b) != (row.cost, row.bytes) for c, b in every
        )
        check_sums(Choice(json.loads(row.widths), row.cost, row.bytes), table)


def test_pareto_sweeps_evenly_in_the_logarithm() -> None:
    """Of 4^6 choices twenty, and where many sizes are to be had none is farther from the next than
    a step and what a module takes."""
    rows = [
        (f"m{i}", b, 2.0**-b * (1 + 0.1 * i), 1000 * b + i) for i in range(6) for b in (2, 4, 8, FP)
    ]
    front = pareto(measured(rows), 20)
    assert 15 <= len(front) <= 20
    steps = np.log(front["bytes"].to_numpy(float))
    assert np.diff(steps).max() < 0.55
    assert front["bytes"].iloc[-1] == 6 * 32000 + 15
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        pareto(measured(rows), 1)

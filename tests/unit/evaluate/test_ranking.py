"""The ranking of modules: what stands out of the noise, in which order, and how alike the estimate
is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sdq.evaluate.ranking import Agreement, ranked, rho
from tests.helpers import made_up_sensitivity as made_up


def tables(
    kl: dict[str, float], floor: dict[str, float]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(sensitivity, estimate, floor) of modules with these KL and floors; the estimate is half the
    KL."""
    rows = []
    for measure, sign in (("but_one", -1), ("one", 1)):
        for language, factor in (("de", 9), ("all", 1)):
            rows += [
                (m, "q", 0, i, measure, language, sign * factor * v, 0.5 * v, 2 * v, v / 10)
                for i, (m, v) in enumerate(kl.items())
            ]
    exact = pd.DataFrame(
        rows,
        columns=[
            "module",
            "role",
            "block",
            "order",
            "measure",
            "language",
            "kl",
            "kl_low",
            "kl_high",
            "flips",
        ],
    )
    guess = pd.DataFrame({"module": list(kl), "estimate": [v / 2 for v in kl.values()]})
    noise = [
        ("module", m, "kl", v * small, v * large, cause)
        for m, v in floor.items()
        for cause, small, large in (("batch", 0.1, 0.5), ("perturbation", 0.2, 1))
    ]
    noise += [("module", m, "flips", 9.0, 9.0, "batch") for m in floor] + [
        ("site", m, "kl", 9.0, 9.0, "batch") for m in floor
    ]
    return (
        exact,
        guess,
        pd.DataFrame(noise, columns=["kind", "name", "measure", "value", "high", "cause"]),
    )


def test_modules_are_ranked_by_what_each_alone_does() -> None:
    table = ranked(
        *tables(
            {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.0}, {"a": 0.05, "b": 0.01, "c": 0.3, "d": 0.0}
        )
    )
    assert list(table["module"]) == ["b", "a", "c", "d"]
    assert table["rank"].tolist() == [1, 2, pd.NA, pd.NA]
    # c is below its floor, d is not above it
    assert list(table["above"]) == [
        True,
        True,
        False,
        False,
    ]
    assert list(table["floor"]) == [0.01, 0.05, 0.3, 0.0]
    assert list(table["order"]) == [1, 0, 2, 3]
    assert table.loc[0, ["kl", "kl_low", "kl_high", "flips", "estimate"]].tolist() == pytest.approx(
        [0.4, 0.2, 0.8, 0.04, 0.2]
    )


def test_what_a_ranking_must_be_given() -> None:
    exact, guess, noise = tables({"a": 0.1, "b": 0.4}, {"a": 0.05, "b": 0.01})
    with pytest.raises(ValueError, match='measure "one"'):
        ranked(exact[exact["measure"] == "but_one"], guess, noise)
    with pytest.raises(ValueError, match="b has none"):
        ranked(exact, guess, noise[noise["name"] != "b"])
    assert math.isnan(ranked(exact, guess.iloc[:1], noise).set_index("module").loc["b", "estimate"])


def test_rho() -> None:
    table = ranked(*tables({"a": 0.1, "b": 0.4, "c": 0.2}, {"a": 0.0, "b": 0.0, "c": 9.0}))
    assert rho(table) == pytest.approx((1.0, 3))
    assert rho(table.assign(estimate=-table["estimate"])) == pytest.approx((-1.0, 3))
    assert rho(table.assign(estimate=[1.0, np.nan, 2.0])) == pytest.approx(Agreement(-1.0, 2))
    assert math.isnan(rho(table.assign(estimate=1.0)).rho)


def test_made_up_tables_are_ranked() -> None:
    table = ranked(made_up.sensitivity(), made_up.estimate(), made_up.floor())
    assert list(table["module"]) == sorted(made_up.KL, key=lambda name: -made_up.KL[name])
    assert list(table.loc[~table["above"], "module"]) == [made_up.QUIET]
    assert rho(table).rho > 0.9

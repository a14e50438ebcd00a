"""Numbers for people are written one way."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from pages.components.figure import as_shown
from sdq.figures.methods import bracket
from sdq.labels import signed, width
from sdq.quant.spec import ActivationSpec, OutlierColumns, Rule, WeightSpec
from sdq.recipe import Recipe
from sdq.settings import ROOT


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-2462, 0, "−2,462"),
        (10_500, 0, "+10,500"),
        (-2.14, 1, "−2.1"),
        (1.5, 1, "+1.5"),
        (-0.00001, 4, "+0.0000"),
        (np.float64(-0.3), 0, "+0"),
        (math.nan, 1, ""),
    ],
)
def test_a_signed_number(value: float, digits: int, text: str) -> None:
    assert signed(value, digits) == text


def test_an_interval_has_no_negative_zero() -> None:
    assert bracket(-0.04, 1.2, "+") == " [+0.0, +1.2]"
    assert bracket(-3.0, -0.04) == " [−3.0, 0.0]"


def test_a_table_shows_no_negative_zero_and_keeps_what_is_missing() -> None:
    table = pd.DataFrame({"wins": [-0.00004, -0.5, math.nan], "value": [-1e-9, 2.0, 3.0]})
    shown = as_shown(table, {"wins": "%.4f", "value": "%.3g", "absent": "%.0f"})
    assert [f"{value:.4f}" for value in shown["wins"]] == ["0.0000", "-0.5000", "nan"]
    assert shown["value"].tolist() == table["value"].tolist()
    assert as_shown(-table, {"wins": "%.4f"})["wins"][0] == 0.00004  # as the file has it


def test_no_figure_or_page_writes_a_sign_by_itself() -> None:
    own = [
        f"{path.name}: {line.strip()}"
        for room in ("sdq/figures", "pages")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\{[^{}]*:\+[^{}]*\}", line)
    ]
    assert not own


def test_tables_of_pages_leave_cells_without_a_value_empty() -> None:
    for path in sorted((ROOT / "pages").rglob("*.py")):
        text = path.read_text("utf-8")
        for call in re.findall(r"st\.dataframe\((.*?hide_index=True.*?)\n\s*\)?\n", text, re.S):
            assert 'placeholder=""' in call or "counts_with_commas(" in call, path.name


def test_a_run_is_mixed_where_widths_differ() -> None:
    """A rule for one module alone, with the same bits, makes no other width."""
    first = Rule(weight=WeightSpec(), activation=ActivationSpec())
    kept = first.model_copy(update={"name": "*.3.*", "outliers": OutlierColumns(columns=(1,))})
    narrow = first.model_copy(update={"name": "*.3.*", "weight": WeightSpec(bits=4)})
    named = [
        width(Recipe(rules=rules).model_dump())
        for rules in ((first,), (first, kept), (first, narrow))
    ]
    assert named == ["INT8", "INT8", "INT8 mixed"]

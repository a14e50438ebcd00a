"""Remedies drawn: every number is one of the tables, and what was not run says so; the command line
writes the recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from sdq.figures.remedies import FULL, RUN, agreement, picture, printed, reading, table
from sdq.figures.widths import widths_picture
from sdq.inspection.remedies import choice_at, current_choice
from sdq.quant.mixed_precision import FP
from sdq.recipe import PRESETS, load_recipe
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_remedies, made_up_sensitivity
from tests.helpers.commands import refused, run

COSTS, PARETO, REMEDIES = (
    made_up_remedies.costs(),
    made_up_remedies.pareto(),
    made_up_remedies.remedies(),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    return Store(tmp_path / "data" / "runs", shipped=None)


@pytest.fixture
def report(store: Store) -> Report:
    made = made_up.add(store, PRESETS["ptq-w3a8"])
    made_up_inspection.write(store, made.run)
    return made


def test_the_table_has_the_run_fp32_and_each_remedy(report: Report) -> None:
    rows = table(report, REMEDIES, COSTS).set_index("kind")
    assert rows.loc[RUN, "zero-shot"] == pytest.approx(100 * report.quantized.zero_shot_mean)
    assert rows.loc[RUN, "predicted"] == current_choice(COSTS).cost
    assert rows.loc[FULL, "change"] == pytest.approx(
        100 * (report.reference.zero_shot_mean - report.quantized.zero_shot_mean)
    )
    assert rows.loc[FULL, "MB"] == report.size_bytes["fp32"] / 1e6
    for row in REMEDIES.itertuples():
        mine = rows[rows["remedy"].str.startswith(row.what)].iloc[0]
        assert mine[["MB", "predicted", "change", "low", "high", "p"]].tolist() == [
            row.bytes / 1e6,
            row.predicted,
            row.change,
            row.low,
            row.high,
            row.p,
        ]
    assert rows["MB"].is_monotonic_increasing
    worst = (
        COSTS[COSTS["present"]]
        .merge(pd.Series(made_up_sensitivity.KL, name="kl"), left_on="module", right_index=True)
        .nlargest(1, "kl")
        .iloc[0]
    )
    label = f"block {worst['block']} · " if worst["block"] >= 0 else ""
    assert f"in FP32: {label}" in rows.loc["worst modules in FP32", "remedy"]


def test_columns_in_16_bits_are_another_kind_than_modules_in_fp32(report: Report) -> None:
    what = ["Split column 3 of x into two halves", "Keep column 3 of x in 16 bits", "Keep one"]
    codes = ["split-column", "keep-column", "keep-1"]
    rows = table(report, REMEDIES.assign(remedy=codes, what=what), COSTS)
    named = rows.set_index("kind")["remedy"]
    assert named["columns split"] == what[0]
    assert named["columns in 16 bits"] == what[1]
    assert named["worst modules in FP32"].startswith("Keep one: ")
    drawn = {trace.name: trace.marker.symbol for trace in picture(report, rows, PARETO)[0].data}
    assert len({drawn[kind] for kind in named.index}) == len(named)


def test_the_reading_names_what_reliably_helps(report: Report) -> None:
    rows = table(report, REMEDIES, COSTS)
    text = reading(rows)
    assert "“Mixed widths, as large as this run” gains +4.2 points [+3.3, +5.1]" in text
    assert "Spearman's rank correlation ρ = 1.00" in text
    none = reading(table(report, REMEDIES.assign(low=-1.0), COSTS))
    assert "None of the 3 remedies that were run helps reliably" in none
    never = reading(
        table(
            report, REMEDIES.assign(change=math.nan, low=math.nan, high=math.nan, p=math.nan), COSTS
        )
    )
    assert "None of its remedies has been run yet" in never
    other = REMEDIES.assign(change=[-0.3, 4.2, 0.6])
    assert agreement(table(report, other, COSTS))[0] == pytest.approx(-0.5)


def test_what_was_not_run_says_so(report: Report) -> None:
    rows = table(
        report,
        REMEDIES.assign(
            change=math.nan, low=math.nan, high=math.nan, p=math.nan, zero_shot=math.nan
        ),
        COSTS,
    )
    shown = printed(rows, report.metric)
    assert (shown["zero-shot mean, %"] == "not run yet").sum() == 3
    assert picture(report, rows, PARETO)[0].data


def test_the_picture_has_both_panels_and_the_front(report: Report) -> None:
    rows = table(report, REMEDIES, COSTS)
    for theme in ("light", "dark"):
        figure, _, text = picture(report, rows, PARETO, theme, 2)
        assert text == reading(rows)
        front, *points = figure.data
        assert list(front.x) == (PARETO["bytes"] / 1e6).tolist()
        assert list(front.y)[:-1] == PARETO["cost"].tolist()[:-1]
        measured = {
            name: y
            for trace in points
            if trace.yaxis == "y"
            for name, y in zip(trace.customdata, trace.y, strict=True)
        }
        predicted = {
            name: y
            for trace in points
            if trace.yaxis == "y2"
            for name, y in zip(trace.customdata, trace.y, strict=True)
        }
        assert measured == rows.set_index("remedy")["change"].to_dict()
        assert math.isnan(predicted.pop(FULL))
        assert predicted == rows.set_index("remedy")["predicted"].drop(FULL).to_dict()
        assert (
            len({(t.marker.symbol, t.name) for t in points})
            == len({t.marker.symbol for t in points})
            == rows["kind"].nunique()
        )
        low, high = figure.layout.xaxis.range
        assert low < math.log10(rows["MB"].min()) < math.log10(rows["MB"].max()) < high


def test_the_map_says_how_many_bits(report: Report) -> None:
    for row in PARETO.to_dict("records"):
        choice = choice_at(row, COSTS)
        figure, rows, text = widths_picture(choice, COSTS)
        bits = next(iter(set(json.loads(row["widths"]).values())))
        shown = {
            cell[0]: text
            for cell, text in zip(figure.data[0].customdata, figure.data[0].text, strict=True)
        }
        assert set(shown) == set(choice.widths)
        for module, cell in shown.items():
            coarse = "tensor" in set(COSTS.loc[COSTS["module"] == module, "ranges"])
            assert cell == ("FP" if bits == FP else f"{bits}c" if coarse else f"{bits}")
        assert (
            f"Of {len(rows)} modules: {len(rows)} {'in FP32' if bits == FP else f'at {bits} bits'}."
            in text
        )


def test_the_command_line_writes_a_recipe(
    report: Report, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"
    code, said, _ = run(capsys, "remedy", report.run, "--size", "5500000", "--out", str(out))
    assert code == 0
    size = int(said.split()[0])
    assert 5_300_000 < size <= 5_500_000
    assert f"run {report.run}: {report.size_bytes['quantized_simulated']}" in said
    recipe = load_recipe(str(out))
    assert recipe.name == f"ptq-w3a8-mixed-{size / 1e6:.2f}mb"
    assert recipe.rules[:2] == PRESETS["ptq-w3a8"].rules
    assert run(capsys, "remedy", report.run, "--tolerate", "0.5", "--out", str(out))[0] == 0
    assert "exactly one limit" in refused(capsys, "remedy", report.run, "--out", str(out))
    assert "exactly one limit" in refused(
        capsys, "remedy", report.run, "--size", "1", "--tolerate", "1"
    )
    assert "the size must be at least" in refused(capsys, "remedy", report.run, "--size", "1")
    assert "must be written to a file" in refused(
        capsys, "remedy", report.run, "--size", "5500000", "--out", str(tmp_path)
    )

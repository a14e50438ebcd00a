"""What schemes cost: the numbers are the reports', and the sentence is what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.figures import schemes
from sdq.figures.style import MARKS
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up

LOST = {"ptq-w2a8": 0.5, "sdq-att-kld-w2a8": 0.9, "ptq-int8-dynamic": 1.0}


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, list[Report]]:
    store = Store(tmp_path / "runs", None)
    made = {name: made_up.add(store, PRESETS[name], keep=kept) for name, kept in LOST.items()}
    return {
        "W2A8": [made["ptq-w2a8"], made["sdq-att-kld-w2a8"]],
        "INT8": [made["ptq-int8-dynamic"]],
    }


def test_the_numbers_are_those_of_the_reports(runs: dict[str, list[Report]]) -> None:
    rows = schemes.table(runs)
    assert list(zip(rows["scheme"], rows["method"], strict=True)) == [
        ("W2A8", "PTQ"),
        ("W2A8", "SDQ"),
        ("INT8", "PTQ"),
    ]
    for (_, row), report in zip(
        rows.iterrows(), [each for some in runs.values() for each in some], strict=True
    ):
        full, now = report.reference, report.quantized
        assert row["zero-shot"] == pytest.approx(100 * (full.zero_shot_mean - now.zero_shot_mean))
        assert row["home"] == pytest.approx(100 * (full.by_language["en"] - now.by_language["en"]))


def test_the_sentence_names_the_worst_and_the_best(runs: dict[str, list[Report]]) -> None:
    rows = schemes.table(runs)
    lost = rows.set_index(["scheme", "method"])["zero-shot"]
    text = schemes.reading(rows)
    assert text.startswith(f"W2A8 costs most without training: {lost['W2A8', 'PTQ']:.1f} points")
    assert f"INT8 costs {max(0.0, lost['INT8', 'PTQ']):.1f}. " in text
    assert text.endswith(f"With SDQ, W2A8 costs {lost['W2A8', 'SDQ']:.1f}.")
    alone = schemes.reading(rows[rows["scheme"] == "INT8"])
    assert "; " not in alone
    assert "SDQ" not in alone


def test_every_number_is_drawn_with_the_mark_of_its_method(runs: dict[str, list[Report]]) -> None:
    rows = schemes.table(runs)
    figure = schemes.picture(rows, "dark")
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    asked = [(method, group) for method in ("PTQ", "SDQ") for group in schemes.GROUPS]
    for trace, (method, group) in zip(marks, asked, strict=True):
        mine = rows[rows["method"] == method]
        assert trace.name == method
        assert list(trace.x) == list(mine[group])
        assert trace.showlegend is (group == "zero-shot")
        symbol = MARKS[method].symbol + ("-open" if group == "home" else "")
        assert (trace.marker.symbol, trace.marker.color) == (symbol, MARKS[method].dark)
    assert list(figure.layout.yaxis.ticktext) == ["W2A8", "INT8"]

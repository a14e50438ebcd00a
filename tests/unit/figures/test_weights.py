"""Pictures of the weights: their numbers, their sentences, their edge cases."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from sdq.figures.channels import channel_table, channels_picture
from sdq.figures.weight_histograms import histogram_picture
from sdq.figures.weights import (
    MEASURES,
    error_share,
    find,
    headline,
    modules_picture,
    nearest,
    reading,
    table,
)
from sdq.recipe import PRESETS
from sdq.settings import UserError
from tests.helpers import made_up_tables

QUERY = "roberta.encoder.layer.3.attention.self.query"
EMBEDDING = "roberta.embeddings.word_embeddings"


@pytest.fixture(scope="module")
def weights() -> pd.DataFrame:
    """A 3-bit run."""
    return made_up_tables.tables(PRESETS["ptq-w3a8"], 0.8)["weights"]


@pytest.fixture(scope="module")
def full() -> pd.DataFrame:
    """An FP32 run."""
    return made_up_tables.tables(PRESETS["fp32"], 1.0)["weights"]


def changed(weights: pd.DataFrame, **values: object) -> pd.DataFrame:
    """A copy in which QUERY has other values."""
    rows = weights.to_dict("records")
    return pd.DataFrame([{**row, **values} if row["module"] == QUERY else row for row in rows])


def test_table_has_the_stored_numbers(weights: pd.DataFrame) -> None:
    rows = table(weights)
    assert list(rows["module"]) == [name for name, _, _ in made_up_tables.MODULES]
    assert list(rows["SQNR, dB"]) == list(weights["sqnr_db"])
    assert list(rows["MSE, ×10⁻⁶"]) == pytest.approx(list(1e6 * weights["mse"]))
    assert list(rows["codes used, %"]) == pytest.approx(
        list(100 * weights["codes_used"] / weights["codes"])
    )
    assert rows.loc[rows["module"] == QUERY, "layer"].item() == "block 3 · query"


def test_largest_over_typical_weight_is_the_same_from_errors_and_from_the_histogram(
    weights: pd.DataFrame, full: pd.DataFrame
) -> None:
    column = "largest / typical weight"
    assert list(table(weights)[column]) == pytest.approx(list(table(full)[column]), rel=0.01)
    two = pd.DataFrame(
        [{**find(full, QUERY).to_dict(), "low": -1.0, "high": 1.0, "fp32": np.array([5, 0, 0, 5])}]
    )
    assert table(two)[column].item() == pytest.approx(1 / math.sqrt(0.75**2 - 0.5**2 / 12))


def test_reading_names_the_worst_module(weights: pd.DataFrame) -> None:
    text = reading(changed(weights, sqnr_db=-6.0), "W3A8 by PTQ")
    assert text.startswith(
        "W3A8 by PTQ hurts the weights of block 3 · query most: SQNR -6.0 dB, so the rounding "
        "error is 200 %"
    )
    assert f"the {len(weights)} rounded modules" in text
    assert "1 module stays in FP32" in reading(changed(weights, sqnr_db=math.nan, bits=32), "x")


def test_reading_of_fp32_and_of_exact_rounding(full: pd.DataFrame, weights: pd.DataFrame) -> None:
    assert reading(full, "FP32").startswith("Nothing is rounded in this FP32 run.")
    assert "no error" in reading(changed(weights, sqnr_db=200.0), "x")
    assert [error_share(db) for db in (20.0, 46.0, 0.0, 200.0)] == ["10 %", "0.5 %", "100 %", "0 %"]


def test_headline(weights: pd.DataFrame, full: pd.DataFrame) -> None:
    row = find(weights, QUERY)
    values = {label: value for label, value, _ in headline(weights, QUERY)}
    assert values == {
        "MSE": f"{1e6 * row['mse']:.3g} ×10⁻⁶" if row["mse"] < 1e-3 else f"{row['mse']:.4f}",
        "SQNR": f"{row['sqnr_db']:.1f} dB",
        "Clipped": "0 %",
        "Codes used": f"{row['codes_used']:.3g} of 7",
    }
    many = {
        label: value
        for label, value, _ in headline(
            changed(weights, ranges=1920, granularity="channel", codes_used=6.25), QUERY
        )
    }
    assert (many["Scales stored"], many["Codes used"]) == ("1,920", "6.25 of 7")
    assert [label for label, _, _ in headline(full, QUERY)] == ["Bits", "Largest weight"]


@pytest.mark.parametrize("measure", MEASURES)
def test_map_has_a_cell_for_every_module(weights: pd.DataFrame, measure: str) -> None:
    figure, rows, text = modules_picture(weights, measure, QUERY, "dark")
    cells = figure.data[0]
    assert [c[0] for c in cells.customdata] == list(weights["module"])
    assert all(len(t) <= 5 for t in cells.text)
    assert cells.x[0] == 6  # the embedding has a row of its own
    assert cells.y[0] == 0
    box = figure.layout.shapes[0]
    assert (box.x0, box.x1, box.y0, box.y1) == (-0.5, 0.5, 3.5, 4.5)
    assert MEASURES[measure].column in text
    assert len(rows) == len(weights)


def test_map_paints_the_worst_strongest_and_leaves_fp32_empty(
    weights: pd.DataFrame, full: pd.DataFrame
) -> None:
    worst, best = (list(changed(weights, sqnr_db=db)["module"]).index(QUERY) for db in (-1.0, 99.0))
    assert (
        modules_picture(changed(weights, sqnr_db=-1.0), "SQNR", QUERY)[0]
        .data[0]
        .marker.color[worst]
        == "#a63f00"
    )
    assert (
        modules_picture(changed(weights, sqnr_db=99.0), "SQNR", QUERY)[0].data[0].marker.color[best]
        == "#f1f3f6"
    )
    exact = modules_picture(changed(weights, sqnr_db=200.0), "SQNR", QUERY)[0].data[0]
    assert (exact.text[best], exact.marker.color[best]) == ("exact", "#f1f3f6")
    figure, _, text = modules_picture(full, "SQNR", QUERY)
    assert set(figure.data[0].text) == {"FP32"}
    assert text.startswith("Nothing is rounded")


def test_histogram_has_counts_and_grid(weights: pd.DataFrame, full: pd.DataFrame) -> None:
    row = find(weights, QUERY)
    figure, rows, text = histogram_picture(weights, QUERY, "PTQ")
    assert rows["before rounding"].sum() == rows["rounded"].sum() == row["fp32"].sum()
    assert (rows["from"].iloc[0], rows["to"].iloc[-1]) == pytest.approx((row["low"], row["high"]))
    assert [trace.name for trace in figure.data] == [
        "rounded to 3 bits",
        "before rounding",
        "representable values",
    ]
    assert list(figure.data[2].x) == pytest.approx(list(row["grid"]))
    assert "7 values" in text
    figure, rows, text = histogram_picture(weights, QUERY, "PTQ", log=True)
    assert figure.layout.yaxis.type == "log"
    assert 0 not in [n for n in figure.data[1].y if n is not None]
    figure, rows, text = histogram_picture(full, QUERY, "FP32")
    assert len(figure.data) == 1
    assert "rounded" not in rows
    assert text.endswith("They are not rounded in this run.")


def test_without_a_common_grid_a_sentence_says_so(weights: pd.DataFrame) -> None:
    figure, _, text = histogram_picture(
        changed(weights, grid=None, ranges=192, granularity="channel"), QUERY, "SDQ multi"
    )
    assert len(figure.data) == 2
    assert "Every output channel has its own grid (192 scales" in text


def test_channels_mark_outliers(weights: pd.DataFrame) -> None:
    row = find(weights, QUERY)
    high = np.full(192, 0.1, "float32")
    high[5], high[9] = 0.6, 0.41
    strange = changed(weights, channel_low=-high / 2, channel_high=high)
    rows = channel_table(strange, QUERY)
    assert list(rows.loc[rows["outlier"], "channel"]) == [5, 9]
    figure, _, text = channels_picture(strange, QUERY)
    assert "2 of 192 exceed 4 times that: 5 (6.0 times), 9 (4.1 times)." in text
    assert "All share one scale" in text
    assert list(figure.data[3].text) == ["5", "9"]
    figure, rows, _ = channels_picture(strange, QUERY, by_reach=True)
    assert list(rows["channel"][:2]) == [5, 9]
    even = changed(weights, channel_low=-high * 0 - 0.1, channel_high=high * 0 + 0.1)
    assert "None exceeds 4 times that" in channels_picture(even, QUERY)[2]
    assert "768 widest of 9,000" not in text
    kept = changed(weights, channels=9000)
    figure, rows, text = channels_picture(kept, QUERY)
    assert rows["reach"].is_monotonic_decreasing
    assert "the 192 widest of 9,000" in text
    assert row["channels"] == 192


def test_unknown_layer_is_refused(weights: pd.DataFrame) -> None:
    for draw in (
        lambda: headline(weights, "x"),
        lambda: modules_picture(weights, "SQNR", "x"),
        lambda: channels_picture(weights, "x"),
    ):
        with pytest.raises(UserError, match="layer must be one of the 39 modules"):
            draw()


def test_nearest_understands_what_other_pages_select() -> None:
    names = [name for name, _, _ in made_up_tables.MODULES]
    assert nearest("roberta.encoder.layer.3", names) == QUERY
    assert (
        nearest("roberta.encoder.layer.3.attention.output.dense:input", names)
        == "roberta.encoder.layer.3.attention.output.dense"
    )
    assert nearest(EMBEDDING, names) == EMBEDDING
    assert nearest(EMBEDDING, names[1:]) is None
    assert nearest(None, names) is None

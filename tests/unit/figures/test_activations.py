"""Pictures of the activations: their numbers, their sentences, their edge cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sdq.figures.activations import (
    compared,
    histogram_picture,
    modules,
    position_picture,
    reading,
    sqnr_picture,
    table,
)
from sdq.figures.dimensions import dimension_picture, dimension_table, outlier_units, units_reading
from sdq.recipe import PRESETS
from sdq.settings import UserError
from tests.helpers import made_up_tables

QUERY = "roberta.encoder.layer.3.attention.self.query"


@pytest.fixture(scope="module")
def found() -> dict[str, pd.DataFrame]:
    """A run with 8-bit inputs: SQNR 40 dB in English, 39 in German, ... 26 in Swahili."""
    return made_up_tables.tables(PRESETS["ptq-w3a8"], 0.8)


@pytest.fixture(scope="module")
def full() -> dict[str, pd.DataFrame]:
    """An FP32 run."""
    return made_up_tables.tables(PRESETS["fp32"], 1.0)


def spans(rows: pd.DataFrame, **span: float) -> pd.DataFrame:
    """A copy in which languages reach from -span to span at QUERY, others from -1 to 1."""
    out = rows[rows["module"] == QUERY].copy()
    out["language_high"] = [span.get(code, 1.0) for code in out["language"]]
    out["language_low"] = -out["language_high"]
    return out


def test_modules_are_those_with_inputs(found: dict[str, pd.DataFrame]) -> None:
    assert list(modules(found["activations"])["module"]) == [
        name for name, role, _ in made_up_tables.MODULES if role != "embedding"
    ]


def test_table_compares_with_the_language_with_labels(found: dict[str, pd.DataFrame]) -> None:
    rows = table(spans(found["activations"], en=2.0, th=5.0), QUERY, "en").set_index("code")
    assert rows.loc["th", "times the span of English"] == 2.5
    assert (rows.loc["en", "SQNR, dB"], rows.loc["sw", "SQNR, dB"]) == (40.0, 26.0)
    assert "times the span of the median" in table(found["activations"], QUERY, "xx")


def test_languages_worth_drawing(
    found: dict[str, pd.DataFrame], full: dict[str, pd.DataFrame]
) -> None:
    rows = spans(found["activations"], th=5.0, zh=4.0)
    assert compared(rows, QUERY, "en") == ["sw", "th", "zh"]
    assert compared(rows, QUERY, "en", "de") == ["de", "sw", "th", "zh"]
    assert compared(spans(found["activations"], sw=5.0, zh=4.0), QUERY, "en", "en") == ["sw", "zh"]
    assert compared(spans(full["activations"], th=5.0, zh=4.0), QUERY, "en") == ["th", "zh"]


def test_reading(found: dict[str, pd.DataFrame], full: dict[str, pd.DataFrame]) -> None:
    text = reading(spans(found["activations"], en=2.0, th=5.0), QUERY, "en")
    assert (
        "The inputs of block 3 · query range from -5 to 5; Thai has the widest range, 2.50 times "
        "that of English" in text
    )
    assert (
        "hurts Swahili most: SQNR 26.0 dB (an error of 5 % of the values), 14.0 dB below English"
        in text
    )
    assert reading(full["activations"], QUERY, "en").endswith(
        "These inputs are not rounded in this run."
    )
    alone = spans(found["activations"], en=2.0)
    assert "After rounding, they have an SQNR of 40.0 dB" in reading(
        alone[alone["language"] == "en"], QUERY, "en"
    )


def test_histogram_draws_languages_and_ranges(
    found: dict[str, pd.DataFrame], full: dict[str, pd.DataFrame]
) -> None:
    figure, rows, text = histogram_picture(found["activations"], QUERY, ["en", "sw"], "en")
    assert [trace.name for trace in figure.data] == [
        "English",
        "Swahili",
        "chosen range",
        "widest range",
    ]
    assert rows[["English", "Swahili"]].sum().tolist() == pytest.approx([100, 100])
    assert set(figure.data[2].x) - {None} == {-3.0, 3.0}
    assert set(figure.data[3].x) - {None} == {-6.0, 6.0}
    assert figure.layout.yaxis.type == "log"
    assert "Every token has its own range: the median is -3 to 3, the widest -6 to 6." in text
    assert len({trace.line.dash for trace in figure.data}) == 4
    figure, _, text = histogram_picture(full["activations"], QUERY, ["en"], "en", log=False)
    assert len(figure.data) == 1
    assert figure.layout.yaxis.type is None
    assert text.endswith("no range was chosen.")
    assert histogram_picture(found["activations"], QUERY, ["xx"], "xx")[0].data[0].name == "English"


def test_static_ranges_are_called_so(found: dict[str, pd.DataFrame]) -> None:
    rows = found["activations"].assign(
        dynamic=False, granularity="tensor", widest_low=-3.0, widest_high=3.0
    )
    figure, _, text = histogram_picture(rows, QUERY, ["en"], "en")
    assert len(figure.data) == 2
    assert "They share one static range: -3 to 3." in text


def test_units_held_apart_are_said_to_lie_outside_the_range(
    found: dict[str, pd.DataFrame],
) -> None:
    """The histogram shows them, and no value of theirs is clipped."""
    elsewhere = found["activations"]["module"] != QUERY
    rows = found["activations"].assign(apart=np.where(elsewhere, np.nan, 2.0))
    text = histogram_picture(rows, QUERY, ["en"], "en")[2]
    assert "the widest -6 to 6, but for 2 units that are held apart." in text
    static = rows.assign(dynamic=False, widest_low=-3.0, widest_high=3.0)
    text = histogram_picture(static, QUERY, ["en"], "en")[2]
    assert "They share one static range: -3 to 3, but for 2 units that are held apart." in text
    (other, *_) = rows.loc[elsewhere, "module"]
    assert "apart" not in histogram_picture(rows, other, ["en"], "en")[2]
    one = histogram_picture(rows.assign(apart=1.0), QUERY, ["en"], "en")[2]
    assert one.endswith("the widest -6 to 6, but for 1 unit that is held apart.")


def test_sqnr_is_sorted_lowest_first(
    found: dict[str, pd.DataFrame], full: dict[str, pd.DataFrame]
) -> None:
    drawn = sqnr_picture(found["activations"], QUERY, "en", "dark")
    assert drawn is not None
    figure, rows, text = drawn
    assert list(rows["SQNR, dB"]) == sorted(40.0 - i for i in range(len(made_up_tables.LANGUAGES)))
    assert figure.layout.yaxis.categoryarray[0] == "Swahili"
    assert "26.0 dB in Swahili to 40.0 dB in English, median 33.0 dB" in text
    assert sqnr_picture(full["activations"], QUERY, "en") is None


def test_positions(found: dict[str, pd.DataFrame]) -> None:
    row = found["profiles"].set_index("module").loc[QUERY]
    drawn = position_picture(found["profiles"], QUERY)
    assert drawn is not None
    assert list(drawn[1]["highest"]) == pytest.approx(list(row["position_high"]))
    widest = int(np.argmax(row["position_high"].astype(float) - row["position_low"]))
    assert f"token position {widest}," in drawn[2]
    pooled = found["profiles"].assign(position_low=[np.array([])] * len(found["profiles"]))
    assert position_picture(pooled, QUERY) is None


def test_outlier_dimensions(found: dict[str, pd.DataFrame]) -> None:
    peak = np.ones(192, "float32")
    peak[[17, 40]] = 30, 12
    profiles = found["profiles"].assign(
        dimension_peak=[peak] * len(found["profiles"]),
        dimension_rms=[np.ones(192, "float32")] * len(found["profiles"]),
    )
    rows = dimension_table(profiles, QUERY)
    assert list(rows.loc[rows["outlier"], "hidden unit"]) == [17, 40]
    figure, _, text = dimension_picture(profiles, QUERY)
    assert (
        "2 of 192 hidden units exceed 6 times the median rms (6); the largest: 17 (30 times), 40 "
        "(12 times)." in text
    )
    assert list(figure.data[3].text) == ["17", "40"]

    units = outlier_units(profiles)
    first = units.iloc[0]
    assert (
        first["hidden unit"],
        first["blocks"],
        first["layers"],
        first["times the median rms"],
    ) == (17, "0, 1, 2, 3, 4, 5", 6, 30.0)
    assert set(units["input of"]) == {
        "query, key, value",
        "attention output",
        "feed-forward in",
        "feed-forward out",
        "head · dense",
        "head · out_proj",
    }
    assert len(units) == 12
    assert "Hidden unit 17 stands out most" in units_reading(units)


def test_no_outlier_dimension(found: dict[str, pd.DataFrame]) -> None:
    even = found["profiles"].assign(
        dimension_peak=[np.ones(8)] * len(found["profiles"]),
        dimension_rms=[np.ones(8)] * len(found["profiles"]),
    )
    assert outlier_units(even).empty
    assert units_reading(outlier_units(even)).startswith("No hidden unit exceeds")
    assert len(dimension_picture(even, QUERY)[0].data) == 3


def test_unknown_layer_is_refused(found: dict[str, pd.DataFrame]) -> None:
    for draw in (
        lambda: reading(found["activations"], "x", "en"),
        lambda: dimension_picture(found["profiles"], "x"),
        lambda: position_picture(found["profiles"], "x"),
    ):
        with pytest.raises(UserError, match="layer must be one of the 38 modules"):
            draw()

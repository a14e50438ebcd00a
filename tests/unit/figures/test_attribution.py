"""The pictures of what the model looks at: their numbers are those of the tables, the words stand
as their script does."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from sdq.figures import attribution, conductance
from sdq.recipe import PRESETS
from sdq.reporting.inspected import pictures
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up, made_up_inspection, made_up_reasons, made_up_sensitivity

WORDS = pd.DataFrame(
    [
        ("a", "ar", 0, "سجّل", 2.0, -1.0, -1.0, "rain", "sun", 0.01, -0.25),
        ("a", "ar", 1, "<b>", -1.0, 0.5, 0.5, "rain", "sun", 0.01, -0.25),
        ("a", "ar", 2, "في", 0.04, 1.0, 1.0, "rain", "sun", 0.01, -0.25),
        ("b", "en", 0, "go", 0.5, 0.25, 0.25, "sun", "sun", 0.0, 0.0),
        ("b", "en", 1, "on", 0.25, 0.75, 0.75, "sun", "sun", 0.0, 0.0),
        ("c", "zh", 0, "请", 0.5, 0.25, 0.25, "sun", "sun", 0.0, 0.0),
        ("c", "zh", 1, "看", 0.75, 0.5, 0.25, "sun", "sun", 0.0, 0.0),
    ],
    columns=[
        "id",
        "language",
        "position",
        "word",
        "fp32",
        "quantized",
        "nudged",
        "target",
        "answer",
        "delta_fp32",
        "delta_quantized",
    ],
)


def spans(html: str) -> list[tuple[str, str, str]]:
    """(style, word, number) of each word."""
    return re.findall(
        r'<span style="([^"]*)"><bdi[^>]*>(.*?)</bdi><br><bdi dir="ltr"[^>]*>(.*?)</bdi></span>',
        html,
    )


# --- words


def test_a_sentence_is_found_by_language_and_id() -> None:
    assert list(attribution.sentence(WORDS.iloc[::-1], "ar", "a")["position"]) == [0, 1, 2]
    with pytest.raises(UserError, match="'b' in Arabic is not; choose one"):
        attribution.sentence(WORDS, "ar", "b")
    assert attribution.texts(WORDS, "en") == {"b": "\u2068go on\u2069"}
    assert attribution.texts(WORDS, "zh") == {"c": "\u2068请看\u2069"}
    assert attribution.texts(WORDS, "ar")["a"].endswith("(answer changes)")


def test_words_carry_their_number_their_sign_and_a_line_as_thick_as_they_count() -> None:
    html = attribution.marked(attribution.sentence(WORDS, "ar", "a"), "PTQ")
    fp32, quantized = spans(html)[:3], spans(html)[3:]
    assert [word for _, word, _ in fp32] == ["سجّل", "&lt;b&gt;", "في"]
    assert [number for *_, number in fp32] == ["+2.0", "−1.0", "+0.0"]
    assert [number for *_, number in quantized] == ["−1.0", "+0.5", "+1.0"]
    lines = [re.search(r"border-bottom:(none|(\d)px (\w+))", style) for style, *_ in fp32]
    assert [
        line[1] if line[1] == "none" else (int(line[2]), line[3]) for line in lines if line
    ] == [(5, "solid"), (3, "dashed"), "none"]
    assert "FP32 answers rain" in html
    assert "PTQ answers sun" in html


@pytest.mark.parametrize(("language", "way"), [("ar", "rtl"), ("en", "ltr"), ("zh", "ltr")])
def test_words_run_as_their_script_does(language: str, way: str) -> None:
    rows = WORDS[WORDS["language"] == language]
    for html in (
        attribution.marked(rows, "PTQ"),
        attribution.to_page(rows, "PTQ", "dark", "Title", "Text"),
    ):
        assert (
            re.findall(r'<p class="words" lang="(\w+)" dir="(\w+)"', html) == [(language, way)] * 2
        )
    urdu = attribution.marked(rows.assign(language="ur"), "PTQ")
    assert urdu.count('lang="ur" dir="rtl"') == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read_on_their_colour(theme: Any) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for style, *_ in spans(
        attribution.marked(attribution.sentence(WORDS, "ar", "a"), "PTQ", theme)
    ):
        back, font = (
            luminance(found) for found in re.findall(r"(?:background|color):(#\w{6})", style)[:2]
        )
        assert (max(back, font) + 0.05) / (min(back, font) + 0.05) >= 4.5


def test_the_reading_names_the_words_and_what_is_missing() -> None:
    text = attribution.reading(attribution.sentence(WORDS, "ar", "a"), "PTQ")
    assert "FP32 answers rain and relies most on “\u2068سجّل\u2069” (+2.00 logits)" in text
    assert "PTQ relies most on “\u2068في\u2069” (+1.00 logits). PTQ answers sun instead." in text
    assert "rank correlation of −0.50" in text
    assert "FP32 +0.0100 of +1.03 logits, PTQ −0.2500 of +0.75 logits" in text
    same = attribution.reading(attribution.sentence(WORDS, "zh", "c"), "PTQ")
    assert (
        "both models rely most on the same word, “\u2068看\u2069” (+0.75 logits) in FP32 and +0.50 "
        "in PTQ." in same
    )
    assert "instead" not in same
    tagged = WORDS[:3].assign(target=["O", "B-x", "O"], answer=["O", "O", "O"])
    assert "the tags it gives to all words" in attribution.reading(tagged, "PTQ")
    assert "PTQ gives 1 of 3 words a different tag." in attribution.reading(tagged, "PTQ")
    assert "answers" not in attribution.marked(tagged, "PTQ").partition("<p")[0]


# --- drift


def test_drift_is_drawn_as_it_is_written() -> None:
    drift = made_up_reasons.drift()
    figure, rows, text = attribution.drift_picture(drift, "PTQ", chosen="ar")
    interval, marks, floor = figure.data
    assert [code for (code,) in marks.customdata] == list(rows["code"])
    by_code = drift.set_index("language")
    assert list(marks.x) == [by_code.loc[code, "rank_correlation"] for code in rows["code"]]
    assert list(floor.x) == list(rows["noise floor"])
    ends = [x for x in interval.x if x is not None]
    assert ends[::2] == list(rows["low"])
    assert ends[1::2] == list(rows["high"])
    assert list(rows["code"])[-1] == "all"
    assert rows["rank correlation"].iloc[:-1].is_monotonic_increasing
    assert "<b>Arabic</b>" in figure.layout.yaxis.ticktext
    assert "rank correlation of 0.90 [0.85, 0.95]" in text
    assert "Lowest: Swahili (0.60), highest: English (0.88)." in text
    assert "Completeness error: FP32 0.1 %, PTQ 0.8 %." in text
    assert "is not noise" in text
    assert "this is noise" in attribution.drift_reading(
        attribution.drift_table(drift.assign(floor=0.5)), "PTQ"
    )
    assert "No sentence has enough words" in attribution.drift_reading(
        attribution.drift_table(drift.assign(rank_correlation=float("nan"))), "PTQ"
    )


def test_one_sentence_per_language_has_no_interval() -> None:
    drift = made_up_reasons.drift().assign(rank_low=float("nan"), rank_high=float("nan"))
    figure, _, text = attribution.drift_picture(drift, "PTQ")
    assert len(figure.data[0].x) == 0
    assert "rank correlation of 0.90 (1" in text


# --- conductance


@pytest.mark.parametrize("level", list(conductance.LEVELS.values()))
@pytest.mark.parametrize("measure", list(conductance.MEASURES.values()))
def test_conductance_is_drawn_as_it_is_written(level: str, measure: str) -> None:
    table = made_up_reasons.conductance()
    figure, rows, text = conductance.picture(table, measure, "sw", level, chosen="classifier.dense")
    wanted = table[
        (table["measure"] == measure) & (table["language"] == "sw") & (table["level"] == level)
    ].sort_values("order")
    bars, marks = figure.data
    assert list(bars.x) == list(rows["value"]) == list(wanted["value"])
    assert [site for (site,) in bars.customdata] == list(wanted["site"])
    assert list(bars.error_x.array) == pytest.approx(list(wanted["high"] - wanted["value"]))
    assert list(marks.x) == list(wanted["scan"])
    assert [bool(shape) for shape in bars.marker.pattern.shape] == [
        value < 0 for value in wanted["value"]
    ]
    assert "<b>head · dense</b>" in figure.layout.yaxis.ticktext
    first = wanted.loc[wanted["value"].idxmax()]
    assert f"({100 * first['share']:.0f} %)" in text
    assert f"The ranking of the {len(wanted)} sites has a rank correlation of +0.90" in text
    assert "The parts add up to 98 % of it." in text
    assert "in Swahili" in text
    assert ("raises the loss" in text) == (measure == "loss")


def test_conductance_says_when_there_is_nothing_to_say() -> None:
    table = made_up_reasons.conductance()
    rows = conductance.rows(table)
    assert "no damage to attribute" in conductance.reading(rows.assign(total=-0.1))
    assert "rank correlation" not in conductance.reading(rows.assign(rho=float("nan")))
    assert "add up to 65 % of it: gradients through rounding miss much" in conductance.reading(
        rows.assign(delta=-0.35 * rows["total"])
    )
    assert ", interval includes 0)" in conductance.reading(rows.assign(low=-1.0))
    assert "offsets" not in conductance.reading(rows.assign(high=1.0))
    figure, *_ = conductance.picture(table.assign(scan=float("nan")))
    assert len(figure.data) == 1
    with pytest.raises(UserError, match="attributed in xx"):
        conductance.rows(table, language="xx")


def test_a_site_that_repairs_is_named() -> None:
    text = conductance.reading(conductance.rows(made_up_reasons.conductance(), level="module"))
    quiet = (
        conductance.rows(made_up_reasons.conductance(), level="module")
        .set_index("site")
        .loc[made_up_sensitivity.QUIET]
    )
    assert (
        f"{quiet['part'][0].upper()}{quiet['part'][1:]} removes {-100 * quiet['share']:.0f} %"
        in text
    )


def test_they_are_given_out_with_the_analyses(tmp_path: Any) -> None:
    report: Report = made_up.add(Store(tmp_path / "runs", None), PRESETS["ptq-w3a8"])
    found = {name: make() for name, make in made_up_inspection.MADE.items()}
    assert len(pictures("attribution", found, report)) == 1
    assert len(pictures("conductance", found, report, "dark")) == 2

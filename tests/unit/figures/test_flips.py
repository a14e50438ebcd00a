"""Changed answers: what is counted, drawn and said is what the pairs hold; which module alone
changes a sentence."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy.stats import binomtest

from sdq.figures import alone, disagreement, flips, odds
from sdq.figures.examples import pair
from sdq.figures.style import MARKS
from tests.helpers import made_up_sensitivity


def answered(
    given: list[str], gold: list[str], margins: list[float], languages: list[str]
) -> pd.DataFrame:
    right = [int(a == b) for a, b in zip(given, gold, strict=True)]
    table = {
        "id": [f"s{i}" for i in range(len(given))],
        "language": languages,
        "tp": right,
        "predicted": 1,
        "gold": 1,
        "answer": given,
        "margin": margins,
    }
    return pd.DataFrame(table)


GOLD = ["rain", "rain", "sun", "sun", "snow", "snow", "rain", "sun"]
BEFORE = ["rain", "rain", "rain", "sun", "snow", "rain", "sun", "sun"]
AFTER = [
    "rain",
    "sun",
    "sun",
    "snow",
    "snow",
    "sun",
    "sun",
    "sun",
]  # kept, lost, gained, lost, kept, wrong to wrong, same wrong, kept
MARGINS = [4.0, 1.0, 0.5, 2.0, 3.0, 0.25, 5.0, 6.0]
CODES = ["ar", "ar", "ar", "ar", "en", "en", "en", "en"]
TEXTS = pd.DataFrame(
    {"id": [f"s{i}" for i in range(8)], "language": CODES, "text": "t", "gold": GOLD, "words": ""}
)
PAIRS = pair(answered(BEFORE, GOLD, MARGINS, CODES), answered(AFTER, GOLD, [1.0] * 8, CODES), TEXTS)


def test_changes_have_a_kind_and_come_least_sure_first() -> None:
    found = flips.changed(PAIRS)
    assert list(found["id"]) == ["s5", "s2", "s1", "s3"]
    assert list(found["kind"]) == ["one wrong answer for another", "gained", "lost", "lost"]


def test_the_matrix_counts_every_answer_once() -> None:
    cells = disagreement.matrix(disagreement.positions(PAIRS))
    assert cells["count"].sum() == len(PAIRS)
    counts = {(row.FP32, row.now): row.count for row in cells.itertuples(index=False)}
    assert {pair: n for pair, n in counts.items() if pair[0] != pair[1]} == {
        ("rain", "sun"): 3,
        ("sun", "snow"): 1,
    }
    assert counts["rain", "rain"] == 1
    assert list(cells.iloc[0][["FP32", "now", "count"]]) == ["rain", "sun", 3]
    assert cells["share"].iloc[0] == pytest.approx(3 / 4)
    figure, rows, text = disagreement.matrix_picture(cells, "PTQ", chosen=("rain", "sun"))
    assert rows is cells
    (bars,) = figure.data
    drawn = {tuple(pair): label for pair, label in zip(bars.customdata, bars.text, strict=True)}
    assert drawn["rain", "sun"] == "3"
    assert drawn["rain", "rain"] == ""  # what did not change is not counted
    assert drawn["snow", "sun"] == ""
    (box,) = figure.layout.shapes
    assert (box.x0, box.y0) == (
        disagreement.shown_labels(cells).index("sun") - 0.5,
        disagreement.shown_labels(cells).index("rain") - 0.5,
    )
    assert "PTQ disagrees with FP32 in 4 of 8 answers (50.0 %)" in text
    assert (
        "rain → sun (3 times, 75.0 % of what FP32 calls rain). The reverse change: 0 times." in text
    )
    same = disagreement.matrix(disagreement.positions(PAIRS.assign(answer=PAIRS["FP32 answer"])))
    assert "the same 8 answers" in disagreement.matrix_picture(same, "PTQ")[2]


def test_tags_are_counted_word_by_word() -> None:
    tagged = PAIRS[:1].assign(
        words="at\tsix\tsharp", **{"FP32 answer": "O B-date I-date", "answer": "O O I-date"}
    )
    answers = disagreement.positions(tagged)
    assert list(answers["FP32"]) == ["O", "B-date", "I-date"]
    assert list(answers["now"]) == ["O", "O", "I-date"]


def test_a_label_with_a_space_is_one_answer_and_a_ranking_has_one_per_document() -> None:
    named = PAIRS[:1].assign(words="", **{"FP32 answer": "very good", "answer": "not so good"})
    assert disagreement.positions(named)[["FP32", "now"]].values.tolist() == [
        ["very good", "not so good"]
    ]
    ranked = PAIRS[:1].assign(words="", **{"FP32 answer": "3 0", "answer": "3 1"})
    assert disagreement.positions(ranked)[["FP32", "now"]].values.tolist() == [
        ["3", "3"],
        ["0", "1"],
    ]


def test_many_labels_are_folded_and_no_change_is_lost() -> None:
    names = [f"l{i:02}" for i in range(20)]
    rows = [
        (a, b, 1 + (i * j) % 7) for i, a in enumerate(names) for j, b in enumerate(names) if i != j
    ] + [("l00", "l00", 50)]
    cells = pd.DataFrame(rows, columns=["FP32", "now", "count"]).assign(share=0.1)
    figure, *_ = disagreement.matrix_picture(cells, "PTQ")
    shown = disagreement.shown_labels(cells)
    assert len(shown) == 15
    assert shown[-1] == disagreement.OTHERS
    assert sum(int(label) for label in figure.data[0].text if label) == sum(
        n for a, b, n in rows if a != b
    )


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (1, 700), (350, 700)])
def test_wilson_is_that_of_scipy(k: int, n: int) -> None:
    wanted = binomtest(k, n).proportion_ci(0.95, "wilson")
    assert flips.wilson(k, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    assert all(value != value for value in flips.wilson(0, 0))


def test_languages_are_counted_in_both_directions() -> None:
    figure, rows, text = flips.language_picture(PAIRS, "PTQ", chosen="en")
    assert list(rows["code"]) == ["ar", "en"]
    assert rows.iloc[0][["sentences", "changed", *flips.KINDS]].tolist() == [4, 3, 2, 1, 0]
    assert rows.iloc[1][["sentences", "changed", *flips.KINDS]].tolist() == [4, 1, 0, 0, 1]
    assert (rows["low"].iloc[0], rows["high"].iloc[0]) == pytest.approx(
        [100 * v for v in flips.wilson(3, 4)]
    )
    for bar, kind in zip(figure.data, flips.KINDS, strict=False):
        assert list(bar.x) == list(100 * rows[kind] / rows["sentences"])
        assert [code for (code,) in bar.customdata] == ["ar", "en"]
    assert len(figure.data) == 4
    assert (
        "PTQ loses 2 right answers and gains 1; 1 goes from one wrong answer to another. In total, "
        "4 of 8 sentences change, and the number of right answers changes by −1." in text
    )
    assert "Most in Arabic (75.0 %), fewest in English (25.0 %)." in text
    assert "noise floor" not in text


def test_the_noise_floor_stands_beside_what_changes() -> None:
    floor = flips.floor_of(made_up_sensitivity.floor())
    assert floor == pytest.approx(0.1 * 1.3)
    figure, _, text = flips.language_picture(PAIRS, "PTQ", floor=floor)
    assert list(figure.data[-1].x) == [13.0, 13.0]
    assert (
        "changes 13.0 % of its own answers (noise floor): that is less than what quantization "
        "changes." in text
    )
    assert "no more than that" in flips.language_picture(PAIRS, "PTQ", floor=0.6)[2]


def test_odds_are_counted_by_the_lead_of_fp32() -> None:
    rows = odds.odds({"PTQ": PAIRS}, bins=2)
    assert list(rows["run"]) == ["PTQ", "PTQ"]
    assert list(rows["sentences"]) == [4, 4]
    assert list(rows["changed"]) == [
        4,
        0,
    ]  # margins 0.25, 0.5, 1 and 2; wrong answers count by their lead too
    assert list(rows["margin"]) == pytest.approx([(0.25 + 0.5 + 1 + 2) / 4, (3 + 4 + 5 + 6) / 4])
    assert (rows["low"].iloc[0], rows["high"].iloc[0]) == pytest.approx(flips.wilson(4, 4))
    figure, _, text = odds.odds_picture(rows, {"PTQ": MARKS["PTQ"]})
    (line,) = figure.data
    assert list(line.y) == [100.0, 0.0]
    assert "100.0 % of the answers change [51.0, 100.0]" in text
    assert "The less sure half of the sentences has 100 % of all changes." in text


def test_several_runs_are_pooled_beside_their_own_lines() -> None:
    rows = odds.odds({"PTQ": PAIRS, "SDQ": PAIRS.assign(answer=PAIRS["FP32 answer"])}, bins=2)
    assert list(dict.fromkeys(rows["run"])) == ["PTQ", "SDQ", odds.POOLED]
    pooled = rows[rows["run"] == odds.POOLED]
    assert list(pooled["sentences"]) == [8, 8]
    assert list(pooled["changed"]) == [4, 0]
    figure, _, text = odds.odds_picture(rows, {"PTQ": MARKS["PTQ"], "SDQ": MARKS["SDQ"]}, "dark")
    assert [line.line.width for line in figure.data] == [2, 2, 4]
    assert "50.0 % of the answers change" in text


def test_margins_that_are_all_alike_make_one_bin() -> None:
    rows = odds.odds({"PTQ": PAIRS.assign(**{"FP32 margin": 1.0})})
    assert list(rows["sentences"]) == [8]


def test_the_modules_of_one_sentence() -> None:
    table = made_up_sensitivity.alone()
    first = table[table["language"] == "sw"].iloc[0]["id"]
    found = alone.rows(table, first, "sw")
    assert list(found["kl"]) == sorted(found["kl"], reverse=True)
    figure, rows, text = alone.picture(found)
    assert rows is found
    (bars,) = figure.data
    assert list(bars.x) == list(found["kl"])
    assert [module for (module,) in bars.customdata] == list(found["module"])
    assert ["✗" in label for label in bars.text] == [True, False, False]
    assert text.startswith(
        f"One module alone changes the answer to this sentence in Swahili: {found['part'].iloc[0]} "
        "("
    )
    assert "2 modules, each alone, change" in alone.reading(found.assign(flips=[1.0, 1.0, 0.0]))
    assert "It takes several of them together." in alone.reading(found.assign(flips=0.0))
    assert alone.rows(table, "nowhere", "sw").empty

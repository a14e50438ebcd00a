"""Flipped answers: the pairs, their counts, the picture and the sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sdq.data.task import joined
from sdq.evaluate.significance import paired_tests
from sdq.figures import examples, margins
from sdq.figures.style import Theme
from sdq.settings import UserError


def answered(right: list[int], margins: list[float], language: str = "sw") -> pd.DataFrame:
    given = ["weather" if r else "alarm_set" for r in right]
    counts = {"tp": right, "predicted": 1, "gold": 1}
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(len(right))],
            "language": language,
            **counts,
            "answer": given,
            "margin": margins,
        }
    )


def texts(n: int, language: str = "sw") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "language": language,
            "text": [f"sentence <{i}>" for i in range(n)],
            "gold": "weather",
            "words": "",
        }
    )


FP32 = answered([1, 1, 1, 0, 0], [3.0, 2.0, 1.0, 0.5, 2.0])
PTQ = answered([1, 0, 0, 1, 0], [2.0, 1.0, 4.0, 0.25, 1.0])
PAIRS = examples.pair(FP32, PTQ, texts(5))


def test_margins_are_signed_and_groups_named() -> None:
    assert list(PAIRS["group"]) == ["kept right", "lost", "lost", "gained", "still wrong"]
    assert list(PAIRS["FP32 margin"]) == [3.0, 2.0, 1.0, -0.5, -2.0]
    assert list(PAIRS["margin"]) == [2.0, -1.0, -4.0, 0.25, -1.0]
    assert examples.counts(PAIRS) == {"kept right": 1, "lost": 2, "gained": 1, "still wrong": 1}
    with pytest.raises(UserError, match="share none"):
        examples.pair(FP32, PTQ, texts(5, "de"))


def test_the_counts_are_those_of_the_test() -> None:
    verdict = paired_tests(FP32, PTQ, ["sw"]).iloc[0]
    found = examples.counts(PAIRS)
    assert (verdict["lost"], verdict["gained"]) == (found["lost"], found["gained"])
    text = examples.reading(PAIRS, verdict, "W3A8 by PTQ", "Swahili")
    assert (
        "W3A8 by PTQ loses 2 right answers and gains 1 that were wrong before: net -1 of 5 "
        "sentences in Swahili (-20.0 points)." in text
    )
    assert "not be unusual (exact McNemar test, p = 1.00)" in text
    assert "from one wrong answer to another" not in text
    other = PAIRS.assign(answer=["weather", "x", "x", "weather", "music_play"])
    assert "Another 1 went from one wrong answer to another." in examples.reading(
        other, verdict, "W3A8 by PTQ", "Swahili"
    )
    clear = {
        "lost": 300,
        "gained": 2,
        "p": 1e-80,
        "test": "randomisation",
        "clusters": 140,
        "n": 700,
    }
    assert (
        "rare (randomisation test over 140 clusters of sentences, p < 0.001)"
        in examples.reading(PAIRS, clear, "W3A8 by PTQ", "Swahili")
    )
    assert "none of the 5 sentences in Swahili flips" in examples.reading(
        PAIRS, clear | {"lost": 0, "gained": 0}, "W3A8 by PTQ", "Swahili"
    )


def test_the_summary_adds_up() -> None:
    table = examples.summary(
        pd.concat([PAIRS, PAIRS.assign(language="de", group="gained")], ignore_index=True)
    )
    assert list(table["language"]) == ["Swahili", "German"]
    assert list(table["net"]) == [-1, 5]
    assert table["net, points"].iloc[0] == -20
    assert (table[list(examples.GROUPS)].sum(axis=1) == table["sentences"]).all()


def test_flips_are_listed_by_how_far_they_moved() -> None:
    assert list(examples.flipped(PAIRS)["id"]) == ["s2", "s1", "s3"]
    assert list(examples.flipped(PAIRS, "gained")["id"]) == ["s3"]
    with pytest.raises(ValueError, match="lost, gained or both, got 'all'"):
        examples.flipped(PAIRS, "all")
    listed = examples.listing(examples.flipped(PAIRS), "PTQ")
    assert list(listed) == [
        "language",
        "text",
        "flip",
        "gold",
        "FP32",
        "PTQ",
        "margin FP32",
        "margin PTQ",
    ]
    assert list(listed.iloc[0]) == [
        "Swahili",
        "sentence <2>",
        "lost",
        "weather",
        "weather",
        "alarm_set",
        1.0,
        -4.0,
    ]


def test_the_sentence_to_show() -> None:
    def shown(example: str | None, pairs: pd.DataFrame = PAIRS) -> str | None:
        found = examples.spot(pairs, example)
        return None if found is None else str(found["id"])

    assert (shown("s0"), shown("s3"), shown(None), shown("unknown")) == ("s0", "s3", "s2", "s2")
    assert shown(None, PAIRS[PAIRS["group"] == "kept right"]) is None


@pytest.mark.parametrize(("flips", "drawn"), [(40, 600), (580, 730)])
def test_all_flips_are_drawn_and_the_rest_is_thinned(flips: int, drawn: int) -> None:
    n = 5000
    rng = np.random.default_rng(0)
    full = answered([1] * n, list(rng.random(n)))
    mine = answered([0] * flips + [1] * (n - flips), list(rng.random(n)))
    pairs = examples.pair(full, mine, texts(n))
    kept = examples.thinned(pairs)
    assert len(kept) == drawn
    assert examples.counts(kept)["lost"] == flips
    assert kept.equals(examples.thinned(pairs))
    figure = margins.margins(pairs, "PTQ")
    assert sum(len(t.x) for t in figure.data) == drawn
    assert f"{flips:,}" in next(a.text for a in figure.layout.annotations if "Lost" in a.text)
    assert f"{n - flips:,}" in next(
        a.text for a in figure.layout.annotations if "Kept right" in a.text
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_points_carry_their_sentence_and_escape_its_text(theme: Theme) -> None:
    figure = margins.margins(PAIRS, "PTQ", theme, ("s2", "sw"))
    lost = next(t for t in figure.data if t.name == "lost")
    assert [list(c) for c in lost.customdata] == [["s1", "sw"], ["s2", "sw"]]
    assert "sentence &lt;1&gt;" in lost.hovertext[0]
    assert len({t.marker.symbol for t in figure.data if t.name}) == 4
    ring = figure.data[-1]
    assert (ring.marker.symbol, list(ring.x), list(ring.y)) == ("circle-open", [1.0], [-4.0])
    assert {a.text for a in figure.layout.annotations} == {
        "<b>Kept right</b> 1",
        "<b>▼ Lost</b> 2",
        "<b>▲ Gained</b> 1",
        "<b>Still wrong</b> 1",
    }


def test_tags_are_read_as_phrases() -> None:
    words = ["Wecker", "morgen", "6:30", "Uhr", "an"]
    assert (
        examples.phrases(words, ["O", "B-date", "B-time", "I-time", "O"])
        == "date: morgen · time: 6:30 Uhr"
    )
    assert examples.phrases(words, ["O", "I-date", "I-time"]) == "date: morgen · time: 6:30"
    assert examples.phrases(words, ["B-date", "B-date"]) == "date: Wecker · date: morgen"
    assert examples.phrases(["明", "天"], ["B-date", "I-date"], "zh") == "date: 明天"
    assert examples.phrases(words, ["O"] * 5) == "nothing found"


def test_tags_stand_word_by_word() -> None:
    table = examples.tag_rows(
        ["morgen", "um", "6:30", "Uhr"],
        "B-date O B-time I-time",
        {"FP32": "B-date O B-time I-time", "PTQ": "B-date B-date O"},
    )
    assert list(table["gold"]) == ["date", "–", "time", "… time"]
    assert list(table["FP32"]) == list(table["gold"])
    assert list(table["PTQ"]) == ["date", "✗ date", "✗ –", "✗ –"]


def test_tags_of_other_schemes_and_words_without_an_answer_are_shown_as_they_are() -> None:
    assert examples.phrases(["a", "b", "c", "d"], ["ORG", "ORG", "O", "PER"]) == "ORG: a b · PER: d"
    assert examples.phrases(["a", "b", "c"], ["B-PER", "E-PER", "S-PER"]) == "PER: a b · PER: c"
    assert examples.phrases(["a", "b"], ["∅", "B-PER"]) == "PER: b"
    table = examples.tag_rows(["a", "b", "c"], "NOUN O B-PER", {"PTQ": "VERB ∅ ∅"})
    assert list(table["gold"]) == ["NOUN", "–", "PER"]
    assert list(table["PTQ"]) == ["✗ VERB", "no answer", "✗ no answer"]
    assert joined(["", "a\tb"]).split("\t") == [" ", "a b"]


def test_slot_answers_are_listed_as_phrases() -> None:
    pairs = PAIRS.assign(
        words="kesho\tsaa", gold="B-date O", **{"FP32 answer": "B-date O", "answer": "O B-time"}
    )
    row = examples.listing(examples.flipped(pairs), "PTQ").iloc[0]
    assert (row["gold"], row["FP32"], row["PTQ"]) == ("date: kesho", "date: kesho", "time: saa")

"""Groups of languages, what a run saw of them, and how many sentences show a drop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sdq.data.language_table import LANGUAGES
from sdq.data.languages import UNKNOWN, language
from sdq.evaluate.drops import drop_table
from sdq.evaluate.significance import interaction
from sdq.figures import sample_size, zero_shot
from sdq.figures.style import Theme
from sdq.recipe import PRESETS, Calibration
from sdq.results import Report, Scores
from tests.helpers import made_up_tables

CODES = ("en", "de", "ru", "bg", "zh")
XGLUE = "ar bg de el en es fr hi it nl pl pt ru sw th tr ur vi zh".split()  # noqa: SIM905
TREEBANKS = [
    "ar",
    "bg",
    "cs",
    "de",
    "el",
    "en",
    "es",
    "fi",
    "fr",
    "hi",
    "id",
    "is",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "sv",
    "th",
    "tr",
    "ur",
    "vi",
    "zh",
]


def answered(shares: tuple[float, ...], n: int = 150) -> pd.DataFrame:
    rows = [
        (f"s{i:03d}", code, int(i % 50 < 50 * share), 1, 1)
        for code, share in zip(CODES, shares, strict=True)
        for i in range(n)
    ]
    return pd.DataFrame(rows, columns=["id", "language", "tp", "predicted", "gold"])


def report(name: str, shares: tuple[float, ...], **changed: object) -> Report:
    recipe, full = PRESETS[name].model_copy(update=changed), dict.fromkeys(CODES, 0.9)
    scores = Scores(
        mean=float(np.mean(shares)),
        zero_shot_mean=float(np.mean(shares[1:])),
        by_language=dict(zip(CODES, shares, strict=True)),
    )
    return Report(
        run=name[-12:],
        recipe=recipe.model_dump(mode="json"),
        method=recipe.method,
        model="mini",
        task="intent",
        metric="accuracy",
        labelled="en",
        reference=Scores(mean=0.9, zero_shot_mean=0.9, by_language=full),
        quantized=scores,
        seconds={},
        size_bytes={"fp32": 4, "quantized_simulated": 1},
        provenance={},
    )


PTQ_SHARES, SDQ_SHARES = (0.86, 0.8, 0.6, 0.7, 0.8), (0.9, 0.88, 0.9, 0.86, 0.9)
PTQ, SDQ = report("ptq-w3a8", PTQ_SHARES), report("sdq-att-kld-multi-w3a8", SDQ_SHARES)
FULL = answered((0.9,) * 5)
SENTENCES = {PTQ.run: answered(PTQ_SHARES), SDQ.run: answered(SDQ_SHARES)}
SINGLE = drop_table([PTQ, SDQ], SENTENCES, FULL)


def test_languages_of_the_data_sets_are_known() -> None:
    for code in {*made_up_tables.LANGUAGES, *XGLUE, *TREEBANKS}:
        assert UNKNOWN not in language(code), code
    assert language("sw") == ("Swahili", "Latn", "Atlantic-Congo")
    assert language("deu_Latn") == LANGUAGES["de"]
    assert language("zho_Hant") == ("Chinese (Han, traditional)", "Hant", "Sino-Tibetan")
    assert language("zh-Hant").name == "Chinese (Han, traditional)"
    assert language("xyz") == ("xyz", UNKNOWN, UNKNOWN)
    assert language("ace_Arab").script_name == "Arabic"
    assert len({known.name for known in LANGUAGES.values()}) == len(LANGUAGES)


def test_what_a_run_saw_of_a_language() -> None:
    unseen = dict.fromkeys(CODES[1:], "unseen")
    assert zero_shot.exposures(PTQ) == {"en": "labels in fine-tuning"} | unseen
    assert zero_shot.exposures(SDQ) == {"en": "labels in fine-tuning"} | dict.fromkeys(
        CODES[1:], "text in distillation"
    )
    assert zero_shot.exposures(SDQ, ("en", "de")) == {"en": "labels in fine-tuning"} | unseen | {
        "de": "text in distillation"
    }
    dynamic = report("ptq-w3a8", PTQ_SHARES, calibration=Calibration(languages="all"))
    assert zero_shot.exposures(dynamic) == zero_shot.exposures(
        PTQ
    )  # its ranges are not measured beforehand
    static = report("ptq-int8-static", PTQ_SHARES, calibration=Calibration(languages="all"))
    assert zero_shot.exposures(static) == {"en": "labels in fine-tuning"} | dict.fromkeys(
        CODES[1:], "text in calibration"
    )
    some = report("ptq-int8-static", PTQ_SHARES, calibration=Calibration(languages=("en", "ru")))
    assert zero_shot.exposures(some) == {"en": "labels in fine-tuning"} | unseen | {
        "ru": "text in calibration"
    }
    assert zero_shot.exposures(report("ptq-int8-static", PTQ_SHARES))["ru"] == "unseen"


def test_groups_and_their_numbers() -> None:
    assert zero_shot.grouped(PTQ, "script") == {
        "Cyrillic": ["ru", "bg"],
        "Latin": ["de"],
        "Han, simplified": ["zh"],
    }
    assert zero_shot.grouped(PTQ, "family") == {
        "Indo-European": ["de", "ru", "bg"],
        "Sino-Tibetan": ["zh"],
    }
    rows = zero_shot.table([report("fp32", (0.9,) * 5), PTQ, SDQ], SENTENCES, FULL, "script")
    mine = rows[rows["run"] == PTQ.run].set_index("group")
    assert mine.index.tolist() == [
        "trained on",
        "zero-shot",
        "Cyrillic",
        "Latin",
        "Han, simplified",
    ]
    assert mine.loc["Cyrillic", "drop"] == pytest.approx(25)
    assert mine.loc["Cyrillic", "extra"] == pytest.approx(21)
    exact = interaction(
        FULL, SENTENCES[PTQ.run], zero_shot.grouped(PTQ, "script"), ["en"]
    ).set_index("group")
    assert mine.loc["Latin", "p_holm"] == exact.loc["Latin", "p_holm"]
    assert rows["label"].drop_duplicates().tolist() == ["PTQ", "SDQ multi"]
    assert zero_shot.table([PTQ], SENTENCES, FULL)["group"].tolist() == ["trained on", "zero-shot"]
    some = zero_shot.table([SDQ], SENTENCES, FULL, "seen", ("en", "de"))
    assert some["group"].tolist() == ["trained on", "zero-shot", "unseen", "text in distillation"]
    with pytest.raises(ValueError, match="at least one quantized run"):
        zero_shot.table([report("fp32", (0.9,) * 5)], SENTENCES, FULL)
    with pytest.raises(
        ValueError, match="must hold the trained-on one, xx, and others, got en, de"
    ):
        zero_shot.table([PTQ.model_copy(update={"labelled": "xx"})], SENTENCES, FULL)


def test_the_sentence_says_what_is_sure_and_what_is_not() -> None:
    text = zero_shot.reading(
        zero_shot.table([PTQ], SENTENCES, FULL, "script"), "accuracy", "script"
    )
    assert (
        "W3A8 by PTQ costs English, which it was trained on, 4.0 points of accuracy and the 4 "
        "zero-shot languages 17.5 on average" in text
    )
    assert "a difference of +13.5 points (95 % interval" in text
    assert "it hurts the languages without labels more" in text
    assert (
        "Of the 3 scripts, Cyrillic (Russian, Bulgarian) loses most, 25.0 points, +21.0 against "
        "English; 3 of the 3 differ" in text
    )
    even = zero_shot.reading(zero_shot.table([SDQ], SENTENCES, FULL), "accuracy")
    assert "Other test sentences could have reversed that." in even
    assert "scripts" not in even
    fewer = report("ptq-w3a8", (0.6, 0.9, 0.9, 0.9, 0.9))
    assert "without labels less" in zero_shot.reading(
        zero_shot.table([fewer], {fewer.run: answered((0.6, 0.9, 0.9, 0.9, 0.9))}, FULL), "accuracy"
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("by", ["seen", "script", "family"])
def test_the_figure_shows_every_group_run_and_language(theme: Theme, by: zero_shot.By) -> None:
    rows = zero_shot.table([PTQ, SDQ], SENTENCES, FULL, by)
    drawn = zero_shot.figure(rows, SINGLE, "accuracy", theme)
    ticks = [text.partition("<br>")[0] for text in drawn.layout.yaxis.ticktext]
    assert ticks[:2] == ["trained on", "zero-shot"]
    assert set(ticks) == set(rows["group"])
    named = {t.name: t for t in drawn.data if t.name}
    assert list(named) == ["PTQ", "SDQ multi"]
    assert list(named["PTQ"].x) == pytest.approx(rows.loc[rows["run"] == PTQ.run, "drop"].tolist())
    small = next(t for t in drawn.data if t.marker.symbol == "line-ns-open")
    assert sorted(small.x)[-1] == pytest.approx(30)  # Russian
    low, high = drawn.layout.xaxis.range
    assert low < rows["low"].min()
    assert high > rows["high"].max()


def test_how_many_sentences_it_takes() -> None:
    table = sample_size.needed(SINGLE, PTQ.run)
    assert table["code"].tolist()[:2] == ["ru", "bg"]
    row = table.iloc[0]
    assert row["needed"] == np.ceil(150 * (row["detectable"] / 30) ** 2)
    now, four = sample_size.at(table, 150), sample_size.at(table, 600)
    assert now["low"].tolist() == pytest.approx(table["low"].tolist())
    assert (table["drop"] - four["low"]).tolist() == pytest.approx(
        ((table["drop"] - table["low"]) / 2).tolist()
    )
    assert now["told"].tolist() == ((table["low"] > 0) | (table["high"] < 0)).tolist()
    assert 150 in sample_size.steps(table)
    text = sample_size.reading(table)
    assert text.startswith(
        "With 150 test sentences per language, the interval excludes zero in "
        f"{now['told'].sum()} of 5 languages."
    )
    assert (
        f"Detecting the drop of Russian (30.0 points) 4 times out of 5 takes {row['needed']:.0f} "
        f"sentences" in text
    )
    same = sample_size.needed(drop_table([PTQ], {PTQ.run: FULL}, FULL).assign(drop=0.0))
    assert np.isinf(same["needed"]).all()
    assert "infinitely many sentences" in sample_size.reading(same)
    with pytest.raises(ValueError, match="must have intervals"):
        sample_size.needed(drop_table([PTQ]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_intervals_and_marks_follow_the_number_of_sentences(theme: Theme) -> None:
    table = sample_size.needed(SINGLE, PTQ.run)
    for n in sample_size.steps(table):
        drawn, found = sample_size.figure(table, "accuracy", n, theme), sample_size.at(table, n)
        assert drawn.data[0].x[::3] == pytest.approx(found["low"].tolist())
        assert drawn.data[0].x[1::3] == pytest.approx(found["high"].tolist())
        assert list(drawn.data[1].x) == table["drop"].tolist()
        assert [s.endswith("-open") for s in drawn.data[1].marker.symbol] == [
            not told for told in found["told"]
        ]
        assert (
            f"<b>n = {n:,}</b>{' (as tested)' if n == 150 else ''}: {found['told'].sum()} of 5 "
            f"exclude zero" in drawn.layout.annotations[0].text
        )
        left, right = drawn.layout.xaxis.range
        assert left <= found["low"].min() <= found["high"].max() <= right
    assert sample_size.figure(table, "accuracy", theme=theme) == sample_size.figure(
        table, "accuracy", 150, theme
    )

"""Drops per language, their paired intervals, and what they go along with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sdq.evaluate.drops import drop_table
from sdq.evaluate.significance import paired_tests
from sdq.evaluate.statistics import intervals
from sdq.figures import drops, heat, ranks
from sdq.recipe import PRESETS
from sdq.results import Report, Scores
from sdq.settings import UserError

FULL = {"en": 0.95, "sw": 0.9, "de": 0.9}


def simple(name: str, sw: float, de: float, en: float = 0.93, run: str | None = None) -> Report:
    """A report on three languages with scores one can do sums with."""
    full = Scores(mean=0.9, zero_shot_mean=0.9, by_language=FULL)
    mine = Scores(
        mean=0.0, zero_shot_mean=(sw + de) / 2, by_language={"en": en, "sw": sw, "de": de}
    )
    return Report(
        run=run or name[:12],
        recipe=PRESETS[name].model_dump(mode="json"),
        method=PRESETS[name].method,
        model="mini",
        task="intent",
        metric="accuracy",
        labelled="en",
        reference=full,
        quantized=mine,
        layers=(),
        seconds={},
        size_bytes={"fp32": 4, "quantized_simulated": 1},
        provenance={},
    )


def answered(shares: dict[str, float], n: int = 200) -> pd.DataFrame:
    """Per-sentence table in which the first share of each language's sentences is right."""
    rows = [
        (f"s{i:03d}", code, int(i < round(share * n)), 1, 1)
        for code, share in shares.items()
        for i in range(n)
    ]
    return pd.DataFrame(rows, columns=["id", "language", "tp", "predicted", "gold"])


PTQ, SDQ = simple("ptq-w3a8", 0.6, 0.8), simple("sdq-att-kld-w3a8", 0.84, 0.92)
TABLES = {
    PTQ.run: answered(PTQ.quantized.by_language),
    SDQ.run: answered(SDQ.quantized.by_language),
}


def test_the_table_sorts_by_the_first_run_and_agrees_with_the_reports() -> None:
    rows = drop_table([simple("fp32", 0.9, 0.9), PTQ, SDQ], TABLES, answered(FULL))
    assert list(rows["code"].drop_duplicates()) == ["sw", "de", "en"]
    assert list(rows["label"].drop_duplicates()) == ["PTQ", "SDQ"]
    assert list(rows["drop"]) == pytest.approx([30, 6, 10, -2, 2, 2])
    assert set(rows["sentences"]) == {200}
    assert ((rows["low"] <= rows["drop"]) & (rows["drop"] <= rows["high"])).all()


def test_intervals_and_tests_are_those_of_the_verdicts() -> None:
    full = answered(FULL)
    rows = drop_table([PTQ, SDQ], TABLES, full.sample(frac=1, random_state=0))
    mine = drops.first_run(rows).set_index("code")
    tested = (
        paired_tests(full, TABLES[PTQ.run], ["sw", "de", "en"], ("en",))
        .set_index("language")
        .loc[["sw", "de", "en"]]
    )
    assert mine["drop"].tolist() == pytest.approx((-tested["change"]).tolist())
    assert mine["low"].tolist() == (-tested["high"]).tolist()
    assert mine["high"].tolist() == (-tested["low"]).tolist()
    for name in ("p", "p_holm", "test", "lost", "gained", "clusters", "detectable"):
        assert mine[name].tolist() == tested[name].tolist()
    low, high = intervals(TABLES[PTQ.run], ["sw"])["sw"]
    assert mine.loc["sw", "high"] - mine.loc["sw", "low"] < 100 * (high - low)  # paired


def test_other_sentences_are_refused() -> None:
    with pytest.raises(UserError, match="same sentences in 'sw', got 100, 200"):
        drop_table([PTQ], TABLES, answered(FULL, 100))
    with pytest.raises(ValueError, match="at least one quantized run"):
        drop_table([simple("fp32", 0.9, 0.9)])


def test_the_sentence_names_the_extremes() -> None:
    text = drops.reading(drop_table([PTQ, SDQ], TABLES, answered(FULL)), "accuracy")
    assert "W3A8 by PTQ costs Swahili most: 30.0 points of accuracy (95 % interval" in text
    assert "and German least: 10.0. English, which it was trained on, loses 2.0." in text
    assert (
        "In 2 of the 2 zero-shot languages the drop is larger than chance would give (p < 0.05 "
        "after Holm's correction for 3 languages)." in text
    )
    small = drop_table(
        [simple("ptq-w3a8", 0.89, 0.8)],
        {"ptq-w3a8": answered({"en": 0.93, "sw": 0.89, "de": 0.8})},
        answered(FULL),
    )
    assert "In 1 of the 2 zero-shot languages" in drops.reading(small, "accuracy")
    plain = drops.reading(drop_table([PTQ]), "accuracy")
    assert "interval" not in plain
    gains = drops.reading(drop_table([simple("ptq-w3a8", 0.95, 0.92)]), "accuracy")
    assert "costs no zero-shot language any accuracy; German gains least, 2.0 points" in gains
    assert "and German nothing: it gains 2.0." in drops.reading(
        drop_table([simple("ptq-w3a8", 0.6, 0.92)]), "accuracy"
    )
    assert drops.sentence_count(drop_table([PTQ])) == ""
    assert drops.sentence_count(drop_table([PTQ], TABLES)) == "n = 200 test sentences per language"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_has_zero_intervals_and_clickable_marks(theme: drops.Theme) -> None:
    rows = drop_table([PTQ, SDQ], TABLES, answered(FULL))
    figure = drops.drop_figure(rows, "accuracy", theme, "de")
    marks = [t for t in figure.data if t.mode == "markers"]
    assert [t.name for t in marks] == ["PTQ", "SDQ"]
    assert [list(c) for c in marks[0].customdata] == [["sw"], ["de"], ["en"]]
    assert len({t.line.dash for t in figure.data if t.mode == "lines"}) == 2
    assert len(figure.layout.shapes) == 2
    assert figure.layout.shapes[1].x0 == figure.layout.shapes[1].x1 == 0
    assert len(drops.drop_figure(rows, "accuracy", theme, "xx").layout.shapes) == 1
    assert not [
        t for t in drops.drop_figure(drop_table([PTQ]), "accuracy").data if t.mode == "lines"
    ]


def test_runs_of_one_method_keep_apart() -> None:
    twins = [
        PTQ,
        simple("ptq-int8-dynamic", 0.89, 0.89, run="b"),
        simple("ptq-w4a8", 0.7, 0.7, run="c"),
    ]
    assert list(drop_table(twins)["label"].drop_duplicates()) == [
        "PTQ W3A8",
        "PTQ INT8",
        "PTQ W4A8",
    ]
    shapes = drops.symbols(drop_table(twins))
    assert list(shapes.values()) == ["x", "x-open", "x-dot"]


@pytest.mark.parametrize(
    ("cells", "columns", "first"),
    [("drop", ["PTQ", "SDQ"], [30, 6]), ("score", ["FP32", "PTQ", "SDQ"], [90, 60, 84])],
)
def test_the_heat_map_holds_the_numbers(
    cells: heat.Cells, columns: list[str], first: list[float]
) -> None:
    rows = drop_table([PTQ, SDQ], TABLES, answered(FULL))
    figure = heat.heat(rows, cells, "accuracy", chosen="sw")
    assert list(figure.layout.xaxis.ticktext) == columns
    assert list(figure.data[0].z[0]) == pytest.approx(first)
    assert list(heat.wide_table(rows, cells)) == ["language", *columns]
    text = heat.heat_reading(rows, cells, "accuracy")
    assert "Swahili with PTQ, " + ("30.0 points" if cells == "drop" else "60.0 %") in text
    assert (
        "PTQ 20.0, SDQ 2.0" in text if cells == "drop" else "FP32 90.0, PTQ 70.0, SDQ 88.0" in text
    )


def test_fertility_counts_real_subwords_per_word() -> None:
    tokens = [["<s>", "▁Wec", "ker", "▁an", "</s>"], ["▁Licht", "▁aus"], ["▁", "打开", "灯"]]
    sample = pd.DataFrame({"id": ["a", "b", "a"], "language": ["de", "de", "zh"], "tokens": tokens})
    texts = pd.DataFrame(
        {
            "id": ["a", "b", "a"],
            "language": ["de", "de", "zh"],
            "text": ["Wecker an", "Licht aus", "打开灯"],
        }
    )
    table = ranks.fertility(sample, texts).set_index("code")
    assert tuple(table.loc["de", ["sentences", "subwords", "words", "subwords per word"]]) == (
        2,
        5,
        4,
        1.25,
    )
    assert np.isnan(table.loc["zh", "subwords per word"])
    assert table.loc["zh", "subwords per character"] == 1.0
    assert ranks.unspaced_note(table.reset_index()).startswith(
        "Chinese (1.00): subwords per character"
    )
    assert ranks.unspaced_note(table.reset_index().query("code == 'de'")) == ""


def test_words_are_counted_as_files_are_read() -> None:
    sample = pd.DataFrame(
        {"id": ["a"], "language": ["fr"], "tokens": [["▁dix", "▁mille", "▁euros"]]}
    )
    texts = pd.DataFrame({"id": ["a"], "language": ["fr"], "text": ["10\u00a0000 euros"]})
    assert ranks.fertility(sample, texts)["words"].tolist() == [2]


def test_text_shares_are_those_of_the_model_card() -> None:
    shares = ranks.text_shares("mini")
    assert sum(shares.values()) == pytest.approx(100)
    assert (round(shares["en"], 1), round(shares["sw"], 1)) == (22.5, 1.8)
    assert ranks.text_shares("/somewhere/else") == {}


def test_rank_correlation_is_honest_about_few_languages() -> None:
    x = pd.Series(range(14), dtype=float)
    up = ranks.rank_correlation(x, x**3)
    assert up is not None
    assert (up.rho, up.n, round(up.chance, 2)) == (1.0, 14, 0.53)
    assert ranks.rank_correlation(x[:3], x[:3]) is None
    assert ranks.rank_correlation(x * 0, x) is None
    rows = pd.DataFrame(
        {
            "labels in training": [False] * 14,
            "label": "PTQ",
            "x": x,
            "drop": [3.0, 9, 1, 7, 5, 2, 8, 6, 4, 0, 10, 13, 11, 12],
        }
    )
    assert "not distinguishable from zero" not in ranks.rank_reading(
        rows.assign(drop=-x), "pre-training text"
    )
    assert "smaller drop" in ranks.rank_reading(rows.assign(drop=-x), "pre-training text")
    mixed = ranks.rank_reading(
        rows.assign(drop=[7.0, 1, 12, 3, 9, 5, 11, 2, 13, 4, 0, 10, 6, 8]), "pre-training text"
    )
    assert "n = 14" in mixed
    assert (
        "not distinguishable from zero: with 14 languages, chance alone often gives anything "
        "between −0.53 and +0.53" in mixed
    )
    assert "too few, or too similar" in ranks.rank_reading(rows.assign(x=1.0), "subwords per word")


def test_the_scatter_labels_all_points_apart() -> None:
    rows = ranks.points(drop_table([PTQ, SDQ]), {"sw": 1.8, "de": 12.4, "en": 22.5}, SDQ.run)
    figure = ranks.against(rows, "accuracy", "Share, %", chosen="sw")
    named = {t.name: t for t in figure.data if t.name}
    assert list(named["zero-shot"].text) == ["sw", "de"]
    assert list(named["zero-shot"].y) == pytest.approx([6, -2])
    assert list(named["trained on (not in ρ)"].text) == ["en"]
    assert ranks.points(drop_table([PTQ]), {"de": 1.0})["code"].tolist() == ["de"]
    assert ranks.label_places([100, 118], [100, 100]) == ["middle left", "middle right"]
    assert len(set(ranks.label_places([100, 100, 100], [100, 104, 108]))) == 3
    assert ranks.label_places([285], [150]) == ["middle left"]


def test_fp32_trained_longer_comes_after_what_is_quantized() -> None:
    """What the sentences say is of the first run, and the control shows no damage by rounding."""
    longer = simple("fp32-longer", 0.7, 0.8)
    table = drop_table([simple("fp32", 0.9, 0.9), longer, PTQ, SDQ])
    assert list(table["run"].drop_duplicates()) == [PTQ.run, SDQ.run, longer.run]
    assert drops.reading(table, "accuracy").startswith("W3A8 by PTQ costs")
    assert drops.reading(drop_table([longer]), "accuracy").startswith("FP32 longer costs Swahili")

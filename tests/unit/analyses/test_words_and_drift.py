"""Words against their tokens, drift against scipy, and attributions as an analysis of mini."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_1samp

from sdq.analyses import attribution, word_spans
from sdq.analyses.attribution import attributions, drift, word_attributions
from sdq.analyses.word_spans import merged, spans
from sdq.data.batches import IGNORE, Encoded
from sdq.data.registry import load_task
from sdq.data.task import Example
from sdq.evaluate.predict import predict
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.subject import Subject
from sdq.models.checkpoint import folder_of
from sdq.models.loading import load
from sdq.models.structure import modules
from sdq.pipeline.student import stratified_sample
from sdq.quant.rewrite import only, rewrite
from sdq.recipe import PRESETS
from tests.helpers.attribution import LABELS, WEIGHTS, Pieces, data_of, examples_of


@lru_cache
def mini() -> tuple[Any, Any, Any]:
    """(task, teacher, tokenizer)"""
    task = load_task("intent")
    return task, *load(folder_of("mini", "intent"), task.kind, task.labels)


def subject_of(name: str) -> Subject:
    """mini's model of a task, rewritten by a preset, its last feed-forward moved as training would;
    one sentence each of two languages."""
    recipe, (task, teacher, tokenizer) = PRESETS[name], mini()
    student = rewrite(teacher, recipe.rules)
    if recipe.training is not None:
        student.get_submodule("roberta.encoder.layer.5.output.dense").weight.data *= 1.5
    return Subject(
        recipe,
        "mini",
        task,
        tokenizer,
        student.eval(),
        stratified_sample(task.examples("test", ("ar", "th")), 2),
    )


@pytest.mark.parametrize(
    "name", ["sdq-att-kld-w4a8", pytest.param("ptq-w4a8", marks=pytest.mark.slow)]
)
def test_as_an_analysis_it_takes_the_real_teacher_of_a_trained_student(name: str) -> None:
    subject, how = subject_of(name), Inspection(sentences=2)
    table, drifts = (
        ANALYSES["attribution"].compute(subject, how)[part] for part in ("words", "drift")
    )
    assert list(drifts["language"]) == ["all", "ar", "th"]
    assert drifts["completeness_fp32"].max() < 0.01
    assert drifts["floor"].iloc[0] > 0.9
    assert drifts["rank_correlation"].iloc[0] < drifts["floor"].iloc[0]
    wanted = predict(subject.teacher, subject.data)[0]
    exact = attributions(subject.teacher, subject.data, wanted, subject.tokenizer)[0]
    for i, example in enumerate(subject.examples):
        rows = table[table["language"] == example.language]
        assert rows["fp32"].sum() == pytest.approx(exact[i].sum(), abs=1e-9)
        assert "".join(rows["word"]) == unicodedata.normalize("NFKC", example.text).replace(" ", "")


def test_as_an_analysis_conductance_stands_beside_the_scan_that_was_made_before() -> None:
    subject, how = subject_of("ptq-w4a8"), Inspection(sentences=2)
    names, codes = [m.name for m in modules(subject.student)], ("all", "ar", "th")
    subject.tables["sensitivity"] = pd.DataFrame(
        [
            {"module": m, "measure": "one", "language": c, "kl": 1.0, "loss": 2.0}
            for m in names
            for c in codes
        ]
    )
    table = ANALYSES["conductance"].compute(subject, how)["conductance"]
    one = table[
        (table["level"] == "module") & (table["measure"] == "kl") & (table["language"] == "all")
    ]
    assert list(one["site"]) == names
    assert one["value"].sum() == pytest.approx(one["total"].iloc[0], rel=0.1)
    assert set(table[(table["role"] == "block") & (table["measure"] == "loss")]["scan"]) == {12.0}


# --- words


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["▁to", "mor", "row", "▁at", "▁", "6", ":", "30", "."], ["tomorrow", "at", "6:30", "."]),
        (["▁¿", "Qu", "é", "?", "!"], ["¿", "Qué", "?", "!"]),
        (["▁", "¿", "Qu", "é"], ["¿Qué"]),  # the lone mark has no other word to go to
        (["▁...", "▁a"], ["...", "a"]),
        (
            ["▁打开", "明", "天", "6", ":", "30", "的", "。"],
            ["打开", "明", "天", "6:30", "的", "。"],
        ),
        (["▁", "เปิด", "นา", "ฬ", "ิ", "ก"], ["เปิด", "นา", "ฬิ", "ก"]),
        (["▁الس", "اع", "ة", "▁6"], ["الساعة", "6"]),
        (["to", "##mor", "##row", "at", "6"], ["tomorrow", "at", "6"]),
        (["##x", "y"], ["x", "y"]),
        (["Good", "Ġmor", "ning"], ["Good", "morning"]),
        (["▁a", "▁"], ["a", "▁"]),
        ([], []),
    ],
)
def test_pieces_become_words(pieces: list[str], expected: list[str]) -> None:
    class Bytes:
        def convert_tokens_to_string(self, parts: list[str]) -> str:
            return "".join(parts).replace("Ġ", " ")

    groups = merged(pieces)
    assert [i for group in groups for i in group] == list(range(len(pieces)))
    assert [word_spans._text([pieces[i] for i in group], Bytes()) for group in groups] == expected


def test_a_word_that_was_cut_off_has_no_row() -> None:
    data = Encoded([[2, 10, 11, 2]], [[IGNORE, 0, 0, IGNORE]], True, 1)
    example = Example("a", "en", "", ("one", "two", "three"), ("O",) * 3)
    assert spans(data, 0, Pieces(), example) == [("one", [1]), ("two", [2])]


# --- drift


def made_up(sentences: int = 6, per: int = 7, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for code in ("en", "ar"):
        for i in range(sentences):
            fp32 = rng.normal(size=per)
            quantized = fp32 + rng.normal(size=per)
            nudged = quantized + 0.01 * rng.normal(size=per)
            for k in range(per):
                rows.append(
                    (
                        f"s{i}",
                        code,
                        k,
                        f"w{k}",
                        fp32[k],
                        quantized[k],
                        nudged[k],
                        "rain",
                        "sun",
                        0.01 * (i - 2),
                        0.1 * (i + 1),
                    )
                )
    return pd.DataFrame(rows, columns=attribution._WORDS)


def test_drift_of_one_language_is_a_mean_over_its_sentences() -> None:
    table = made_up()
    drifts = drift(table).set_index("language")
    rows = table[table["language"] == "ar"]
    parts = [part for _, part in rows.groupby("id")]
    rho = [spearmanr(p["fp32"], p["quantized"]).statistic for p in parts]
    row = drifts.loc["ar"]
    assert (row["sentences"], row["words"]) == (6, 42)
    assert row["rank_correlation"] == pytest.approx(np.mean(rho))
    interval = ttest_1samp(rho, 0).confidence_interval(0.95)
    assert (row["rank_low"], row["rank_high"]) == (
        pytest.approx(interval.low),
        pytest.approx(min(1, interval.high)),
    )
    assert row["floor"] == pytest.approx(
        np.mean([spearmanr(p["quantized"], p["nudged"]).statistic for p in parts])
    )
    same = [np.mean(np.sign(p["fp32"]) == np.sign(p["quantized"])) for p in parts]
    assert row["sign_agreement"] == pytest.approx(np.mean(same))
    gain = [p["quantized"].sum() - p["delta_quantized"].iloc[0] for p in parts]
    assert row["completeness_quantized"] == pytest.approx(
        sum(0.1 * (i + 1) for i in range(6)) / np.abs(gain).sum()
    )


def test_over_all_languages_translations_are_one_draw() -> None:
    table = made_up()
    twice = pd.concat(
        [table[table["language"] == "en"].assign(language=code) for code in ("en", "de", "sw")]
    )
    drifts = drift(twice).set_index("language")
    assert drifts.loc["all", "sentences"] == 18
    for column in ("rank_correlation", "rank_low", "rank_high", "sign_low", "sign_high"):
        assert drifts.loc["all", column] == pytest.approx(drifts.loc["en", column])


def test_too_few_words_or_sentences_have_no_interval() -> None:
    short = made_up(sentences=2, per=2)
    row = drift(short).iloc[0]
    assert math.isnan(row["rank_correlation"])
    assert not math.isnan(row["sign_agreement"])
    one = drift(made_up(sentences=1)).set_index("language").loc["en"]
    assert not math.isnan(one["rank_correlation"])
    assert math.isnan(one["rank_low"])
    flat = made_up().assign(fp32=1.0)
    assert math.isnan(drift(flat)["rank_correlation"].iloc[0])


def test_only_is_left_on_the_student_alone(tiny: Callable[..., Any]) -> None:
    """A teacher that is itself a quantized model keeps its quantizers."""
    teacher, student = rewrite(tiny("xlmr", seed=1), WEIGHTS), rewrite(tiny("xlmr"), WEIGHTS)
    data = data_of(teacher, "sequence")
    table = word_attributions(student, teacher, data, examples_of(data), LABELS, Pieces(), 4)
    with only(teacher, ()):
        exact = word_attributions(student, teacher, data, examples_of(data), LABELS, Pieces(), 4)
    assert not np.allclose(table["fp32"], exact["fp32"])

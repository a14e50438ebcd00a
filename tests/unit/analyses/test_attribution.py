"""Attributions against gains worked out here and a plain integral; words against their tokens;
drift against scipy; hooks that stay."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr, ttest_1samp
from torch import nn

from sdq.analyses import attribution
from sdq.analyses.attribution import attributions, drift, merged, spans, words
from sdq.analyses.sensitivity import instead
from sdq.data.batches import IGNORE, Encoded
from sdq.data.registry import load_task
from sdq.data.task import Example
from sdq.evaluate.predict import predict
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.subject import Subject
from sdq.models.checkpoint import folder_of
from sdq.models.loading import load, modules
from sdq.pipeline.student import stratified_sample
from sdq.quant.layers import QuantEmbedding
from sdq.quant.rewrite import only, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, Rule, WeightSpec
from sdq.recipe import PRESETS

LENGTHS = (9, 4, 6, 3)
LABELS = ("rain", "sun", "snow")
STEPS = 24


class Pieces:
    """A tokenizer of the tiny models: piece i is "▁wi"; an odd one goes on with the word before it.
    2 begins and ends a sentence."""

    all_special_ids = (0, 1, 2, 3, 4)
    unk_token_id = 3
    mask_token_id: int | None = 4

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"{'▁' if i % 2 == 0 else ''}w{i}" for i in ids]


def data_of(model: Any, kind: str, lengths: tuple[int, ...] = LENGTHS) -> Encoded:
    draw = torch.Generator().manual_seed(1)
    ids = [[2, *torch.randint(5, 61, (n - 2,), generator=draw).tolist(), 2] for n in lengths]
    ids[0][3] = Pieces.unk_token_id
    if kind == "sequence":
        return Encoded(ids, [[i % 3] for i in range(len(ids))], False, model.config.pad_token_id)
    labels = [
        [IGNORE, *[0 if k % 2 == 0 else IGNORE for k in range(len(row) - 2)], IGNORE] for row in ids
    ]
    return Encoded(ids, labels, True, model.config.pad_token_id)


def examples_of(data: Encoded, languages: str = "en") -> list[Example]:
    count = [max(1, sum(label != IGNORE for label in row)) for row in data.labels]
    return [
        Example(f"s{i}", languages, "", tuple(f"word{k}" for k in range(n)), ("rain",) * n)
        for i, n in enumerate(count)
    ]


def gains(model: nn.Module, data: Encoded, answers: list[list[int]]) -> list[float]:
    """Logits of the answers on the sentence minus those on the sentence of mask tokens; each
    sentence by itself."""
    found = []
    for i in range(len(data)):
        batch = data.batch([i])
        hidden = {
            "input_ids": torch.tensor(
                [[t if t == 2 else Pieces.mask_token_id for t in data.ids[i]]]
            ),
            "attention_mask": batch.inputs["attention_mask"],
        }
        values = []
        for inputs in (batch.inputs, hidden):
            logits = model(**inputs).logits[0]
            asked = logits[batch.scored[0]] if data.token else logits[None]
            values.append(float(sum(row[k] for row, k in zip(asked, answers[i], strict=True))))
        found.append(values[0] - values[1])
    return found


def hooks(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )


ROUGH = (Rule(weight=WeightSpec(bits=4), activation=ActivationSpec(bits=3)),)
WEIGHTS = (Rule(weight=WeightSpec(bits=3)),)


# --- one model


def test_the_attributions_of_a_sentence_add_up_to_the_gain(
    tiny: Callable[..., Any], family: str, kind: str
) -> None:
    """Completeness, within 0.2 % of the gain or 0.002 logits, in FP32 or with rounded weights;
    every sentence as if it were alone."""
    if (family, kind) == ("distilbert", "sequence"):
        pytest.skip("its head has the kinks of a ReLU, which need more steps")
    model = (
        rewrite(tiny(family, kind), WEIGHTS) if family in ("bert", "xlmr") else tiny(family, kind)
    )
    data = data_of(model, kind)
    answers = predict(model, data)[0]
    found, delta = attributions(model, data, answers, Pieces(), STEPS)
    with torch.no_grad():
        wanted = gains(model, data, answers)
    for values, gain, missing in zip(found, wanted, delta, strict=True):
        assert values.sum() == pytest.approx(gain, rel=2e-3, abs=2e-3)
        assert values.sum() - missing == pytest.approx(gain, rel=1e-4, abs=1e-4)
    assert max(abs(values).max() for values in found) > 0.01


def test_it_is_the_integral_of_the_slope_along_the_path(tiny: Callable[..., Any]) -> None:
    model = tiny("xlmr")
    data = data_of(model, "sequence")
    found = attributions(model, data, [[1]] * len(data), Pieces(), STEPS)[0][0]
    inputs = data.batch([0]).inputs
    table = model.get_submodule("roberta.embeddings.word_embeddings").weight
    x = table[inputs["input_ids"]].detach()  # [1, T, D]
    base = table[torch.tensor([[t if t == 2 else 4 for t in data.ids[0]]])].detach()
    total = torch.zeros_like(x)
    for k in range(100):  # midpoints
        at = (base + (k + 0.5) / 100 * (x - base)).requires_grad_()
        with instead(
            model, {"roberta.embeddings.word_embeddings": lambda forward, at=at: lambda ids: at}
        ):  # type: ignore[misc]
            total += torch.autograd.grad(model(**inputs).logits[0, 1], at)[0] / 100
    assert np.allclose(found, ((x - base) * total).sum(-1)[0], atol=2e-3)


def test_special_tokens_and_padding_get_exactly_nothing(
    tiny: Callable[..., Any], family: str, kind: str
) -> None:
    model = tiny(family, kind)
    data = data_of(model, kind)
    answers = predict(model, data)[0]
    found, _ = attributions(model, data, answers, Pieces(), 8)
    for ids, values in zip(data.ids, found, strict=True):
        assert len(values) == len(ids)  # none for padding
        assert [value == 0 for value in values] == [token == 2 for token in ids]
    assert data.ids[0][3] == Pieces.unk_token_id  # an unknown piece is none of the special ones
    alone = attributions(model, data.some([1]), [answers[1]], Pieces(), 8)[0][0]
    assert np.allclose(alone, found[1], atol=1e-5)  # it had padding beside the longer one


def test_with_rounded_activations_the_sum_misses_the_gain_however_many_steps(
    tiny: Callable[..., Any],
) -> None:
    teacher = tiny("xlmr")
    data = data_of(teacher, "sequence")
    answers = predict(teacher, data)[0]
    missed = {
        n: [
            np.abs(attributions(m, data, answers, Pieces(), n)[1]).max()
            for m in (teacher, rewrite(teacher, ROUGH))
        ]
        for n in (16, 64)
    }
    assert missed[64][0] < 1e-3
    assert missed[64][1] > 20 * missed[64][0]
    assert missed[64][1] > 0.3 * missed[16][1]


# --- two models


def test_quantizers_off_is_the_teacher_bit_for_bit(tiny: Callable[..., Any], kind: str) -> None:
    teacher = tiny("xlmr", kind)
    student = rewrite(teacher, ROUGH)
    data = data_of(teacher, kind)
    one = words(student, None, data, examples_of(data), LABELS, Pieces(), 6)
    two = words(student, teacher, data, examples_of(data), LABELS, Pieces(), 6)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not np.allclose(one["fp32"], one["quantized"], atol=1e-3)


def test_both_models_are_asked_for_the_answer_of_fp32(tiny: Callable[..., Any]) -> None:
    """The teacher is another model than the student without its quantizers; its answer is the
    target also where the student's differs."""
    teacher, student = tiny("xlmr", seed=1), rewrite(tiny("xlmr", seed=0), WEIGHTS)
    data = data_of(teacher, "sequence")
    table = words(student, teacher, data, examples_of(data), LABELS, Pieces(), 6)
    wanted = predict(teacher, data)[0]
    given = predict(student, data)[0]
    assert wanted != given
    for model, column, delta in (
        (teacher, "fp32", "delta_fp32"),
        (student, "quantized", "delta_quantized"),
    ):
        found, deltas = attributions(model, data, wanted, Pieces(), 6)
        for i in range(len(data)):
            mine = table[table["id"] == f"s{i}"]
            assert mine[column].sum() == pytest.approx(found[i].sum(), abs=1e-6)
            assert set(mine[delta]) == {deltas[i]}
            assert set(mine["target"]) == {LABELS[wanted[i][0]]}
            assert set(mine["answer"]) == {LABELS[given[i][0]]}


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_words_add_up_their_tokens(tiny: Callable[..., Any], kind: str) -> None:
    model = tiny("xlmr", kind)
    data = data_of(model, kind)
    examples = examples_of(data)
    table = words(rewrite(model, WEIGHTS), None, data, examples, LABELS, Pieces(), 4)
    wanted = predict(model, data)[0]
    found = attributions(model, data, wanted, Pieces(), 4)[0]
    for i, example in enumerate(examples):
        mine = table[table["id"] == example.id]
        grouped = spans(data, i, Pieces(), example)
        assert sorted(at for _, group in grouped for at in group) == list(
            range(1, len(data.ids[i]) - 1)
        )  # every token but the special ones, once
        assert list(mine["word"]) == [word for word, _ in grouped]
        assert list(mine["position"]) == list(range(len(grouped)))
        assert list(mine["fp32"]) == pytest.approx([found[i][group].sum() for _, group in grouped])
        if kind == "token":
            assert list(mine["word"]) == list(example.words)
            assert list(mine["target"]) == [LABELS[k] for k in wanted[i]]


def test_the_nudge_moves_the_embeddings_by_their_last_digits(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), WEIGHTS)
    data = data_of(student, "sequence")
    table = words(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    moved = (table["nudged"] - table["quantized"]).abs()
    assert 0 < moved.max() < 1e-4


@pytest.mark.parametrize("when", [1, 3, 5, 60])
def test_nothing_stays_behind_when_a_layer_raises(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data, own = data_of(student, "sequence"), hooks(student)
    layer, calls = student.get_submodule("roberta.encoder.layer.1.output.dense"), 0
    forward = layer.forward

    def raises(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == when:
            raise ArithmeticError("this layer raises")
        return forward(x)

    monkeypatch.setattr(layer, "forward", raises)
    monkeypatch.setattr(attribution, "_TOKENS", 1)  # a forward pass per step
    if when == 60:  # all goes well
        monkeypatch.undo()
        words(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    else:
        with pytest.raises(ArithmeticError):
            words(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    assert hooks(student) == own
    assert all(q.enabled for q in quantizers(student).values())
    embedding = student.get_submodule("roberta.embeddings.word_embeddings")
    assert isinstance(embedding, QuantEmbedding)
    assert "forward" not in embedding.__dict__


def test_what_it_cannot_do_it_refuses(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data = data_of(student, "sequence")
    with pytest.raises(
        ValueError, match="as many examples as tokenized sentences, and one at least, got 3 and 4"
    ):
        words(student, None, data, examples_of(data)[1:], LABELS, Pieces())
    unmasked = Pieces()
    unmasked.mask_token_id = None
    with pytest.raises(ValueError, match="must have a mask token"):
        words(student, None, data, examples_of(data), LABELS, unmasked)
    with pytest.raises(ValueError, match="eval mode"):
        words(student.train(), None, data, examples_of(data), LABELS, Pieces())


def test_it_runs_after_a_scan_in_inference_mode(tiny: Callable[..., Any]) -> None:
    """Ranges that a pass in inference mode measured and kept must not stop the gradient."""
    teacher = tiny("xlmr")
    fresh, used = rewrite(teacher, ROUGH), rewrite(teacher, ROUGH)
    data = data_of(teacher, "sequence")
    with torch.inference_mode():
        used(**data.batch([0, 1]).inputs)
    tables = [
        words(student, None, data, examples_of(data), LABELS, Pieces(), 4)
        for student in (fresh, used)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


# --- as an analysis of mini


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
    table, found = (
        ANALYSES["attribution"].compute(subject, how)[part] for part in ("words", "drift")
    )
    assert list(found["language"]) == ["all", "ar", "th"]
    assert found["completeness_fp32"].max() < 0.01
    assert found["floor"].iloc[0] > 0.9
    assert found["rank_correlation"].iloc[0] < found["floor"].iloc[0]
    wanted = predict(subject.teacher, subject.data)[0]
    exact = attributions(subject.teacher, subject.data, wanted, subject.tokenizer)[0]
    for i, example in enumerate(subject.examples):
        mine = table[table["language"] == example.language]
        assert mine["fp32"].sum() == pytest.approx(exact[i].sum(), abs=1e-9)
        assert "".join(mine["word"]) == unicodedata.normalize("NFKC", example.text).replace(" ", "")


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
    assert [attribution._text([pieces[i] for i in group], Bytes()) for group in groups] == expected


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
    found = drift(table).set_index("language")
    mine = table[table["language"] == "ar"]
    parts = [part for _, part in mine.groupby("id")]
    rho = [spearmanr(p["fp32"], p["quantized"]).statistic for p in parts]
    row = found.loc["ar"]
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
    found = drift(twice).set_index("language")
    assert found.loc["all", "sentences"] == 18
    for column in ("rank_correlation", "rank_low", "rank_high", "sign_low", "sign_high"):
        assert found.loc["all", column] == pytest.approx(found.loc["en", column])


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
    table = words(student, teacher, data, examples_of(data), LABELS, Pieces(), 4)
    with only(teacher, ()):
        exact = words(student, teacher, data, examples_of(data), LABELS, Pieces(), 4)
    assert not np.allclose(table["fp32"], exact["fp32"])

"""The scan against whole forward passes and plain loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sensitivity import scans
from sdq.analyses.divergence import METRICS, _mean
from sdq.analyses.fisher import estimate
from sdq.analyses.sensitivity import alone, divergences, scan
from sdq.data.batches import IGNORE, Encoded
from sdq.models.structure import modules
from sdq.quant.rewrite import calibrate_, quantized_modules, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.results import EVERY
from tests.helpers.scans import ACTIVATIONS, FINE, ROUGH, pad_of, spoken, whole
from tests.helpers.training import text


def measured(student: nn.Module) -> dict[tuple[str, str], set[str]]:
    """(module, measure) -> which modules quantize."""
    names = list(quantized_modules(student))
    return (
        {(n, "one"): {n} for n in names}
        | {(n, "but_one"): set(names) - {n} for n in names}
        | {(EVERY, "all"): set(names)}
    )


class Passes:
    """Every forward pass of a model: which modules quantized, and the logits."""

    def __init__(self, student: nn.Module) -> None:
        self.seen: list[tuple[frozenset[str], Tensor]] = []
        self.quantizers = quantizers(student)
        student.register_forward_hook(self.note)

    def note(self, module: nn.Module, args: Any, out: Any) -> None:
        self.seen.append(
            (
                frozenset(n.rpartition(".")[0] for n, q in self.quantizers.items() if q.enabled),
                out.logits.clone(),
            )
        )


# --- the scan: what is reused


@pytest.mark.parametrize(
    ("kind", "activation"),
    [("sequence", "token"), ("token", "token"), ("token", "tensor"), ("sequence", "static")],
)
def test_every_pass_is_bit_for_bit_a_whole_one(
    family: str, kind: str, activation: str, tiny: Any
) -> None:
    rules = (Rule(weight=WeightSpec(bits=3), activation=ACTIVATIONS[activation]),)
    student = rewrite(tiny(family, kind), rules)
    data = text(kind == "token", n=7, pad=pad_of(student))
    batches = list(data.in_order(4))
    assert not batches[0].real.all()  # padding is present
    calibrate_(student, [b.inputs for b in batches])
    passes = Passes(student)
    scan(student, data, spoken(data), ("one", "but_one", "all"), batch_size=4)
    # what is not a pass over a batch finds out the order
    at_once = len(passes.seen) - 2 * (1 + len(measured(student)))
    assert at_once == 1
    seen, expected = passes.seen[at_once:], [set(), *measured(student).values()]
    for i, batch in enumerate(batches):
        selected = seen[i * len(expected) : (i + 1) * len(expected)]
        assert sorted(map(sorted, (q for q, _ in selected))) == sorted(map(sorted, expected))
        for quantizing, logits in selected:
            assert torch.equal(logits, whole(student, batch, quantizing)), sorted(quantizing)
    exact = whole(student, batches[0], ())
    assert not torch.equal(exact, whole(student, batches[0], set(quantized_modules(student))))


@pytest.mark.parametrize("measure", ["one", "but_one"])
def test_what_ended_before_the_change_does_not_run_again(
    measure: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, data, calls = rewrite(tiny("xlmr", "token"), ROUGH), text(True, n=5), []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda *args: (calls.append(1), linear(*args))[1])
    scan(student, data, spoken(data), (measure,))
    layers = 2 * 6 + 1
    runs = 2 if measure == "one" else 3  # the order; the exact pass; the fully quantized one
    # the embedding, then each Linear and those behind it
    assert len(calls) == runs * layers + layers + sum(range(1, layers + 1))
    before = scan(student, data, spoken(data), (measure,))
    pd.testing.assert_frame_equal(
        scan(student, data, spoken(data), (measure,), reuse=False), before, check_exact=True
    )


def test_a_module_that_is_never_called_changes_nothing(tiny: Any) -> None:
    teacher = tiny("bert")
    teacher.spare = nn.Linear(4, 4)
    student, data = rewrite(teacher, ROUGH), text(n=6, pad=0)
    table = scan(student, data, ["en"] * 6, batch_size=4)
    assert set(table["module"]) == set(quantized_modules(student))
    spare = table[(table["module"] == "spare") & (table["measure"] == "one")]
    assert (spare[list(METRICS)] == 0).all(axis=None)
    measurement = estimate(student, data).set_index("module")
    assert measurement.loc["spare", "estimate"] == 0
    assert (measurement.drop("spare")["estimate"] > 0).all()


@pytest.mark.parametrize("raising", ["attention.self.key", "output.dense", "attention.self"])
@pytest.mark.parametrize("call", [1, 2, 9])
def test_everything_is_as_it_was_when_the_model_raises(raising: str, call: int, tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=6)
    batch = data.batch([0, 1, 2])
    before = whole(student, batch, set(quantized_modules(student)))
    module: Any = student.get_submodule(f"roberta.encoder.layer.1.{raising}")
    plain, count = module.forward, iter(range(1, 1000))

    def forward(*args: Any, **kwargs: Any) -> Any:
        if next(count) == call:
            raise ArithmeticError("this layer raises")
        return plain(*args, **kwargs)

    module.forward = forward
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()]
    with pytest.raises(ArithmeticError, match="this layer"):
        scan(student, data, spoken(data), batch_size=3)
    assert module.__dict__.pop("forward") is forward
    assert not [m for m in student.modules() if "forward" in m.__dict__]
    assert all(q.enabled for q in quantizers(student).values())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()] == hooks
    assert torch.equal(whole(student, batch, set(quantized_modules(student))), before)


@pytest.mark.slow
def test_the_scan_of_mini_takes_six_tenths_of_one_without_reuse() -> None:
    measurement = scans()
    assert all(equal for _, equal in measurement)
    assert statistics.median(ratio for ratio, _ in measurement) <= 0.6


# --- the scan: what it measures


def by_hand(
    student: nn.Module, data: Encoded, size: int
) -> dict[tuple[str, str], dict[int, list[list[float]]]]:
    """(module, measure) -> sentence -> [kl, flip, loss, right] of each of its scored positions,
    with plain loops."""
    measurement: dict[tuple[str, str], dict[int, list[list[float]]]] = {}
    for key, quantizing in measured(student).items():
        selected = measurement.setdefault(key, {})
        for batch in data.in_order(size):
            exact, other = (
                whole(student, batch, ()).double(),
                whole(student, batch, quantizing).double(),
            )
            for row, i in enumerate(batch.at):
                rows = selected.setdefault(i, [])
                for t, label in enumerate(data.labels[i]):
                    if label != IGNORE:
                        z, y = (
                            (exact[row, t], other[row, t])
                            if data.token
                            else (exact[row], other[row])
                        )
                        gold = torch.tensor(label)
                        kl = F.kl_div(y.log_softmax(-1), z.softmax(-1), reduction="sum")
                        loss = F.cross_entropy(y, gold) - F.cross_entropy(z, gold)
                        right = int(y.argmax() == gold) - int(z.argmax() == gold)
                        rows.append(
                            [float(kl), float(z.argmax() != y.argmax()), float(loss), float(right)]
                        )
    return measurement


@pytest.mark.parametrize("token", [False, True])
def test_the_table_says_what_plain_loops_say(token: bool, tiny: Any) -> None:
    student, data = (
        rewrite(tiny("xlmr", "token" if token else "sequence"), ROUGH),
        text(token, n=16),
    )
    languages = spoken(data)
    table = scan(student, data, languages, ("one", "but_one", "all"), batch_size=6)
    expected = by_hand(student, data, 6)
    # what a module adds is a difference within each sentence
    for name in quantized_modules(student):
        whole_model, rest = expected[EVERY, "all"], expected[name, "but_one"]
        expected[name, "added"] = {
            i: (np.array(whole_model[i]) - np.array(rest[i])).tolist() for i in whole_model
        }
    assert len(table) == 3 * len(expected)
    assert not table.duplicated(["module", "measure", "language"]).any()
    for row in table.to_dict("records"):
        sentences = [i for i, code in enumerate(languages) if row["language"] in (EVERY, code)]
        values = [
            np.array(expected[row["module"], row["measure"]][i])
            for i in sentences
            if expected[row["module"], row["measure"]][i]
        ]
        assert (row["sentences"], row["positions"]) == (len(sentences), sum(map(len, values)))
        assert [row[m] for m in METRICS] == pytest.approx(
            list(np.concatenate(values).mean(0)), rel=1e-5, abs=1e-9
        )
        if not token:  # a plain mean
            half = 1.96 * np.concatenate(values).std(0, ddof=1) / math.sqrt(len(values))
            assert [(row[f"{m}_high"] - row[f"{m}_low"]) / 2 for m in METRICS] == pytest.approx(
                list(half), rel=1e-3, abs=1e-9
            )
        assert all(row[f"{m}_low"] <= row[m] <= row[f"{m}_high"] for m in METRICS)
    for metric in METRICS:
        assert table[metric].nunique() > 3, metric  # all of them are moved by something
    one = table[(table["measure"] == "one") & (table["language"] == EVERY)]
    assert list(one["module"]) == [m.name for m in modules(student)]
    assert list(one["order"]) == list(range(len(one)))
    assert list(one["role"]) == [m.role for m in modules(student)]
    assert list(one["block"]) == [m.block for m in modules(student)]


@pytest.mark.parametrize("token", [False, True])
def test_which_module_alone_flips_which_sentence(token: bool, tiny: Any) -> None:
    rules = (
        Rule(weight=WeightSpec(bits=2, granularity=PerTensor()), activation=ActivationSpec(bits=4)),
    )
    student, data = rewrite(tiny("xlmr", "token" if token else "sequence"), rules), text(token, n=9)
    if token:
        data.labels[4][:] = [IGNORE] * len(data.labels[4])  # nothing is asked there
    measurement, ids = (
        divergences(student, data, spoken(data), ("one", "but_one"), batch_size=4),
        [f"s{i}" for i in range(9)],
    )
    rows = alone(student, measurement, ids)
    by_name, expected = {m.name: m for m in modules(student)}, by_hand(student, data, 4)
    for i, sentence in enumerate(ids):
        selected = rows[rows["id"] == sentence]
        values = {name: expected[name, "one"][i] for name in by_name if expected[name, "one"][i]}
        assert bool(values) == (not token or i != 4)
        kl = {
            name: sum(p[0] for p in positions) / len(positions)
            for name, positions in values.items()
        }
        flips = {
            name: sum(p[1] for p in positions) / len(positions)
            for name, positions in values.items()
        }
        worst = sorted(kl, key=lambda name: -kl[name])
        assert list(selected["module"]) == [
            name for place, name in enumerate(worst) if flips[name] or place < 3
        ]
        assert list(selected["kl"]) == pytest.approx(
            [kl[name] for name in selected["module"]], rel=1e-5, abs=1e-9
        )
        assert list(selected["flips"]) == pytest.approx(
            [flips[name] for name in selected["module"]]
        )
        assert set(selected["language"]) <= {spoken(data)[i]}
        assert [(r.role, r.block) for r in selected.itertuples()] == [
            (by_name[name].role, by_name[name].block) for name in selected["module"]
        ]
    assert 0 < (rows["flips"] > 0).sum() < len(rows)
    assert rows.groupby("id").size().max() > 3
    with pytest.raises(ValueError, match='measure "one"'):
        alone(student, divergences(student, data, spoken(data), ("all",)), ids)


def test_interval_of_sentences_with_several_positions() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 300).astype(float)
    sums = counts * rng.normal(1, 0.5, 300)
    mean, half = _mean(sums, counts)
    drawn = rng.integers(300, size=(4000, 300))
    assert mean == pytest.approx(sums.sum() / counts.sum())
    assert half == pytest.approx(1.96 * (sums[drawn].sum(1) / counts[drawn].sum(1)).std(), rel=0.06)
    alike = _mean(sums, np.full(300, 4.0))  # then it is the interval of the sentences' means
    assert alike == pytest.approx(
        (sums.mean() / 4, 1.96 * sums.std(ddof=1) / 4 / math.sqrt(300)), rel=1e-4
    )
    blank = np.concatenate([counts, np.zeros(50)])
    assert _mean(np.concatenate([sums, np.zeros(50)]), blank) == pytest.approx(
        (mean, half), rel=1e-12
    )
    assert _mean(np.array([3.0]), np.array([2.0]))[0] == 1.5
    assert math.isnan(_mean(np.array([3.0]), np.array([2.0]))[1])


def test_the_scan_is_blind_to_padding_and_batching(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr", "token"), FINE), text(True, n=12)
    alone, together = (scan(student, data, spoken(data), batch_size=size) for size in (1, 12))
    keys = ["module", "measure", "language", "sentences", "positions"]
    assert alone[keys].equals(together[keys])
    # rounding is chaotic; padding would move it far more
    assert np.allclose(alone["kl"], together["kl"], rtol=0.05)
    assert np.allclose(alone["loss"], together["loss"], rtol=0.05, atol=3e-5)


def test_without_labels_there_is_no_loss(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=9)
    blank = Encoded(
        data.ids, [[IGNORE] if i % 3 else row for i, row in enumerate(data.labels)], False, data.pad
    )
    languages = spoken(data)  # "de" keeps its labels
    with_labels, without = scan(student, data, languages), scan(student, blank, languages)
    changed = ["loss", "loss_low", "loss_high", "accuracy", "accuracy_low", "accuracy_high"]
    pd.testing.assert_frame_equal(
        without.drop(columns=changed), with_labels.drop(columns=changed), check_exact=True
    )
    for code, same in (("de", True), ("en", False)):
        one, other = (t.loc[t["language"] == code, changed] for t in (with_labels, without))
        assert one.equals(other) if same else other.isna().all(axis=None)
    every, german = (
        without.loc[without["language"] == code, changed].reset_index(drop=True)
        for code in (EVERY, "de")
    )
    assert every.equals(german)


def test_what_a_scan_must_be_given(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=4)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: scan(student, data, ["en"] * 3), "one language"),
        (lambda: scan(student, data, ["en"] * 4, ("two",)), "measures must be among"),  # type: ignore[arg-type]
        (lambda: scan(student, Encoded([], [], False, 1), []), "at least one sentence"),
        (lambda: scan(student.train(), data, ["en"] * 4), "training mode"),
        (lambda: estimate(student.train(), data), "training mode"),
        (lambda: estimate(student.eval(), data, draws=0), "draws must be at least 1"),
    ]
    for call, words in wrong:
        with pytest.raises(ValueError, match=words):
            call()
    assert scan(rewrite(tiny("xlmr"), ()), data, ["en"] * 4).empty

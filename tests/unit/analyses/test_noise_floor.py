"""The noise floor against whole passes and plain loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.analyses import noise_floor as module
from sdq.analyses.layerwise_error import capture_outputs, sites
from sdq.analyses.noise_floor import CAUSES, noise_floor
from sdq.analyses.sensitivity import patch_forwards
from sdq.analyses.weights_vs_activations import weights_vs_activations
from sdq.data.batches import IGNORE, Encoded
from sdq.models.structure import modules
from sdq.quant.rewrite import only, quantized_modules, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.results import EVERY
from tests.helpers.scans import ROUGH, of, pad_of, spoken, whole
from tests.helpers.training import text

W8A8 = (Rule(weight=WeightSpec(bits=8), activation=ActivationSpec(bits=8)),)
NUMBERS = ["value", "high"]


# --- the floor: what it is


@pytest.mark.parametrize("family", ["bert", "xlmr", "distilbert"])
def test_what_does_not_change_does_not_move(family: str, tiny: Any) -> None:
    student = rewrite(tiny(family), W8A8)
    data = text(n=5, pad=pad_of(student))
    still = noise_floor(student, data, spoken(data), repeats=2, batch_size=3, amount=0.0)
    same = of(still, cause="perturbation")
    assert (same.loc[same["measure"] != "sqnr_db", NUMBERS] == 0).all(axis=None)
    assert (same.loc[same["measure"] == "sqnr_db", NUMBERS] == 200).all(axis=None)
    assert set(same.loc[same["kind"] == "site", "name"]) == {m.name for m, _ in sites(student)}
    assert list(of(same, kind="module", measure="kl")["name"]) == [m.name for m in modules(student)]
    # other company alone moves FP32 by its last bits
    assert (of(still, kind="fp32", measure="relative_l2")[NUMBERS] < 1e-5).all(axis=None)


def test_rounding_makes_more_of_a_tiny_change(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), W8A8), text(n=12)
    last, moved = sites(student)[-3][0], {}
    assert last.role == "block"
    for amount in (1e-5, 1e-3):
        table = of(
            noise_floor(student, data, spoken(data), amount=amount, sentences=4),
            cause="perturbation",
        )
        measured = of(table, name=last.name, measure="relative_l2").set_index("kind")["value"]
        moved[amount] = measured["site"]
        if amount == 1e-5:
            assert measured["site"] > 20 * measured["fp32"]
            assert of(table, kind="fp32", name=EVERY, measure="kl")["high"].item() < 1e-8
    assert moved[1e-3] > 2 * moved[1e-5]
    whole_model = of(table, kind="model").set_index("measure")["high"]
    assert whole_model["kl"] > 1e-6
    assert whole_model["loss"] > 0
    assert whole_model["kl_shift"] > 0


def test_company_matters_where_a_range_is_shared(tiny: Any) -> None:
    teacher, data, measured = tiny("xlmr"), text(n=12), {}
    for name, spec in {
        "tensor": ActivationSpec(bits=6, granularity=PerTensor()),
        "token": ActivationSpec(bits=6),
    }.items():
        student = rewrite(teacher, (Rule(activation=spec),))
        table = of(
            noise_floor(student, data, spoken(data), repeats=2, batch_size=6, sentences=6),
            cause="batch",
        )
        measured[name] = of(table, kind="site", role="block", measure="relative_l2")["value"].max()
        if name == "tensor":
            assert (of(table, kind="module", measure="kl", role="ffn_in")["value"] > 1e-7).all()
            alone = of(
                noise_floor(student, data.some([0, 5]), ["en", "de"], repeats=1, batch_size=1),
                cause="batch",
            )
            # a batch of one has no company
            assert (alone.loc[alone["measure"] != "sqnr_db", "high"] == 0).all()
    assert measured["tensor"] > 0.02
    assert measured["token"] < measured["tensor"] / 20


# --- the floor against plain loops


def repetitions(
    student: nn.Module, data: Encoded, batch: Any, repeats: int, amount: float = 1e-4
) -> Iterator[Any]:
    return module._Repeated(student, repeats, 3, amount).times(data, batch)


def test_a_repetition_is_the_same_sentences_again(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), W8A8), text(n=11)
    batch = next(data.in_order(7))
    table: Any = student.get_submodule("roberta.embeddings.word_embeddings")
    with torch.no_grad():
        plain = table(batch.inputs["input_ids"])
    companies = []
    for number in range(2):
        again = [r for r in repetitions(student, data, batch, 2) if r.number == number]
        assert [r.cause for r in again] == ["perturbation", "batch", "batch"]
        assert [len(r.rows) for r in again] == [7, 4, 3]
        assert sorted(again[1].rows + again[2].rows) == list(range(7))
        companies.append(set(again[1].rows))
        for r in again:
            assert [batch.at[i] for i in r.rows] == r.batch.at
            assert torch.equal(
                r.of(batch.inputs["input_ids"][..., None])[..., 0], r.batch.inputs["input_ids"]
            )
            assert bool(r.changed) == (r.cause == "perturbation")
        with torch.no_grad(), patch_forwards(student, again[0].changed):
            moved = [table(batch.inputs["input_ids"]) for _ in range(2)]
        assert torch.equal(*moved)  # the same noise in every pass of one repetition
        relative = (moved[0] - plain).norm(dim=-1) / plain.norm(dim=-1)
        assert relative[batch.real].mean().item() == pytest.approx(1e-4, rel=0.1)
    assert companies[0] != companies[1]


def passes(
    student: nn.Module, batch: Any, quantizing: Any, changed: Any
) -> tuple[dict[str, Tensor], Tensor]:
    with (
        torch.no_grad(),
        capture_outputs(student, sites(student)) as seen,
        only(student, quantizing),
        patch_forwards(student, changed),
    ):
        logits = student(**batch.inputs).logits
        return seen(), logits


Pass = tuple[dict[str, Tensor], Tensor]  # what stands at every place, and the logits


def add_places(
    sums: dict[str, Any], exact: Pass, plain: Pass, now: Pass, rows: list[int], lengths: list[int]
) -> None:
    """Per place: sums of squares of change and signal, of |change|, numbers and sentences. Row b of
    `now` repeats row rows[b] of the others, which has lengths[b] tokens."""
    for place in plain[0]:
        for b, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            signal, before, after = (
                t[i][:n].double() if t.dim() == 3 else t[i].double()
                for t, i in ((exact[0][place], row), (plain[0][place], row), (now[0][place], b))
            )
            terms = [
                ((after - before) ** 2).sum().item(),
                (signal**2).sum().item(),
                (after - before).abs().sum().item(),
                signal.numel(),
                1,
            ]
            so_far = sums.setdefault(place, [0.0, 0.0, 0.0, 0, 0])
            sums[place] = [k + t for k, t in zip(so_far, terms, strict=True)]


def of_answer(z: Tensor, y: Tensor, f: Tensor, e: Tensor, gold: int) -> dict[str, float]:
    """Every metric of one position, of its logits: before (z) and after (y) in the student, after
    (f) and before (e) in FP32."""
    pairs = ((z, y), (f, y), (e, z))
    kl = [F.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="sum").item() for p, q in pairs]
    flips = [float(p.argmax() != q.argmax()) for p, q in pairs]
    target = torch.tensor(gold)
    return {
        "kl": kl[0],
        "flips": flips[0],
        "loss": F.cross_entropy(y, target).item() - F.cross_entropy(z, target).item(),
        "accuracy": float(y.argmax() == gold) - float(z.argmax() == gold),
        "kl_shift": kl[1] - kl[2],
        "flips_shift": flips[1] - flips[2],
    }


def by_hand(
    student: nn.Module,
    data: Encoded,
    quantizing: list[str],
    cause: str,
    size: int = 5,
    repeats: int = 2,
) -> dict[tuple[str, str], tuple[float, float]]:
    """(place, measure) or ("all", metric), of one cause: value and high; with plain loops over
    sentences and tokens."""
    sums, places = [dict[str, Any]() for _ in range(repeats)], set[str]()
    for batch in data.in_order(size):
        exact, plain = passes(student, batch, [], {}), passes(student, batch, quantizing, {})
        places |= plain[0].keys()
        for again in repetitions(student, data, batch, repeats, 1e-2):
            if again.cause != cause:
                continue
            now, fp32 = (
                passes(student, again.batch, names, again.changed) for names in (quantizing, [])
            )
            totals = sums[again.number]
            lengths = [len(data.ids[batch.at[row]]) for row in again.rows]
            add_places(totals, exact, plain, now, again.rows, lengths)
            for b, row in enumerate(again.rows):
                for t, gold in enumerate(data.labels[batch.at[row]]):
                    if gold == IGNORE:
                        continue
                    given = ((plain[1], row), (now[1], b), (fp32[1], b), (exact[1], row))
                    z, y, f, e = (
                        (logits[i, t] if data.token else logits[i]).double() for logits, i in given
                    )
                    for metric, value in of_answer(z, y, f, e, gold).items():
                        totals.setdefault(metric, []).append(value)
    values: dict[tuple[str, str], list[float]] = {}
    for totals in sums:
        for name, v in totals.items():
            if name in places:
                values.setdefault((name, "relative_l2"), []).append(math.sqrt(v[0] / v[1]))
                values.setdefault((name, "mean_abs"), []).append(v[2] / v[3])
                values.setdefault((name, "frobenius"), []).append(math.sqrt(v[0] / v[4]))
            else:
                values.setdefault((EVERY, name), []).append(abs(statistics.fmean(v)))
    return {key: (statistics.median(each), max(each)) for key, each in values.items()}


@pytest.mark.parametrize("token", [False, True])
def test_the_table_says_what_plain_loops_say(token: bool, tiny: Any) -> None:
    rules = (
        Rule(weight=WeightSpec(bits=4), activation=ActivationSpec(bits=4, granularity=PerTensor())),
    )
    student, data = rewrite(tiny("xlmr", "token" if token else "sequence"), rules), text(token, n=9)
    table = noise_floor(
        student, data, spoken(data), repeats=2, seed=3, batch_size=5, amount=1e-2, sentences=9
    )
    assert not table.duplicated(["kind", "name", "measure", "cause"]).any()
    everything = list(quantized_modules(student))
    for cause in CAUSES:
        selected = of(table, cause=cause)
        for kinds, quantizing in ((("site", "model"), everything), (("fp32",), [])):
            expected = by_hand(student, data, quantizing, cause)
            rows = selected[selected["kind"].isin(kinds) & (selected["measure"] != "sqnr_db")]
            assert len(rows) == len(expected) - (0 if quantizing else 2)
            for row in rows.to_dict("records"):
                assert [row[n] for n in NUMBERS] == pytest.approx(
                    expected[row["name"], row["measure"]], rel=1e-4, abs=2e-7
                ), row
        for name in everything[::6]:
            expected = by_hand(student, data, [name], cause)
            rows = of(selected, kind="module", name=name)
            assert list(rows["measure"]) == ["kl", "flips", "loss", "accuracy"]
            for row in rows.to_dict("records"):
                assert [row[n] for n in NUMBERS] == pytest.approx(
                    expected[EVERY, row["measure"]], rel=1e-4, abs=1e-9
                ), row
    assert of(table, kind="module", measure="flips")["high"].max() > 0
    assert of(table, kind="module", measure="kl", cause="perturbation")["value"].max() > 1e-7
    decibels = of(table, kind="site", measure="sqnr_db")
    assert (decibels["high"] <= decibels["value"]).all()  # the farthest repetition has the fewest
    assert (table["repeats"] == 2).all()
    assert set(table["cause"]) == set(CAUSES)


def test_fewer_sentences_are_spread_evenly(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    student, data, asked = rewrite(tiny("xlmr"), W8A8), text(n=13), []
    some = Encoded.some
    monkeypatch.setattr(Encoded, "some", lambda self, at: (asked.append(at), some(self, at))[1])
    noise_floor(student, data, spoken(data), repeats=1, sentences=4)
    assert asked == [[0, 3, 6, 9, 12]]
    paired = Encoded(
        data.ids, data.labels, False, 1, [[i % 2] * len(row) for i, row in enumerate(data.ids)]
    )
    few = some(paired, [2, 5])
    assert (few.ids, few.labels, few.types) == (
        [data.ids[2], data.ids[5]],
        [data.labels[2], data.labels[5]],
        [[0] * len(data.ids[2]), [1] * len(data.ids[5])],
    )


def test_the_seed_decides_and_nothing_else(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr", "token"), ROUGH), text(True, n=6)
    state = torch.random.get_rng_state()
    one, again, other = (
        noise_floor(student, data, spoken(data), repeats=2, seed=seed, batch_size=4, amount=1e-3)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.equals(again)
    assert not of(one, cause="perturbation").equals(of(other, cause="perturbation"))


@pytest.mark.parametrize("call", [1, 2, 4, 30, 60])
def test_everything_is_as_it_was_when_the_model_raises(call: int, tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=6)
    batch = data.batch([0, 1, 2])
    before = whole(student, batch, set(quantized_modules(student)))
    layer: Any = student.get_submodule("roberta.encoder.layer.1.intermediate.dense")
    plain, count = layer.forward, iter(range(1, 10_000))

    def forward(x: Tensor) -> Tensor:
        if next(count) == call:
            raise ArithmeticError("this layer raises")
        return plain(x)  # type: ignore[no-any-return]

    layer.forward = forward
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()]
    with pytest.raises(ArithmeticError, match="this layer"):
        noise_floor(student, data, spoken(data), batch_size=3)
    assert layer.__dict__.pop("forward") is forward
    assert not [m for m in student.modules() if "forward" in m.__dict__]
    assert all(q.enabled for q in quantizers(student).values())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()] == hooks
    assert torch.equal(whole(student, batch, set(quantized_modules(student))), before)


def test_what_must_be_given(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=4)
    for measure in (noise_floor, weights_vs_activations):
        with pytest.raises(ValueError, match="one language"):
            measure(student, data, ["en"] * 3)
        with pytest.raises(ValueError, match="at least one sentence"):
            measure(student, Encoded([], [], False, 1), [])
        with pytest.raises(ValueError, match="training mode"):
            measure(student.train(), data, ["en"] * 4)
        student.eval()
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        noise_floor(student, data, ["en"] * 4, repeats=0)

"""A large model fits: what is shared, what is done in pieces, and (slow) how much a model of XLM-R
base's size takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.memory import measure
from sdq.analyses import weights
from sdq.analyses.activations import activations
from sdq.analyses.fisher import estimate
from sdq.analyses.layerwise_error import layerwise_error
from sdq.data.batches import Encoded
from sdq.inspection.subject import student_of
from sdq.models import hooks as capture
from sdq.models.hooks import in_pieces, listen
from sdq.models.structure import modules
from sdq.quant import observers
from sdq.quant.observers import OBSERVERS
from sdq.quant.packed import pack, unpack_
from sdq.quant.rewrite import rewrite
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, Rule, WeightSpec
from sdq.recipe import PRESETS
from sdq.train.loop import frozen_by
from sdq.train.settings import Training
from tests.helpers.architectures import VOCABULARY

INT8 = (Rule(weight=WeightSpec(), activation=ActivationSpec()),)


def sentences(n: int = 12) -> Encoded:
    generator = torch.Generator().manual_seed(0)
    ids = [
        torch.randint(5, VOCABULARY, (2 + (5 * i) % 11,), generator=generator).tolist()
        for i in range(n)
    ]
    return Encoded(ids, [[i % 3] for i in range(n)], False, 1)


def at(model: nn.Module) -> dict[str, int]:
    return {name: p.data_ptr() for name, p in model.named_parameters()}


def test_a_copy_shares_what_it_is_told_to_and_nothing_else(tiny: Any) -> None:
    model = tiny("xlmr")
    names = set(at(model))
    table = "roberta.embeddings.word_embeddings.weight"
    for share in (names, {table}, set()):
        student = rewrite(model, INT8, share=share)
        assert {name for name, place in at(student).items() if place == at(model)[name]} == share
        assert not {id(p) for p in student.parameters()} & {id(p) for p in model.parameters()}
    assert set(frozen_by(None, model)) == names
    frozen = set(frozen_by(Training(frozen_blocks=1), model))
    assert table in frozen
    assert {name for name in names if ".layer.0." in name} <= frozen
    assert not any(".layer.1." in name or name.startswith("classifier") for name in frozen)
    assert not frozen_by(Training(frozen_embedding=False), model)


def test_codes_are_never_unpacked_into_the_teacher(tiny: Any, padded: Any) -> None:
    model, rules = tiny("xlmr"), [Rule(weight=WeightSpec(bits=2))]
    student = rewrite(model, rules)
    with torch.no_grad():
        for name, p in student.named_parameters():
            if "embeddings" not in name:
                p += 0.1
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = rewrite(model, rules, share=list(at(model))).eval()
    unpack_(again, pack(student, model))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(again(**padded(model)).logits, student.eval()(**padded(model)).logits)
    shared = {name for name, place in at(again).items() if place == at(model)[name]}
    assert shared == {name for name in at(model) if "embeddings" in name}


def test_a_student_takes_memory_only_for_what_was_trained(tiny: Any, tmp_path: Path) -> None:
    """Of a run that trained nothing it is the teacher's; weights from a file stand beside it, not
    in it."""
    model, recipe = tiny("xlmr"), PRESETS["ptq-int8-dynamic"]
    task: Any = None
    assert at(student_of(recipe, model, task, None)) == at(model)
    trained = {
        name: tensor + 1
        for name, tensor in rewrite(model, recipe.rules).state_dict().items()
        if tensor.is_floating_point()
    }
    whole = rewrite(model, recipe.rules).state_dict() | trained
    save_file(whole, tmp_path / "model.safetensors")
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student = student_of(recipe, model, task, None, tmp_path / "model.safetensors")
    assert all(torch.equal(p, state[name] + 1) for name, p in student.named_parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_batches_of_few_tokens() -> None:
    data = sentences()
    for tokens in (1, 12, 30, 10_000):
        batches = list(data.in_order(4, tokens))
        assert sorted(i for batch in batches for i in batch.at) == list(range(len(data)))
        assert all(batch.real.numel() <= tokens or len(batch.at) == 1 for batch in batches)
        assert all(len(batch.at) <= 4 for batch in batches)
    assert [batch.at for batch in data.in_order(4, 10_000)] == [
        batch.at for batch in data.in_order(4)
    ]


@pytest.mark.parametrize("name", ["xlmr", "albert"])
def test_pieces_are_as_large_as_there_is_room(
    name: str, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all modules put out for one token, by hand, times 4 bytes, times the tokens of a batch,
    fits into ROOM."""
    model, data = tiny(name), sentences()
    layers = 3 if name == "albert" else 2
    # q, k, v, attention output, its input, ffn in (40), ffn out, the block
    token = 4 * layers * (24 * 6 + 40 + 24)
    monkeypatch.setattr(capture, "ROOM", 13 * token)
    assert [batch.real.numel() for batch in in_pieces(model, data, 64)] == [
        batch.real.numel() for batch in data.in_order(64, 13)
    ]
    monkeypatch.setattr(capture, "ROOM", 26 * token)
    assert [batch.at for batch in in_pieces(model, data, 64, copies=2)] == [
        batch.at for batch in data.in_order(64, 13)
    ]
    monkeypatch.undo()
    assert [batch.at for batch in in_pieces(model, data, 5)] == [
        batch.at for batch in data.in_order(5)
    ]


def test_analyses_in_pieces_say_the_same(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ranges are per token, how sentences are put together changes nothing but the order of
    sums."""
    data, languages = sentences(), ["en", "de"] * 6
    single = rewrite(tiny("xlmr"), INT8)
    student = rewrite(tiny("xlmr").double(), INT8)

    def all_of_it() -> list[pd.DataFrame]:
        table, tokens = layerwise_error(student, None, data, languages)
        histograms, profiles = activations(single, data, languages)
        # a value at the edge of a bin may fall to either side
        histograms["counts"] = histograms["counts"].map(np.sum)
        return [
            table,
            tokens.sort_values(["sentence", "position", "block"], ignore_index=True),
            histograms,
            profiles,
            estimate(student, data),
        ]

    whole = all_of_it()
    monkeypatch.setattr(capture, "ROOM", 1)
    assert all(len(batch.at) == 1 for batch in in_pieces(student, data, 64))
    for one, two in zip(whole, all_of_it(), strict=True):
        pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
def test_weights_in_pieces_say_the_same(
    granularity: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = rewrite(tiny("xlmr"), [Rule(weight=WeightSpec(bits=3, granularity=granularity))])
    whole = weights.weights(student)
    monkeypatch.setattr(weights, "_PIECE", 50)
    pd.testing.assert_frame_equal(weights.weights(student), whole, rtol=1e-9)


@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: o().kind)
def test_ranges_in_pieces_are_the_same(observer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    whole = observer().of(values, 4, False)
    monkeypatch.setattr(observers, "_PIECE", 1000)
    for one, two in zip(whole, observer().of(values, 4, False), strict=True):
        assert torch.equal(one, two)


def test_what_a_listener_runs_is_not_told(tiny: Any, padded: Any) -> None:
    model, heard = tiny("albert"), []
    name = next(m.name for m in modules(model) if m.role == "ffn_in")

    def see(tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        heard.append(tap)
        module(*args, **kwargs)

    with torch.no_grad(), listen(model, {name: "output", f"{name}@2": "output"}, see):
        model(**padded(model))
        model(**padded(model))
    assert heard == [name, f"{name}@2"] * 2


@pytest.mark.slow
def test_xlmr_base_fits(tmp_path: Path) -> None:
    """1.1 GB of weights: a run takes at most 2.6 times that at its peak, an inspection at most 1.5
    times that on top of the model."""
    run, inspection = measure(tmp_path)
    assert run["checkpoint"] > 1.1e9
    assert run["ratio"] <= 2.6, run
    assert inspection["ratio"] <= 1.5, inspection

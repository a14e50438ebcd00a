"""Every family trains, migrates and is measured as the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from sdq.analyses.activations import activations
from sdq.analyses.fisher import estimate
from sdq.analyses.layerwise_error import layerwise_error, sites
from sdq.analyses.sensitivity import scan
from sdq.models.hooks import capture
from sdq.models.structure import blocks, modules, steps, taps
from sdq.quant.layers import QuantEmbedding
from sdq.quant.rewrite import only, quantized_modules, rewrite
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.results import EVERY
from sdq.train.loop import train_, without_dropout_
from sdq.train.losses import KLD, Attention, Hidden
from sdq.train.settings import Training
from tests.helpers.encoders import logits
from tests.helpers.families import INT8, LAYERS, examples, kind_of


def test_sdq_trains(architecture: str, tiny: Any) -> None:
    """Every term is finite and has a gradient; the teacher stays as it is, also where the student
    shares its memory; dropout is off."""
    teacher = tiny(architecture)
    state = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    frozen = [m.name + ".weight" for m in modules(teacher) if m.role == "embedding"]
    student = rewrite(teacher, INT8, share=frozen)
    terms = (KLD(), Attention(), Hidden())
    history = train_(
        student,
        examples(),
        Training(steps=4, batch_size=4, check_every=2, distillation=terms, learning_rate=1e-3),
        lambda model: 0.0,
        teacher=teacher,
    )
    assert {"kld", "attention", "hidden"} <= history.steps[-1].keys()
    assert all(0 < history.steps[-1][term] < 100 for term in ("kld", "attention", "hidden"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.state_dict().items())
    moved = {name for name, p in student.named_parameters() if not torch.equal(p, state[name])}
    assert not moved & set(frozen)
    assert {f"{m.name}.weight" for m in modules(student) if m.block >= 0} <= moved
    student.train()
    without_dropout_(student)
    batch = examples().batch([0, 1])
    assert torch.equal(logits(student, batch.inputs), logits(student, batch.inputs))


def test_padding_changes_nothing(architecture: str, tiny: Any, padded: Any) -> None:
    """In double precision, with ranges over the whole batch: what stands in the padding, and how
    much of it, is never seen."""
    model = tiny(architecture, "token").double()
    rules = [Rule(weight=WeightSpec(bits=4), activation=ActivationSpec(granularity=PerTensor()))]
    outs = []
    for batch in (padded(model), padded(model, width=21)):
        out = logits(rewrite(model, rules), batch)
        outs.append(out[batch["attention_mask"].bool()])
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-7, atol=1e-7)


def test_migration_computes_the_same(architecture: str, tiny: Any, padded: Any) -> None:
    model = tiny(architecture, kind_of(architecture))
    batch = padded(model)
    smooth = smoothquant(model, [padded(model, seed=3)])
    assert sum(name.endswith("input_scale") for name, _ in smooth.named_buffers()) == len(
        blocks(model)
    ) * (2 if architecture in ("deberta", "modernbert") else 4)
    real = batch["attention_mask"].bool() if kind_of(architecture) == "token" else ...
    torch.testing.assert_close(
        logits(smooth, batch)[real], logits(model, batch)[real], rtol=2e-4, atol=2e-4
    )


def test_depth_table(architecture: str, tiny: Any) -> None:
    """Every place has its rows; local errors are those of the module alone on exact inputs, by
    hand."""
    model = tiny(architecture)
    student, data = rewrite(model, INT8), examples()
    table, tokens = layerwise_error(student, None, data, ["en", "de"] * 3 + ["en"], batch_size=4)
    assert list(table.drop_duplicates("site")["site"]) == [m.name for m, _ in sites(student)]
    every = table[table["language"] == EVERY]
    local = every[every["measure"] == "local"]
    assert (
        len(local) == len(quantized_modules(student))
        if LAYERS.get(architecture, 2) == 2
        else len(local) > len(quantized_modules(student))
    )
    assert (local["relative_l2"] > 0).all()
    assert len(every[every["measure"] == "accumulated"]) == len(sites(student))
    assert len(tokens) == LAYERS.get(architecture, 2) * sum(len(ids) for ids in data.ids)
    role = "qkv" if architecture in ("deberta", "modernbert") else "q"
    tap = taps(student, role)[-1]
    name = tap.partition("@")[0]
    error = signal = 0.0
    for batch in data.in_order(4):
        with capture(student, {tap: "output"}) as out, only(student, ()):
            logits(student, batch.inputs)
        with capture(student, {tap: "input"}) as given, only(student, ()):
            logits(student, batch.inputs)
        with torch.no_grad():
            rounded = student.get_submodule(name)(given[tap])
        error += float(((rounded - out[tap])[batch.real].double() ** 2).sum())
        signal += float((out[tap][batch.real].double() ** 2).sum())
    assert local.loc[local["site"] == tap, "relative_l2"].item() == pytest.approx(
        (error / signal) ** 0.5, rel=1e-9
    )
    assert local.loc[local["site"] == tap, "block"].item() == len(steps(student)) - 1


def test_activations_are_counted_once_per_run(architecture: str, tiny: Any) -> None:
    """Of a shared module at every layer; of a module that reads positions too, the tokens alone."""
    student, data = rewrite(tiny(architecture), INT8), examples()
    table, profiles = activations(student, data, ["en"] * len(data), batch_size=4)
    runs = Counter(step.block for step in steps(student))
    real = sum(len(ids) for ids in data.ids)
    for m in modules(student):
        module: Any = student.get_submodule(m.name)
        if isinstance(module, QuantEmbedding):
            continue
        counted = int(table.set_index("module").loc[m.name, "counts"].sum())
        each = real if m.block >= 0 or m.role == "embedding" else counted // module.in_features
        assert counted == each * module.in_features * max(1, runs[m.block])
    assert list(profiles["module"]) == [
        m.name
        for m in modules(student)
        if not isinstance(student.get_submodule(m.name), QuantEmbedding)
    ]


@pytest.mark.parametrize("name", ["xlmr", "albert", "deberta-v3", "modernbert"])
def test_estimate_is_the_exact_change_where_that_is_small(name: str, tiny: Any) -> None:
    """Of a shared module over all its runs at once: a sum of squares instead of the square of the
    sum would be off by their number."""
    student, data = rewrite(tiny(name).double(), [Rule(weight=WeightSpec(bits=8))]), examples(n=24)
    guess_ = estimate(student, data, draws=64).set_index("module")
    exact = scan(student, data, ["en"] * len(data), ("one",))
    exact = exact[exact["language"] == EVERY].set_index("module")
    ratio = exact["kl"] / guess_["estimate"]
    inside = ratio[exact["block"] >= 0]
    # of q and k the estimate sees what they do to tokens, not to positions
    if name == "deberta-v3":
        inside = inside[~exact.loc[inside.index, "role"].isin(["q", "k"])]
    assert inside.between(0.6, 1.6).all(), inside

"""The contract of every model family: load, roles, order, taps, save and reload."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from sdq.analyses.layerwise_error import sites
from sdq.models.families import family_of, guess
from sdq.models.hooks import capture
from sdq.models.loading import load, longest
from sdq.models.structure import blocks, heads, modules, remarks, steps, taps
from sdq.quant.rewrite import calibrate_, only, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from tests.helpers.encoders import logits
from tests.helpers.families import INT8, LAYERS, examples, kind_of
from tests.helpers.layer_errors import layer_errors

W4_STATIC = (
    Rule(
        weight=WeightSpec(bits=4),
        activation=ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False),
    ),
)
IN_BLOCK = {"attention_output": 1, "ffn_in": 1, "ffn_out": 1}
LABELS = ("red", "green", "blue")


@pytest.fixture
def saved(
    architecture: str, tiny: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> tuple[nn.Module, Path]:
    """A random model of the family, and the folder it was saved to."""
    model = tiny(architecture, kind_of(architecture))
    model.config.id2label, model.config.label2id = (
        dict(enumerate(LABELS)),
        {label: i for i, label in enumerate(LABELS)},
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return model, tmp_path


def test_no_sentence_is_longer_than_the_positions(
    architecture: str, saved: tuple[nn.Module, Path]
) -> None:
    """The tokenizer said nothing; one token more would have no position."""
    model, tokenizer = load(saved[1], kind_of(architecture), LABELS)
    most = longest(model)
    if architecture == "modernbert":
        assert most is None  # rotary positions
        return
    assert most == tokenizer.model_max_length == (46 if model.config.pad_token_id == 1 else 48)
    ids = torch.full((1, most), 7)
    assert torch.isfinite(
        logits(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    ).all()
    if architecture != "deberta-v3":  # it clips positions
        longer = torch.full((1, most + 1), 7)
        with pytest.raises((IndexError, RuntimeError)):
            logits(model, {"input_ids": longer, "attention_mask": torch.ones_like(longer)})


def test_the_whole_way(
    architecture: str, saved: tuple[nn.Module, Path], padded: Any, tmp_path: Path
) -> None:
    """Saved folder -> load -> quantize -> off is FP32 bit for bit -> errors of every layer -> save
    -> reload: equal outputs."""
    original, folder = saved
    model, _ = load(folder, kind_of(architecture), LABELS)
    batch = padded(model)
    original.set_attn_implementation("eager")  # type: ignore[operator]
    assert torch.equal(logits(model, batch), logits(original, batch))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for rules in (INT8, W4_STATIC):
        student = rewrite(model, rules, share=[name for name, _ in model.named_parameters()])
        calibrate_(student, [padded(model, seed=3)])
        with only(student, ()):
            assert torch.equal(logits(student, batch), logits(model, batch))
        rounded = logits(student, batch)
        assert torch.isfinite(rounded).all()
        assert not torch.equal(rounded, logits(model, batch))
        errors = layer_errors(student, None, examples())
        assert len(errors) == LAYERS.get(architecture, 2)
        assert [e.block for e in errors] == list(range(len(errors)))
        assert all(
            0 < e.local_relative_l2 < 1
            and e.accumulated_relative_l2 > 0
            and e.attention_accumulated_relative_l2 > 0
            for e in errors
        )
        save_file(student.state_dict(), tmp_path / "student.safetensors")
        again = rewrite(load(folder, kind_of(architecture), LABELS)[0], rules)
        again.load_state_dict(load_file(tmp_path / "student.safetensors"))
        assert torch.equal(logits(again, batch), rounded)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_roles(architecture: str, tiny: Any) -> None:
    """Each block has q, k, v (or the layer that gives all three), attention output, ffn in, ffn
    out; every head is the configuration's."""
    model = tiny(architecture, kind_of(architecture))
    candidates = modules(model)
    assert candidates[0].role == "embedding"
    assert isinstance(model.get_submodule(candidates[0].name), nn.Embedding)
    assert model.get_submodule(candidates[0].name) is model.get_input_embeddings()
    assert candidates[-1].role == "head"
    assert model.get_submodule(candidates[-1].name).out_features == 3
    queries = {"qkv": 1} if architecture in ("deberta", "modernbert") else {"q": 1, "k": 1, "v": 1}
    for block in range(len(blocks(model))):
        assert Counter(m.role for m in candidates if m.block == block) == Counter(
            queries | IN_BLOCK
        )
    assert {m.block for m in candidates} == {-1, *range(len(blocks(model)))}
    assert heads(model) == (12 if architecture == "minilm" else 3)
    assert len(steps(model)) == LAYERS.get(architecture, 2)
    assert bool(remarks(model)) == (architecture in ("albert", "albert-groups", "mpnet"))
    positions = [
        n
        for n, m in model.named_modules()
        if isinstance(m, (nn.Linear, nn.Embedding))
        and ("pos" in n or "rel_" in n or "token_type" in n)
    ]
    assert not set(positions) & {m.name for m in candidates}


def test_a_guess_finds_what_is_declared(architecture: str, tiny: Any) -> None:
    model = tiny(architecture, kind_of(architecture))
    declared = family_of(model)
    guessed = guess(model)
    assert declared is not None
    assert declared.guessed == (architecture == "mpnet")
    # its blocks are lists in a list: what cannot be told is not guessed wrongly
    if architecture.startswith("albert"):
        return
    assert guessed is not None
    candidates = modules(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdq.models.families.FAMILIES", {})
        assert modules(model) == candidates
        assert "guessed" in remarks(model)[0]
    assert "attention_output = " in guessed.description


def test_order_is_that_of_the_forward_pass(architecture: str, tiny: Any, padded: Any) -> None:
    """Places of errors, one after the other, as a pass comes by; of a shared block at every
    layer."""
    model = tiny(architecture, kind_of(architecture))
    order: list[str] = []
    places = {m.name.removesuffix(":input"): m.name for m, side in sites(model) if side == "output"}
    calls: Counter[str] = Counter()

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            call, calls[name] = calls[name], calls[name] + 1
            order.append(name if not call else f"{name}@{call}")

        return hook

    for name in {tap.partition("@")[0] for tap in places}:
        model.get_submodule(name).register_forward_hook(note(name))
    logits(model, padded(model))
    assert [name for name in order if name in places] == list(places)
    assert all(name.endswith("@1") for name in order if name not in places)  # DeBERTa's positions
    numbers = [m.block for m, _ in sites(model) if m.role == "block"]
    assert numbers == list(range(LAYERS.get(architecture, 2)))


def test_taps_of_distillation(architecture: str, tiny: Any, padded: Any) -> None:
    """The context is what the attention output layer reads, at every layer, and can be told apart
    by head."""
    model = tiny(architecture, kind_of(architecture))
    batch = padded(model)
    outputs, hidden = taps(model, "attention_output"), taps(model, "block")
    assert len(outputs) == len(hidden) == LAYERS.get(architecture, 2)
    with (
        capture(model, dict.fromkeys(outputs, "input")) as context,
        capture(model, dict.fromkeys(hidden, "output")) as states,
    ):
        logits(model, batch)
    for tap in outputs:
        assert context[tap].shape == (
            *batch["input_ids"].shape,
            48 if architecture == "minilm" else 24,
        )
        assert context[tap].unflatten(-1, (heads(model), -1)).shape[-1] == (
            4 if architecture == "minilm" else 8
        )
    assert all(
        not torch.equal(a, b) for a, b in itertools.pairwise(context[tap] for tap in outputs)
    )
    with torch.no_grad():
        again = model(**batch, output_hidden_states=True).hidden_states
    # some families normalize the last one
    for tap, expected in zip(hidden[:-1], again[1:], strict=False):
        assert torch.equal(states[tap], expected)

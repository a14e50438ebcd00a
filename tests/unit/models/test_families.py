"""The contract of every model family: load, roles, quantize, off equals FP32, errors per layer,
SDQ's taps, save and reload."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from sdq.analyses.activations import activations
from sdq.analyses.depth import EVERY, depth, sites
from sdq.analyses.fisher import estimate
from sdq.analyses.sensitivity import scan
from sdq.data.batches import Encoded
from sdq.figures.depth import behind
from sdq.labels import module_label
from sdq.models.families import FAMILIES, family_of, guess
from sdq.models.hooks import capture
from sdq.models.loading import blocks, heads, load, longest, modules, remarks, steps, taps
from sdq.quant.layers import QuantEmbedding
from sdq.quant.rewrite import calibrate_, only, quantized_modules, rewrite
from sdq.quant.smoothquant import migrate
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.settings import UserError
from sdq.train.loop import train_, without_dropout_
from sdq.train.losses import KLD, Attention, Hidden
from sdq.train.settings import Training
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY
from tests.helpers.layer_errors import layer_errors

INT8 = (Rule(weight=WeightSpec(), activation=ActivationSpec()),)
W4_STATIC = (
    Rule(
        weight=WeightSpec(bits=4),
        activation=ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False),
    ),
)
IN_BLOCK = {"attention_output": 1, "ffn_in": 1, "ffn_out": 1}
LABELS = ("red", "green", "blue")
LAYERS = {"albert": 3, "albert-groups": 8}


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**batch).logits
        return out


def examples(seed: int = 0, n: int = 7) -> Encoded:
    """n sentences of 2 to 9 random tokens with a label each."""
    generator = torch.Generator().manual_seed(seed)
    ids = [
        torch.randint(5, VOCABULARY, (2 + (3 * i) % 8,), generator=generator).tolist()
        for i in range(n)
    ]
    return Encoded(ids, [[i % 3] for i in range(n)], False, 0)


def kind_of(architecture: str) -> str:
    """Half the architectures under a head for tagging."""
    return ("sequence", "token")[ARCHITECTURES.index(architecture) % 2]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(
        WordLevel(
            {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}},
            unk_token="[UNK]",
        )
    )
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )


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
    found = modules(model)
    assert found[0].role == "embedding"
    assert isinstance(model.get_submodule(found[0].name), nn.Embedding)
    assert model.get_submodule(found[0].name) is model.get_input_embeddings()
    assert found[-1].role == "head"
    assert model.get_submodule(found[-1].name).out_features == 3
    queries = {"qkv": 1} if architecture in ("deberta", "modernbert") else {"q": 1, "k": 1, "v": 1}
    for block in range(len(blocks(model))):
        assert Counter(m.role for m in found if m.block == block) == Counter(queries | IN_BLOCK)
    assert {m.block for m in found} == {-1, *range(len(blocks(model)))}
    assert heads(model) == (12 if architecture == "minilm" else 3)
    assert len(steps(model)) == LAYERS.get(architecture, 2)
    assert bool(remarks(model)) == (architecture in ("albert", "albert-groups", "mpnet"))
    positions = [
        n
        for n, m in model.named_modules()
        if isinstance(m, (nn.Linear, nn.Embedding))
        and ("pos" in n or "rel_" in n or "token_type" in n)
    ]
    assert not set(positions) & {m.name for m in found}


def test_a_guess_finds_what_is_declared(architecture: str, tiny: Any) -> None:
    model = tiny(architecture, kind_of(architecture))
    declared = family_of(model)
    guessed = guess(model)
    assert declared is not None
    assert declared.guessed == (architecture == "mpnet")
    if architecture.startswith(
        "albert"
    ):  # its blocks are lists in a list: what cannot be told is not guessed wrongly
        return
    assert guessed is not None
    known = modules(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdq.models.families.FAMILIES", {})
        assert modules(model) == known
        assert "guessed" in remarks(model)[0]
    assert "attention_output = " in guessed.words


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
    for tap, expected in zip(
        hidden[:-1], again[1:], strict=False
    ):  # some families normalize the last one
        assert torch.equal(states[tap], expected)


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
    smooth = migrate(model, [padded(model, seed=3)])
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
    table, tokens = depth(student, None, data, ["en", "de"] * 3 + ["en"], batch_size=4)
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
    if (
        name == "deberta-v3"
    ):  # of q and k the estimate sees what they do to tokens, not to positions
        inside = inside[~exact.loc[inside.index, "role"].isin(["q", "k"])]
    assert inside.between(0.6, 1.6).all(), inside


def test_modules_of_one_model_have_names_of_their_own(architecture: str, tiny: Any) -> None:
    """On screen: also the two parts of a factorized embedding, and a block's layer for q, k and
    v."""
    labels = [module_label(m.name, m.role, m.block) for m in modules(tiny(architecture))]
    assert len(set(labels)) == len(labels)


def test_every_family_is_met(tiny: Any) -> None:
    met = {str(tiny(name).config.model_type) for name in ARCHITECTURES}
    assert set(FAMILIES) - met == {
        "camembert",
        "rembert",
    }  # these are bert and electra under other names


def test_what_is_no_encoder_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A decoder has the same layers, but its attention looks at earlier tokens only."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        pad_token_id=0,
        num_labels=3,
    )
    config.id2label = dict(enumerate(LABELS))
    model = LlamaForSequenceClassification(config)
    assert guess(model) is None
    with pytest.raises(UserError, match=r"must be an encoder.*one entry in sdq/models/families.py"):
        modules(model)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="must be an encoder"):
        load(tmp_path, "sequence", LABELS)


def test_blocks_without_a_role_are_refused() -> None:
    """Lists whose blocks are not alike, or lack a layer, are no encoder."""

    class Odd(nn.Module):
        def __init__(self, *widths: tuple[int, int]) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 8)
            self.layers = nn.ModuleList(
                nn.ModuleDict({f"part{i}": nn.Linear(*w) for i, w in enumerate(widths)})
                for _ in range(2)
            )

        def get_input_embeddings(self) -> nn.Module:
            return self.table

    square, wide, narrow = (8, 8), (8, 32), (32, 8)
    whole = guess(Odd(square, square, square, square, wide, narrow))  # by shape and order alone
    assert whole is not None
    assert whole.inside == {
        "q": "part0",
        "k": "part1",
        "v": "part2",
        "attention_output": "part3",
        "ffn_in": "part4",
        "ffn_out": "part5",
    }
    fused = guess(Odd((8, 24), square, wide, narrow))
    assert fused is not None
    assert fused.inside["qkv"] == "part0"
    gated = guess(Odd(square, square, square, square, wide, wide, narrow))
    assert gated is not None
    assert gated.inside["ffn_in"] == "part4|part5"
    assert guess(Odd(square, square, square, wide, narrow)) is None
    assert guess(Odd(square, square, square, square, wide)) is None
    uneven = Odd(square, square, square, square, wide, narrow)
    uneven.layers[1]["part5"] = nn.Linear(32, 9)
    assert guess(uneven) is None


def test_tables_name_no_module_twice(tiny: Any) -> None:
    student = rewrite(tiny("albert-groups"), INT8)
    table, _ = depth(student, None, examples(), ["en"] * 7)
    numbers = pd.Series(table.drop_duplicates("site").query("role == 'q'")["block"].tolist())
    assert numbers.tolist() == list(range(8))
    assert set(behind(table).values()) == {
        m.name for m in modules(student)
    }  # a link to weights leads to the module
    assert [step.block for step in steps(student)] == [0, 1, 0, 1, 2, 3, 2, 3]
    assert [step.call for step in steps(student)] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_a_folder_of_parts(
    tiny: Any, padded: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Sharded weights load by their index; an index that leads out of the folder, or a part that is
    missing, is refused."""
    from sdq.models.checkpoint import base_of

    model = tiny("xlmr")
    model.config.id2label = dict(enumerate(LABELS))
    model.save_pretrained(tmp_path, max_shard_size="20kB")
    tokenizer.save_pretrained(tmp_path)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 2
    assert base_of(str(tmp_path)) == tmp_path
    batch = padded(model)
    model.set_attn_implementation("eager")
    assert torch.equal(logits(load(tmp_path, "sequence", LABELS)[0], batch), logits(model, batch))
    index = tmp_path / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(text.replace(parts[0].name, f"../{parts[0].name}"))
    shutil.copy(parts[0], tmp_path.parent)
    with pytest.raises(UserError, match="must be files beside"):
        base_of(str(tmp_path))
    index.write_text(text)
    parts[-1].unlink()
    with pytest.raises(UserError, match=f"{parts[-1].name} is not"):
        base_of(str(tmp_path))

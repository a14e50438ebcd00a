"""Logits that are no numbers are refused in one sentence: on which sentences, and since which
layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdq.analyses.activations import _real
from sdq.data.batches import IGNORE, Encoded
from sdq.evaluate.predict import _hidden, predict, watched
from sdq.models.retrieval import Retriever, index_
from sdq.models.structure import blocks, modules
from sdq.quant.rewrite import calibrate_, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.settings import UserError

BAD = 60  # a token that breaks a model


def data_of(kind: str, bad: tuple[int, ...] = (), n: int = 70) -> Encoded:
    draw = torch.Generator().manual_seed(0)
    ids = [[2, *torch.randint(5, BAD, (4 + i % 5,), generator=draw).tolist(), 2] for i in range(n)]
    for i in bad:
        ids[i][1] = BAD
    labels = [[IGNORE, *[0] * (len(row) - 2), IGNORE] if kind == "token" else [0] for row in ids]
    return Encoded(ids, labels, kind == "token", 1, names=[f"de {i:06d}" for i in range(n)])


def with_bad_token_(model: nn.Module, value: float = math.nan) -> nn.Module:
    table: Any = model.get_submodule(next(m.name for m in modules(model) if m.role == "embedding"))
    table.weight.data[BAD] = value
    return model


def test_the_sentences_are_counted_and_named(tiny: Callable[..., Any], kind: str) -> None:
    model, data = with_bad_token_(tiny("bert", kind)), data_of(kind, (3, 9, 41, 66))
    with pytest.raises(
        UserError,
        match=r"on 4 of 70 sentences \(de 000003, de 000009, de 000041 and 1 more\), in the "
        r"embeddings already;",
    ) as error:
        predict(model, data)
    assert "\n" not in str(error.value)
    kept = [i for i in range(70) if i not in (3, 9, 41, 66)]
    assert len(predict(model, data.some(kept))[0]) == 66


def test_the_layer_is_named(tiny: Callable[..., Any], architecture: str) -> None:
    """A weight of the last block that is no number; where layers share a block it breaks at the
    first of them."""
    model = tiny(architecture)
    shared = architecture.startswith("albert")
    last = len(blocks(model)) - 1
    name = next(m.name for m in modules(model) if m.block == last)
    model.get_submodule(name).weight.data[0] = math.inf
    data = data_of("sequence", n=3)
    where = r"since layer \d" if shared else f"since layer {last} "
    with pytest.raises(UserError, match=rf"on 3 of 3 sentences .*{where}"):
        predict(model, data)


def test_infinite_logits_and_a_broken_head(tiny: Callable[..., Any]) -> None:
    model = tiny("bert")
    head = next(m.name for m in modules(model) if m.role == "head" and "classifier" in m.name)
    model.get_submodule(head).weight.data.fill_(3e38)
    with pytest.raises(UserError, match="in the head alone"):
        predict(model, data_of("sequence", n=5))


def test_padding_that_is_no_number_does_not_count(tiny: Callable[..., Any]) -> None:
    model, data = tiny("bert", "token"), data_of("token", n=8)
    whole = predict(model, data)

    def spoil(module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        out.logits[~kwargs["attention_mask"].bool()] = math.nan
        return out

    model.register_forward_hook(spoil, with_kwargs=True)
    assert predict(model, data) == whole


def test_calibration_is_stopped(tiny: Callable[..., Any]) -> None:
    teacher = with_bad_token_(tiny("bert"), 1e30)  # finite itself: the embedding's norm overflows
    student = rewrite(
        teacher,
        (
            Rule(
                weight=WeightSpec(),
                activation=ActivationSpec(granularity=PerTensor(), dynamic=False),
            ),
        ),
    )
    before = len(student._forward_hooks), len(student._forward_pre_hooks)
    with pytest.raises(ValueError, match="must be finite numbers"):  # before the logits are there
        calibrate_(student, watched(student, data_of("sequence", (50,)), 16))
    assert (len(student._forward_hooks), len(student._forward_pre_hooks)) == before
    calibrate_(student, watched(student, data_of("sequence"), 16))


def test_a_sentence_of_the_index_does_not_spoil_the_count(tiny: Callable[..., Any]) -> None:
    encoder = with_bad_token_(tiny("bert")).bert
    retriever = Retriever(encoder, 24).eval()
    data = data_of("sequence", (4,))
    index_(retriever, data)
    with pytest.raises(UserError, match=r"on 1 of 70 sentences \(de 000004\)"):
        predict(retriever, data)
    # of whom none is broken itself: the index is
    with pytest.raises(UserError, match="on 3 of 3 sentences"):
        predict(retriever, data.some([0, 1, 2]))


@pytest.mark.parametrize("where", ["test", "train"])
def test_a_run_ends_in_one_sentence(tmp_path: Path, where: str) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    from sdq.pipeline.run import run
    from sdq.recipe import PRESETS
    from sdq.store import Store

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "boom"]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(
        tmp_path / "model"
    )
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    model = BertForSequenceClassification(
        BertConfig(vocab_size=8, max_position_embeddings=16, id2label={0: "n", 1: "y"}, **sizes)
    )
    model.bert.embeddings.word_embeddings.weight.data[7] = torch.linspace(-1e38, 1e38, 8)
    model.save_pretrained(tmp_path / "model")
    for split in ("train", "dev", "test"):
        more = "boom,y\n" if split == where else ""
        (tmp_path / f"{split}.csv").write_text(f"text,label\ngood,y\nbad,n\n{more}")
    (tmp_path / "task.json").write_text(
        '{"name": "made", "kind": "sentence", "training_language": "en", "columns": {"text": '
        '"text", "label": "label"}, '
        '"splits": {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}}'
    )
    with pytest.raises(UserError, match=r"NaN or infinite on 1 of 3 sentences \(en 000003\)"):
        run(
            PRESETS["ptq-int8-static"],
            str(tmp_path / "model"),
            str(tmp_path / "task.json"),
            Store(tmp_path / "runs"),
        )


@pytest.mark.parametrize("role", ["q", "k"])
def test_a_kernel_that_makes_numbers_of_nan_hides_nothing(
    tiny: Callable[..., Any], role: str
) -> None:
    """Sentences of one length go without padding, and a fused attention may then drop what is not
    finite."""
    model, data = tiny("bert"), data_of("sequence", n=60)
    same = [i for i in range(60) if len(data.ids[i]) == len(data.ids[0])]
    last = next(m.name for m in modules(model) if m.block == 1 and m.role == role)
    model.get_submodule(last).weight.data[0] = math.inf
    with pytest.raises(
        UserError, match=rf"on {len(same)} of {len(same)} sentences .*since layer 1 "
    ):
        predict(model, data.some(same))


@pytest.mark.parametrize(
    "turn", [lambda x: x.transpose(0, 1), lambda x: x[:, :1], lambda x: x[None]]
)
def test_rows_that_are_not_one_per_token_are_refused_in_a_sentence(
    tiny: Callable[..., Any], turn: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Whose sentence a row is of cannot be told: all of the batch count as broken."""
    batch = next(data_of("sequence", n=3).in_order(64))
    layer = nn.Identity()
    with _hidden(layer, batch, [""]) as hidden:
        layer(turn(torch.full((3, batch.real.shape[1], 4), math.nan)))
    assert hidden == {0, 1, 2}
    if turn(torch.zeros(3, batch.real.shape[1], 4)).dim() == 3:
        with pytest.raises(UserError, match="every layer must have one row per token"):
            _real(turn(torch.zeros(3, batch.real.shape[1], 4)), batch)

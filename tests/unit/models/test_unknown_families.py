"""Names of modules, and models of no family: what is guessed and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    MobileBertConfig,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
    NystromformerConfig,
    NystromformerForSequenceClassification,
    PreTrainedTokenizerFast,
)

from sdq.analyses.layerwise_error import layerwise_error
from sdq.figures.depth_rows import behind
from sdq.labels import module_label
from sdq.models.families import FAMILIES, guess
from sdq.models.loading import load
from sdq.models.padding import minds_padding
from sdq.models.structure import modules, steps
from sdq.quant.rewrite import rewrite
from sdq.settings import UserError
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY
from tests.helpers.encoders import logits
from tests.helpers.families import INT8, examples

LABELS = ("red", "green", "blue")


def test_modules_of_one_model_have_names_of_their_own(architecture: str, tiny: Any) -> None:
    """On screen: also the two parts of a factorized embedding, and a block's layer for q, k and
    v."""
    labels = [module_label(m.name, m.role, m.block) for m in modules(tiny(architecture))]
    assert len(set(labels)) == len(labels)


def test_every_family_is_met(tiny: Any) -> None:
    met = {str(tiny(name).config.model_type) for name in ARCHITECTURES}
    # these are bert and electra under other names
    assert set(FAMILIES) - met == {
        "camembert",
        "rembert",
    }


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
    table, _ = layerwise_error(student, None, examples(), ["en"] * 7)
    numbers = pd.Series(table.drop_duplicates("site").query("role == 'q'")["block"].tolist())
    assert numbers.tolist() == list(range(8))
    # a link to weights leads to the module
    assert set(behind(table).values()) == {m.name for m in modules(student)}
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


def test_answers_that_hang_on_padding_are_remarked_on(architecture: str, tiny: Any) -> None:
    """A convolution over the words, padding among them: a sentence's answer hangs on which others
    are in its batch. No declared family does so."""
    assert minds_padding(tiny(architecture)) == ""
    torch.manual_seed(0)
    config = NystromformerConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        initializer_range=0.3,
    )
    model = NystromformerForSequenceClassification(config).eval()
    assert "padding" in minds_padding(model)


@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize(
    "head", [MobileBertForSequenceClassification, MobileBertForTokenClassification]
)
def test_padding_that_reaches_the_last_word_alone_is_remarked_on(head: Any, spread: float) -> None:
    """MobileBERT joins the embeddings of each word and its neighbours: the last word reads padding,
    and the first hardly shows it (1e-5 of the logits at a spread of 0.02)."""
    torch.manual_seed(0)
    config = MobileBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        embedding_size=16,
        true_hidden_size=16,
        intra_bottleneck_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=48,
        initializer_range=spread,
    )
    model = head(config).eval()
    table = model.get_input_embeddings()
    assert minds_padding(model) == "", "the row of padding is zero until it is trained"
    table.weight.data[config.pad_token_id].normal_(std=spread)
    assert "padding" in minds_padding(model)

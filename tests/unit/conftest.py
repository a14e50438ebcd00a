"""Tiny random encoders of every supported family, and padded batches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

torch.set_num_threads(1)

VOCABULARY, BLOCKS = 61, 2
_SIZES = {"vocab_size": VOCABULARY, "initializer_range": 0.3}
_BERT = _SIZES | {
    "num_hidden_layers": BLOCKS,
    "max_position_embeddings": 48,
    "intermediate_size": 40,
}


def _config(family: str) -> tuple[Any, str]:
    import transformers as t

    match family:
        case "bert":
            return t.BertConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=0, **_BERT
            ), "Bert"
        case "minilm":  # twelve narrow heads
            return t.BertConfig(
                hidden_size=48, num_attention_heads=12, pad_token_id=0, **_BERT
            ), "Bert"
        case "roberta":
            return t.RobertaConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=1, type_vocab_size=1, **_BERT
            ), "Roberta"
        case "xlmr":
            return t.XLMRobertaConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=1, type_vocab_size=1, **_BERT
            ), "XLMRoberta"
        case "distilbert":
            return t.DistilBertConfig(
                dim=24,
                n_heads=3,
                n_layers=BLOCKS,
                hidden_dim=40,
                max_position_embeddings=48,
                pad_token_id=0,
                **_SIZES,
            ), "DistilBert"
        case "electra":  # factorized embedding
            return t.ElectraConfig(
                embedding_size=16, hidden_size=24, num_attention_heads=3, pad_token_id=0, **_BERT
            ), "Electra"
        case "albert":  # factorized embedding, one block that runs at three layers
            sizes = _BERT | {"num_hidden_layers": 3}
            return t.AlbertConfig(
                embedding_size=16, hidden_size=24, num_attention_heads=3, pad_token_id=0, **sizes
            ), "Albert"
        case "albert-groups":  # two groups of two blocks over four layers
            groups = {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2}
            return t.AlbertConfig(
                embedding_size=16,
                hidden_size=24,
                num_attention_heads=3,
                pad_token_id=0,
                **(_BERT | groups),
            ), "Albert"
        case "deberta":  # q, k and v from one layer
            positions = {
                "relative_attention": True,
                "pos_att_type": ["c2p", "p2c"],
                "pooler_hidden_size": 24,
            }
            return t.DebertaConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=0, **positions, **_BERT
            ), "Deberta"
        case "deberta-v3":  # q and k read the positions after the tokens
            positions = {
                "relative_attention": True,
                "pos_att_type": ["c2p", "p2c"],
                "pooler_hidden_size": 24,
                "share_att_key": True,
                "position_buckets": 8,
            }
            return t.DebertaV2Config(
                hidden_size=24,
                num_attention_heads=3,
                pad_token_id=0,
                norm_rel_ebd="layer_norm",
                **positions,
                **_BERT,
            ), "DebertaV2"
        case (
            "modernbert"
        ):  # q, k and v from one layer, GeGLU, pre-LN, local attention in every other block
            ids = {
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "cls_token_id": 1,
                "sep_token_id": 2,
            }
            return t.ModernBertConfig(
                hidden_size=24,
                num_attention_heads=3,
                global_attn_every_n_layers=2,
                local_attention=6,
                **ids,
                **_BERT,
            ), "ModernBert"
        case "xlmr-xl":  # pre-LN
            return t.XLMRobertaXLConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=1, type_vocab_size=1, **_BERT
            ), "XLMRobertaXL"
        case "mpnet":  # not declared
            return t.MPNetConfig(
                hidden_size=24, num_attention_heads=3, pad_token_id=1, **_BERT
            ), "MPNet"
    raise KeyError(family)


# every family of sdq.models.families in the shapes that differ, and one that is guessed
ARCHITECTURES = (
    "bert",
    "minilm",
    "roberta",
    "xlmr",
    "distilbert",
    "electra",
    "albert",
    "albert-groups",
    "deberta",
    "deberta-v3",
    "modernbert",
    "xlmr-xl",
    "mpnet",
)


@pytest.fixture(params=["bert", "minilm", "roberta", "xlmr", "distilbert"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """For the contract that every family keeps (models/test_families.py); other tests take `family`, which
    is shorter."""
    return str(request.param)


@pytest.fixture(params=["sequence", "token"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tiny() -> Callable[..., nn.Module]:
    """tiny(family, kind, labels=3, seed=0) -> a random model in eval mode whose biases and norms
    are random too."""
    import transformers

    def build(
        family: str = "xlmr", kind: str = "sequence", labels: int = 3, seed: int = 0
    ) -> nn.Module:
        config, name = _config(family)
        config.num_labels = labels
        end = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification"}[kind]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model: nn.Module = getattr(transformers, name + end)(config)
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.data += 0.1 * torch.randn_like(parameter)
        return model.eval()

    return build


@pytest.fixture
def padded() -> Callable[..., dict[str, Tensor]]:
    """padded(model, lengths, width=None, fill=None, seed=0) -> input ids and mask; `fill` is what
    stands in the padding."""

    def build(
        model: Any,
        lengths: tuple[int, ...] = (9, 4, 6, 1),
        width: int | None = None,
        fill: int | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        width = width or max(lengths)
        ids = torch.full((len(lengths), width), model.config.pad_token_id if fill is None else fill)
        mask = torch.zeros(len(lengths), width, dtype=torch.long)
        for row, n in enumerate(lengths):
            ids[row, :n] = torch.randint(5, VOCABULARY, (n,), generator=generator)
            mask[row, :n] = 1
        return {"input_ids": ids, "attention_mask": mask}

    return build

"""The shapes of tiny random encoders: every family of sdq.models.families in the forms that differ,
and one that is guessed."""

from __future__ import annotations

from typing import Any

VOCABULARY, BLOCKS = 61, 2
_SIZES = {"vocab_size": VOCABULARY, "initializer_range": 0.3}
_NARROW = {"hidden_size": 24, "num_attention_heads": 3}
_BERT = _SIZES | {
    "num_hidden_layers": BLOCKS,
    "max_position_embeddings": 48,
    "intermediate_size": 40,
    "pad_token_id": 0,
}
_ROBERTA = _BERT | _NARROW | {"pad_token_id": 1, "type_vocab_size": 1}
_DEBERTA = (
    _BERT
    | _NARROW
    | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "pooler_hidden_size": 24}
)
# name -> (prefix of its classes in transformers, settings)
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", _BERT | _NARROW),
    "minilm": ("Bert", _BERT | {"hidden_size": 48, "num_attention_heads": 12}),  # narrow heads
    "roberta": ("Roberta", _ROBERTA),
    "xlmr": ("XLMRoberta", _ROBERTA),
    "distilbert": (
        "DistilBert",
        _SIZES
        | {
            "dim": 24,
            "n_heads": 3,
            "n_layers": BLOCKS,
            "hidden_dim": 40,
            "max_position_embeddings": 48,
            "pad_token_id": 0,
        },
    ),
    "electra": ("Electra", _BERT | _NARROW | {"embedding_size": 16}),  # factorized embedding
    # factorized embedding, one block that runs at three layers
    "albert": ("Albert", _BERT | _NARROW | {"embedding_size": 16, "num_hidden_layers": 3}),
    "albert-groups": (  # two groups of two blocks over four layers
        "Albert",
        _BERT
        | _NARROW
        | {
            "embedding_size": 16,
            "num_hidden_layers": 4,
            "num_hidden_groups": 2,
            "inner_group_num": 2,
        },
    ),
    "deberta": ("Deberta", _DEBERTA),  # q, k and v from one layer
    "deberta-v3": (  # q and k read the positions after the tokens
        "DebertaV2",
        _DEBERTA | {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"},
    ),
    "modernbert": (  # q, k, v from one layer, GeGLU, pre-LN, local attention in every other block
        "ModernBert",
        _BERT
        | _NARROW
        | {
            "global_attn_every_n_layers": 2,
            "local_attention": 6,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    "xlmr-xl": ("XLMRobertaXL", _ROBERTA),  # pre-LN
    "mpnet": ("MPNet", _BERT | _NARROW | {"pad_token_id": 1}),  # not declared
}
ARCHITECTURES = tuple(_CONFIGS)


def config_of(architecture: str) -> tuple[Any, str]:
    """(its configuration, the prefix of its classes in transformers)."""
    import transformers

    prefix, settings = _CONFIGS[architecture]
    return getattr(transformers, f"{prefix}Config")(**settings), prefix

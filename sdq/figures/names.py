"""How modules are called on screen."""

from __future__ import annotations

ROLE_LABELS = {
    "embedding": "embedding",
    "q": "query",
    "k": "key",
    "v": "value",
    "qkv": "query, key, value",
    "attention": "self-attention",
    "attention_output": "attention output",
    "ffn_in": "feed-forward in",
    "ffn_out": "feed-forward out",
    "block": "block output",
    "head": "head",
}


def module_label(module: str, role: str, block: int) -> str:
    """Of module "roberta.encoder.layer.3.attention.self.query", role "q", block 3: "block 3 · query". Blocks count from 0, as in the checkpoint."""
    if block >= 0:
        return f"block {block} · {ROLE_LABELS.get(role, role)}"
    end = module.rpartition(".")[2]
    if role == "embedding" and ("project" in end or "mapping" in end):  # of a factorized embedding
        return "embedding projection"
    return f"head · {end}" if role == "head" else ROLE_LABELS.get(role, module)

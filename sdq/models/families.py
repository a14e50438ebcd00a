"""Model families: what the modules of an architecture are for, declared once each. A new family is
one entry of FAMILIES.

An architecture that is not here is guessed by its structure, and what was guessed is shown wherever
its results are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdq.io.lazy import torch

if TYPE_CHECKING:
    from torch import nn

ROLES = ("embedding", "q", "k", "v", "qkv", "attention_output", "ffn_in", "ffn_out", "head")
# what the two products of attention read, q k^T and then p v
PRODUCT_ROLES = ("attention_query", "attention_key", "attention_probs", "attention_value")
# activations beside the inputs of Linear layers: those four, what the activation function (GELU)
# gives, sums with the residual stream, and what a LayerNorm gives
SITE_ROLES = (*PRODUCT_ROLES, "ffn_activation", "residual", "layernorm")


def _once(config: Any, blocks: int) -> list[int]:
    return list(range(blocks))


@dataclass(frozen=True)
class Family:
    """Where the modules of an architecture stand.

    `block`: end of a block's name, a regular expression. `inside`: role -> names inside a block
    (regular expressions); a Linear that has none of them stays FP32, as tables of positions do.
    `embedding`: ends of the names of the word embedding and, where it is factorized, of its
    projection. Every other Linear outside the blocks is a head. `order`: (config, number of blocks)
    -> which block runs at each step of a forward pass; a block whose weights are shared over the
    depth is one module that runs at many steps.

    Where activations are quantized beside the inputs of Linear layers (SITE_ROLES): `products` is
    the name inside a block of the module that computes both products of attention. `sites`: role ->
    places inside a block, "name" for what a module gives, "name:input" for what it is given, "" for
    the block itself; `outside`: the same outside the blocks, ends of names.
    """

    block: str
    inside: Mapping[str, str]
    embedding: str
    products: str = ""
    sites: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    order: Callable[[Any, int], list[int]] = _once
    guessed: bool = False

    @property
    def description(self) -> str:
        """Which names have which role, for people to check a guess."""
        named = {**self.inside, "attention products": self.products, **self.sites}
        return ", ".join(
            f"{role} = {name.replace(chr(92), '')}"
            for role, name in named.items()
            if name and role != "residual"  # what LayerNorms read
        )


def _shared(config: Any, blocks: int) -> list[int]:
    """ALBERT: each group of blocks runs for its share of the layers, its inner blocks one after the
    other every time."""
    layers, groups = config.num_hidden_layers, config.num_hidden_groups
    inner = blocks // groups
    return [int(i / (layers / groups)) * inner + j for i in range(layers) for j in range(inner)]


def _norms(names: str) -> dict[str, str]:
    """Sites of LayerNorms that read a sum and are all that reads it: post-LN, and embeddings."""
    return {"residual": rf"(?:{names}):input", "layernorm": names}


_BERT = Family(
    block=r"encoder\.layer\.\d+",
    inside={
        "q": r"attention\.self\.query",
        "k": r"attention\.self\.key",
        "v": r"attention\.self\.value",
        "attention_output": r"attention\.output\.dense",
        "ffn_in": r"intermediate\.dense",
        "ffn_out": r"output\.dense",
    },
    embedding=r"word_embeddings",
    products=r"attention\.self",
    sites={"ffn_activation": r"intermediate\.intermediate_act_fn"}
    | _norms(r"(?:attention\.)?output\.LayerNorm"),
    outside=_norms(r"embeddings\.LayerNorm"),
)

# config.json's model_type -> family. InfoXLM and multilingual MiniLM come as xlm-roberta and bert,
# mBERT as bert.
FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "camembert": _BERT,
    "xlm-roberta": _BERT,
    "xlm-roberta-xl": replace(  # pre-LN: a block's output is the residual stream
        _BERT,
        sites={
            "ffn_activation": r"intermediate\.intermediate_act_fn",
            "residual": r"(?:attention\.)?output",
            "layernorm": r"attention\.self_attn_layer_norm|LayerNorm",
        },
        outside={"residual": r"embeddings", "layernorm": r"encoder\.LayerNorm"},
    ),
    "electra": replace(_BERT, embedding=r"word_embeddings|embeddings_project"),
    "rembert": replace(_BERT, embedding=r"word_embeddings|embedding_hidden_mapping_in"),
    "distilbert": replace(
        _BERT,
        block=r"transformer\.layer\.\d+",
        inside={
            "q": r"attention\.q_lin",
            "k": r"attention\.k_lin",
            "v": r"attention\.v_lin",
            "attention_output": r"attention\.out_lin",
            "ffn_in": r"ffn\.lin1",
            "ffn_out": r"ffn\.lin2",
        },
        products=r"attention",
        sites={"ffn_activation": r"ffn\.activation"} | _norms(r"sa_layer_norm|output_layer_norm"),
    ),
    "albert": Family(
        block=r"albert_layer_groups\.\d+\.albert_layers\.\d+",
        inside={
            "q": r"attention\.query",
            "k": r"attention\.key",
            "v": r"attention\.value",
            "attention_output": r"attention\.dense",
            "ffn_in": r"ffn",
            "ffn_out": r"ffn_output",
        },
        embedding=r"word_embeddings|embedding_hidden_mapping_in",
        products=r"attention",
        sites={"ffn_activation": r"activation"}
        | _norms(r"attention\.LayerNorm|full_layer_layer_norm"),
        outside=_BERT.outside,
        order=_shared,
    ),
    # its pos_proj and pos_q_proj read positions only; the products with them stay in FP32 too
    "deberta": replace(
        _BERT,
        inside={
            "qkv": r"attention\.self\.in_proj",
            "attention_output": r"attention\.output\.dense",
            "ffn_in": r"intermediate\.dense",
            "ffn_out": r"output\.dense",
        },
    ),
    # v3 too; with share_att_key query_proj and key_proj read the tokens first, then the positions
    "deberta-v2": replace(
        _BERT,
        inside=dict(_BERT.inside)
        | {
            "q": r"attention\.self\.query_proj",
            "k": r"attention\.self\.key_proj",
            "v": r"attention\.self\.value_proj",
        },
        # encoder.LayerNorm reads the table of positions
        outside=_norms(r"(?:embeddings|conv)\.LayerNorm"),
    ),
    "modernbert": Family(  # Wi gives value and gate of the GeGLU side by side
        block=r"layers\.\d+",
        inside={
            "qkv": r"attn\.Wqkv",
            "attention_output": r"attn\.Wo",
            "ffn_in": r"mlp\.Wi",
            "ffn_out": r"mlp\.Wo",
        },
        embedding=r"tok_embeddings",
        products=r"attn",
        # pre-LN: the sum after attention is rounded where its LayerNorm reads it, and goes on in
        # FP32 to the next sum, which is the block's output
        sites={
            "ffn_activation": r"mlp\.act",
            "residual": r"|mlp_norm:input",
            "layernorm": r"attn_norm|mlp_norm",
        },
        outside={"layernorm": r"embeddings\.norm|final_norm|head\.norm"},
    ),
}


def family_of(model: nn.Module) -> Family | None:
    """The family of a model: declared, or else guessed. None if it is no encoder whose blocks can
    be told."""
    family = FAMILIES.get(str(getattr(getattr(model, "config", None), "model_type", "")))
    return family or guess(model)


# --- guessing

_Shapes = dict[str, tuple[int, int]]  # name inside a block -> (in, out)
_WORDS = {"q": "query", "k": "key", "v": "value"}
_FUSED = re.compile(r"qkv|query_key_value|in_proj|c_attn", re.IGNORECASE)
_OUTPUT = re.compile(r"(?:^|[._])w?(?:o|out|output|dense)(?:$|[._])", re.IGNORECASE)


def guess(model: nn.Module) -> Family | None:
    """A family by structure: blocks are the list of like modules that has all roles and the most
    weights; the roles in one follow from names where they tell, else from shapes and order. None
    without such a list, or if its attention looks at earlier tokens only."""
    nn = torch.nn
    outside: Any = getattr(model, "get_input_embeddings", lambda: None)()
    table = next(
        (name for name, m in model.named_modules() if m is outside and isinstance(m, nn.Embedding)),
        None,
    )
    if table is None:
        return None
    best: tuple[int, str, dict[str, list[str]]] = (0, "", {})
    for name, blocks in model.named_modules():
        if (
            not isinstance(blocks, nn.ModuleList)
            or not len(blocks)
            or any(getattr(m, "is_causal", False) is True for m in blocks.modules())
        ):
            continue
        shapes = [_shapes(block) for block in blocks]
        size = sum(a * b for inner in shapes for a, b in inner.values())
        roles = _roles(shapes[0]) if all(inner == shapes[0] for inner in shapes) else None
        if roles and size > best[0]:
            best = size, name, roles
    if not best[0]:
        return None
    _, name, roles = best
    tables = [
        n
        for n, m in model.named_modules()
        if isinstance(m, nn.Linear) and "embed" in n and not n.startswith(f"{name}.")
    ]
    inside = {role: _any(names) for role, names in roles.items()}
    first: Any = model.get_submodule(f"{name}.0")
    norms = [n for n, m in first.named_modules() if _is(m, "norm")]
    acts = [n for n, m in first.named_modules() if _is(m, "activation")]
    return Family(
        rf"{re.escape(name)}\.\d+",
        inside,
        _any([table, *tables]),
        products=_any({n.rpartition(".")[0] for n in roles.get("q", roles.get("qkv", []))}),
        sites=({"ffn_activation": _any(acts)} if acts else {})
        | (_norms(_any(norms)) if norms else {}),
        outside=_norms(r".*embeddings?\.(?:LayerNorm|layer_norm|norm)"),
        guessed=True,
    )


def _any(names: Iterable[str]) -> str:
    """A regular expression for these names."""
    return "|".join(map(re.escape, names))


def _is(module: nn.Module, what: str) -> bool:
    """Whether a module is a norm ("LayerNorm", "RMSNorm") or an activation function, by its class
    and those it is derived from: a rewritten one still is."""
    classes = type(module).__mro__
    if what == "norm":
        return any(c.__name__.endswith("Norm") for c in classes)
    return any(c.__module__.endswith((".activations", ".modules.activation")) for c in classes)


def _shapes(block: nn.Module) -> _Shapes:
    return {
        name: (m.in_features, m.out_features)
        for name, m in block.named_modules()
        if isinstance(m, torch.nn.Linear)
    }


def _roles(shapes: _Shapes) -> dict[str, list[str]] | None:
    """Role -> names of the Linear layers of one block; None if a role has none."""
    if not shapes:
        return None
    # of the hidden states: only ffn_out reads another
    width = Counter(a for a, _ in shapes.values()).most_common(1)[0][0]
    left = dict(shapes)

    def take(names: list[str]) -> list[str]:
        for name in names:
            left.pop(name)
        return names

    layers = {role: take(names) for role, names in _queries(left, width).items()}
    if not layers:
        return None
    reads = shapes[layers["qkv"][0]][1] // 3 if "qkv" in layers else shapes[layers["q"][0]][1]
    outputs = [name for name, shape in left.items() if shape == (reads, width)]
    layers["attention_output"] = take(([n for n in outputs if _OUTPUT.search(n)] or outputs)[:1])
    wide = {b for a, b in left.values() if a == width} - {width}
    inner = max(
        (a for a, b in left.values() if b == width and (a in wide or 2 * a in wide)), default=0
    )
    layers["ffn_in"] = take(
        [n for n, (a, b) in left.items() if a == width and b in (inner, 2 * inner)]
    )
    layers["ffn_out"] = take([n for n, shape in left.items() if shape == (inner, width)][:1])
    return layers if all(layers.values()) else None


def _queries(shapes: _Shapes, width: int) -> dict[str, list[str]]:
    """q, k and v, or the layer that gives all three; empty if there are none."""
    named = {
        role: [
            n
            for n in shapes
            if re.search(rf"(?:^|[._])w?(?:{role}|{word})(?:$|[._])", n, re.IGNORECASE)
        ]
        for role, word in _WORDS.items()
    }
    readers = [n for n, (a, _) in shapes.items() if a == width]
    if fused := [n for n in readers if _FUSED.search(n) and shapes[n][1] % 3 == 0]:
        return {"qkv": fused[:1]}
    if all(named.values()):
        return {role: names[:1] for role, names in named.items()}
    square = [n for n in readers if shapes[n] == (width, width)]
    if readers and shapes[readers[0]] == (width, 3 * width) and square:
        return {"qkv": readers[:1]}
    return (
        {role: [name] for role, name in zip(_WORDS, square, strict=False)}
        if len(square) > 3
        else {}
    )

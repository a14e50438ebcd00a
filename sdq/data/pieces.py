"""Words given apart to a tokenizer that marks a word's beginning by the space before it (byte-level
BPE, SentencePiece). Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sdq.settings import UserError


def lead_with_space_(tokenizer: Any, called: str) -> bool:
    """Let a `tokenizers.Tokenizer` take each word given apart as the word within a text, with a
    space before it; True if it did not do so before.

    That is `add_prefix_space` of transformers, and what stands for it where a tokenizer has no such
    option. UserError if it cannot be done.
    """
    if not _loses_space(tokenizer):
        return False
    for change_ in _ways_to_prepend(tokenizer):
        pre_tokenizer, normalizer = tokenizer.pre_tokenizer, tokenizer.normalizer
        change_()
        if not _loses_space(tokenizer):
            return True
        tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizer, normalizer
    raise UserError(
        f"a tokenizer must take words given apart as it takes them in a text, {called} loses the "
        "space before them and has no place to add it; save it with add_prefix_space, or use "
        "another model"
    )


def _loses_space(tokenizer: Any) -> bool:
    """Whether a space leaves a mark in a text that is missing where the words come apart."""
    whole, apart = _marked(tokenizer, "ab cd"), _marked(tokenizer, "ab") + _marked(tokenizer, "cd")
    return whole != apart and any(mark in whole for mark in "Ġ▁")


def _marked(tokenizer: Any, text: str) -> str:
    """The text as it goes into the model of the tokenizer: normalized, with marks for spaces."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    return (
        text
        if tokenizer.pre_tokenizer is None
        else "".join(piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    )


def _ways_to_prepend(tokenizer: Any) -> Iterator[Callable[[], None]]:
    """What may give words their space, the narrowest change first."""
    from tokenizers import normalizers

    kind = type(tokenizer.pre_tokenizer).__name__
    if kind == "ByteLevel":
        yield partial(setattr, tokenizer.pre_tokenizer, "add_prefix_space", True)
    if kind == "Metaspace":
        yield partial(setattr, tokenizer.pre_tokenizer, "prepend_scheme", "always")
    # where a text is split first (Llama 3), ByteLevel would put a space before every part of a
    # word, as before "'t" of "don't"
    before = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    for sequence in ([normalizers.Prepend(" "), *before], [*before, normalizers.Prepend(" ")]):
        yield partial(setattr, tokenizer, "normalizer", normalizers.Sequence(sequence))

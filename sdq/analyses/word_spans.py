"""The words of a tokenized sentence, and the positions of their tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdq.data.batches import IGNORE, Encoded
from sdq.data.languages import unspaced
from sdq.data.task import Example

_PIECES = ("▁", "Ġ")  # with these marks a word begins; "##" goes on with one


def spans(data: Encoded, at: int, tokenizer: Any, example: Example) -> list[tuple[str, list[int]]]:
    """The words of one sentence, each with the positions of its tokens. Special tokens belong to
    none.

    data: tokenized sentences
    at: position of the sentence in it
    tokenizer: that made `data`
    example: the sentence

    For tasks with a tag per word these are the words of `example` that have a token, else what
    `merged` makes of the pieces.
    """
    ids = torch.tensor(data.ids[at])
    kept = torch.nonzero(ordinary(ids, tokenizer))[:, 0].tolist()
    if not data.token:
        pieces = tokenizer.convert_ids_to_tokens(data.ids[at])
        groups = [[kept[k] for k in group] for group in merged([pieces[i] for i in kept])]
        return [(_text([pieces[i] for i in group], tokenizer), group) for group in groups]
    groups = []
    for i in kept:
        if data.labels[at][i] != IGNORE:
            groups.append([i])
        elif groups:
            groups[-1].append(i)
    return [
        (example.words[number], group)
        for number, group in zip(numbers(data, at, len(groups)), groups, strict=True)
    ]


def numbers(data: Encoded, at: int, groups: int) -> Sequence[int]:
    """Which word of a sentence each of its groups of tokens is; words without a token (cut off, of
    letters without width) have none.

    data: tokenized sentences
    at: position of the sentence in it
    groups: how many groups of tokens it has
    """
    return range(groups) if data.words is None else data.words[at]


def merged(pieces: Sequence[str]) -> list[list[int]]:
    """Pieces of words -> which of them make up each word: ["▁to", "morrow", "."] -> [[0, 1], [2]],
    ["to", "##morrow", "."] -> [[0, 1], [2]].

    Punctuation at the ends of a word is a word of its own, as in most tokenizers. In scripts that
    put no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) a piece is a word;
    only a piece that begins with a combining mark goes to the one it is written on.
    """
    marked = any(piece.startswith(_PIECES) for piece in pieces)
    groups: list[list[int]] = []
    letters = [
        piece.lstrip("".join(_PIECES)) if marked else piece.removeprefix("##") for piece in pieces
    ]
    before = ""  # the letters of the last word so far
    for i, piece in enumerate(pieces):
        begins = piece.startswith(_PIECES) if marked else not piece.startswith("##")
        if not groups or begins or (before and letters[i] and _apart(before[-1], letters[i][0])):
            groups.append([])
            before = ""
        groups[-1].append(i)
        before += letters[i]
    return [part for group in groups for part in _bare(group, letters)]


def ordinary(ids: Tensor, tokenizer: Any) -> Tensor:
    """Which tokens are not special; an unknown piece is an ordinary one."""
    special = [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]
    return ~torch.isin(ids, torch.tensor(special))


def _apart(last: str, first: str) -> bool:
    """Whether a word ends between two letters that no space parts."""
    return (unspaced(last) or unspaced(first)) and not unicodedata.category(first).startswith("M")


def _bare(group: list[int], letters: Sequence[str]) -> list[list[int]]:
    """The pieces of a word -> punctuation before it piece by piece, the word, punctuation after
    it."""
    inside = [
        k
        for k, i in enumerate(group)
        if not all(unicodedata.category(letter).startswith("P") for letter in letters[i])
    ]
    if not inside:
        return [group]
    first = 0 if any(not letters[i] for i in group[: inside[0]]) else inside[0]
    return (
        [[i] for i in group[:first]]
        + [group[first : inside[-1] + 1]]
        + [[i] for i in group[inside[-1] + 1 :]]
    )


def _text(pieces: Sequence[str], tokenizer: Any) -> str:
    """The word that pieces make up, without the marks of pieces; a lone mark stands for itself."""
    if any("Ġ" in piece for piece in pieces):  # bytes written as letters
        return str(tokenizer.convert_tokens_to_string(list(pieces))).strip() or "Ġ"
    return (
        "".join(piece.removeprefix("##") if piece != "##" else piece for piece in pieces).replace(
            "▁", ""
        )
        or "▁"
    )

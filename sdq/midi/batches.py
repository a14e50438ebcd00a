"""What a step of `midi`'s training reads: pairs of sentences of like length, and which English
pieces each foreign word stands for. All of it depends on (seed, step) alone."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sdq.midi import tokenizer as pieces
from sdq.midi.alignment import Ints, Table
from sdq.mini.corpus import SOURCE_WEIGHT, Pair

# our frames are few, and speak as people do; drawn so often in the last 900 steps of an earlier
# build alone they gave a point of zero-shot accuracy (one seed; of all steps it was not tried)
WEIGHT = SOURCE_WEIGHT | {"mini": 6.0}
EDGES = (0, 8, 12, 16, 20, 26, 34, 46, 10_000)  # of the lengths of a bucket, in pieces


@dataclass(frozen=True)
class Batch:
    """One step's pairs.

    foreign: ids of B sentences [B, T], padded
    english: ids of their translations [B, S], padded
    words: number of the word that each foreign piece is of, counted over the batch, -1 for what is
        of none [B, T]
    stands_for: share of each English piece of the batch in a word [W, B * S], rows of sum 1, or of
        zeros where nothing is known
    certain: how sure its share is: 1 for one English piece, 1/n for n equal ones [W]
    """

    foreign: Tensor
    english: Tensor
    words: Tensor
    stands_for: Tensor
    certain: Tensor


class Batches:
    """Ids of all pairs and the weighted draw of a step."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        tokenizer: PreTrainedTokenizerFast,
        table: Table,
        fold: Ints,
        longest: int,
        size: int,
        seed: int,
        alpha: float = 0.5,
    ) -> None:
        """
        pairs: of sentences
        tokenizer: of both sides
        table: of IBM model 1, over folded ids
        fold: id -> number in the table [V]
        longest: pieces of a sentence at most
        size: pairs of a step
        seed: of the draws
        alpha: 0: languages alike, 1: as they are
        """
        self.table, self.fold, self.size, self.seed = table, fold, size, seed
        self.padding = int(tokenizer.pad_token_id)
        self.foreign, self.words = _cut(tokenizer, [p.text for p in pairs], longest)
        texts = sorted({p.english for p in pairs})
        place = {text: i for i, text in enumerate(texts)}
        self.english, _ = _cut(tokenizer, texts, longest)
        self.target = np.array([place[p.english] for p in pairs])
        sizes = Counter(p.language for p in pairs)
        weight = np.array(
            [WEIGHT.get(p.source, 1.0) * sizes[p.language] ** (alpha - 1) for p in pairs]
        )
        length = np.array(
            [
                max(len(x), len(self.english[t]))
                for x, t in zip(self.foreign, self.target, strict=True)
            ]
        )
        self.buckets = [
            (at, np.cumsum(weight[at]))
            for low, high in itertools.pairwise(EDGES)
            if len(at := np.flatnonzero((length > low) & (length <= high)))
        ]

    def draw(self, step: int) -> Ints:
        """Which pairs a step reads, all of like length [B]."""
        rng = np.random.default_rng((self.seed, step))
        mass = np.array([total[-1] for _, total in self.buckets])
        at, total = self.buckets[rng.choice(len(self.buckets), p=mass / mass.sum())]
        drawn: Ints = at[np.searchsorted(total, rng.random(self.size) * total[-1])]
        return drawn

    def batch(self, step: int) -> Batch:
        """What a step reads."""
        at = self.draw(step)
        english = [self.english[self.target[i]] for i in at]
        foreign = _padded([self.foreign[i] for i in at], self.padding)
        words, width = np.full(foreign.shape, -1), max(map(len, english))
        inside = slice(1, -1)  # without [CLS] and [SEP]
        shares, before = [], 0
        for row, (i, translation) in enumerate(zip(at, english, strict=True)):
            of_pieces = self.table.posterior(
                self.fold[self.foreign[i][inside]], self.fold[translation[inside]]
            )
            number = self.words[i][inside]
            share = np.zeros((int(number.max(initial=-1)) + 1, len(at) * width))
            place = row * width + 1
            np.add.at(share[:, place : place + len(translation) - 2], number, of_pieces)
            words[row, 1 : 1 + len(number)] = number + before
            shares.append(share)
            before += len(share)
        share = np.concatenate(shares)
        total = share.sum(1, keepdims=True)
        share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
        return Batch(
            torch.from_numpy(foreign),
            torch.from_numpy(_padded(english, self.padding)),
            torch.from_numpy(words),
            torch.from_numpy(share).float(),
            torch.from_numpy((share**2).sum(1)).float(),
        )


def _cut(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], longest: int
) -> tuple[list[Ints], list[Ints]]:
    """Of every text the ids, and which word (from 0) each piece is of, -1 for [CLS] and [SEP]. In
    a script without spaces each piece is a word."""
    apart = np.zeros(len(tokenizer), dtype=bool)
    for piece, number in tokenizer.get_vocab().items():
        apart[number] = pieces.spaceless(piece)
    ids, words = [], []
    for start in range(0, len(texts), 20_000):
        coded = tokenizer(list(texts[start : start + 20_000]), truncation=True, max_length=longest)
        for i, row in enumerate(coded["input_ids"]):
            one = np.array(row)
            place = np.array([-1 if w is None else w for w in coded.word_ids(i)])
            new = (place != np.concatenate([[-1], place[:-1]])) | apart[one]
            ids.append(one)
            words.append(np.where(place < 0, -1, np.cumsum(new & (place >= 0)) - 1))
    return ids, words


def _padded(rows: Sequence[Ints], padding: int) -> Ints:
    out = np.full((len(rows), max(map(len, rows))), padding)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out

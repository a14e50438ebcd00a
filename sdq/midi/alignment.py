"""Which English piece a piece of another language stands for: IBM model 1 over parallel sentences
(Brown et al. 1993, "The Mathematics of Statistical Machine Translation", section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ROUNDS = 4
POWER = 1.5


class Table(NamedTuple):
    """What occurred together, sorted by the foreign number, then by the English one.

    foreign, english: numbers of a pair of pieces [K]
    given_english: t(foreign | english), which explains a sentence [K], 0..1
    given_foreign: p(english | foreign), from the expected counts [K], 0..1
    """

    foreign: Ints
    english: Ints
    given_english: Floats
    given_foreign: Floats

    def posterior(self, foreign: Ints, english: Ints) -> Floats:
        """Which English piece of a sentence each of its foreign pieces stands for: [F, E], rows of
        sum 1; all equal where nothing is known.

        foreign, english: numbers of the sentence's pieces [F], [E]
        """
        base = int(self.english.max(initial=0)) + 1
        known = english < base
        keys = foreign[:, None] * base + np.where(known, english, 0)  # [F, E]
        table = self.foreign * base + self.english
        at = np.searchsorted(table, keys).clip(max=len(table) - 1)
        t = np.where((table[at] == keys) & known, self.given_english[at], 0.0)
        total = t.sum(1, keepdims=True)
        even = np.full_like(t, 1 / max(1, t.shape[1]))
        return np.divide(t, total, out=even, where=total > 0)


def model1(foreign: Sequence[Ints], english: Sequence[Ints], rounds: int = ROUNDS) -> Table:
    """Expectation maximisation from equal translation probabilities.

    foreign, english: the pieces of sentence i, and of its translation; pairs of which one is empty
        are left out
    rounds: how often expected counts are taken
    """
    both = [(f, e) for f, e in zip(foreign, english, strict=True) if len(f) and len(e)]
    base = 1 + max((int(e.max()) for _, e in both), default=0)
    # every occurrence of a foreign piece, once per English piece of its sentence
    pairs = np.concatenate([(f[:, None] * base + e).ravel() for f, e in both])
    widths = np.concatenate([np.full(len(f), len(e)) for f, e in both])
    kinds, kind = np.unique(pairs, return_inverse=True)
    del pairs
    token = np.repeat(np.arange(len(widths)), widths)
    f_of, e_of = np.divmod(kinds, base)
    t = np.ones(len(kinds))
    for _ in range(rounds):
        share = t[kind]
        share /= np.bincount(token, share)[token]  # p(this English piece | this occurrence)
        counts = np.bincount(kind, share, len(kinds))
        t = counts / np.bincount(e_of, counts)[e_of]
    return Table(f_of, e_of, t, counts / np.bincount(f_of, counts)[f_of])


def rows(
    table: Table, english: NDArray[np.float32], numbers: Ints, otherwise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where the embeddings of foreign pieces start: the mean of the English ones under
    p(english | foreign) ** POWER, which lets the likely ones count more.

    table: of `model1`
    english: embeddings [E, D]
    numbers: of the foreign pieces that get one [R]
    otherwise: the embedding of those that never occurred [D]
    """
    weight = table.given_foreign**POWER
    height = 1 + max(int(table.foreign.max(initial=0)), int(numbers.max(initial=0)))
    matrix = csr_array(
        (weight, (table.foreign, table.english)), shape=(height, len(english)), dtype=np.float64
    )[numbers]
    total = np.asarray(matrix.sum(axis=1)).reshape(-1, 1)
    mean = (matrix @ english) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, otherwise).astype(np.float32)

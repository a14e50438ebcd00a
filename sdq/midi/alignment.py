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
    """What occurred together, in the order of the keys.

    base: above every English number
    keys: foreign number * base + English number of a pair of pieces [K]
    given_english: t(foreign | english), which explains a sentence [K], 0..1
    given_foreign: p(english | foreign), from the expected counts [K], 0..1
    """

    base: int
    keys: Ints
    given_english: Floats
    given_foreign: Floats

    def posterior(self, foreign: Ints, english: Ints) -> Floats:
        """Which English piece of a sentence each of its foreign pieces stands for: [F, E], rows of
        sum 1, or of zeros where nothing is known.

        foreign, english: numbers of the sentence's pieces [F], [E]
        """
        # [F, E]; an English number that the table has none of makes a key of its own
        keys = np.where(english < self.base, foreign[:, None] * self.base + english, -1)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        t = np.where(self.keys[at] == keys, self.given_english[at], 0.0)
        total = t.sum(1, keepdims=True)
        shares: Floats = np.divide(t, total, out=np.zeros_like(t), where=total > 0)
        return shares


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
    t: Floats = np.ones(len(kinds))
    counts = t
    for _ in range(rounds):
        share: Floats = t[kind]
        share /= np.bincount(token, share)[token]  # p(this English piece | this occurrence)
        counts = np.asarray(np.bincount(kind, share, len(kinds)), dtype=np.float64)
        t = counts / np.bincount(e_of, counts)[e_of]
    return Table(base, kinds, t, counts / np.bincount(f_of, counts)[f_of])


def rows(
    table: Table, english: NDArray[np.float32], numbers: Ints, otherwise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Where the embeddings of foreign pieces start: the mean of the English ones under
    p(english | foreign) ** POWER, which lets the likely ones count more, as long as they are on
    average (a mean of vectors is shorter than they are).

    table: of `model1`
    english: embeddings [E, D]
    numbers: of the foreign pieces that get one [R]
    otherwise: the embedding of those that never occurred [D]
    """
    foreign, at = np.divmod(table.keys, table.base)
    height = 1 + max(int(foreign.max(initial=0)), int(numbers.max(initial=0)))
    weight = csr_array(
        (table.given_foreign**POWER, (foreign, at)), shape=(height, len(english)), dtype=np.float64
    )[numbers]
    total = np.asarray(weight.sum(axis=1)).reshape(-1, 1)
    some = total > 0
    mean = (weight @ english) / np.where(some, total, 1)
    length = (weight @ np.linalg.norm(english, axis=1)).reshape(-1, 1) / np.where(some, total, 1)
    mean *= length / np.where(some, np.linalg.norm(mean, axis=1, keepdims=True), 1)
    return np.where(some, mean, otherwise).astype(np.float32)

"""Examples -> padded batches of tensors, sorted by length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from sdq.data.task import Example, Task

IGNORE = -100
T = TypeVar("T")


@dataclass
class Batch:
    """Model inputs [B, T], gold labels ([B] or [B, T], IGNORE where nothing is scored), and which
    examples they are."""

    inputs: dict[str, Tensor]
    labels: Tensor
    at: list[int]

    @property
    def scored(self) -> Tensor:
        """Where the task asks for a prediction: bool, shape of labels."""
        return self.labels != IGNORE

    @property
    def real(self) -> Tensor:
        """Which tokens are not padding: bool [B, T]."""
        return self.inputs["attention_mask"].bool()


@dataclass(frozen=True)
class Encoded:
    """Tokenized examples of one task: ids and labels per example.

    Where words have tags, `words` says of every scored position of an example which of its words
    (from 0) it answers for, and `sizes` how many words the example has: a word may have no
    position, because no subword of it is left.
    """

    ids: list[list[int]]
    labels: list[list[int]]  # one label, or one per subword
    token: bool
    pad: int
    # of pairs, where the model tells the two texts apart: 0 or 1 per subword
    types: list[list[int]] | None = None
    cut: int = 0  # how many were longer than the tokenizer or the task allows
    words: list[list[int]] | None = None
    sizes: list[int] | None = None
    names: list[str] | None = None  # language and id of each example

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, at: list[int]) -> Batch:
        """The examples at these positions, padded to the longest of them."""
        width = max(len(self.ids[i]) for i in at)
        ids = torch.full((len(at), width), self.pad)
        mask = torch.zeros((len(at), width), dtype=torch.long)
        labels = torch.full((len(at), width) if self.token else (len(at),), IGNORE)
        for row, i in enumerate(at):
            n = len(self.ids[i])
            ids[row, :n] = torch.tensor(self.ids[i])
            mask[row, :n] = 1
            if self.token:
                labels[row, :n] = torch.tensor(self.labels[i])
            else:
                labels[row] = self.labels[i][0]
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.types is not None:
            inputs["token_type_ids"] = torch.zeros_like(ids)
            for row, i in enumerate(at):
                inputs["token_type_ids"][row, : len(self.types[i])] = torch.tensor(self.types[i])
        return Batch(inputs, labels, at)

    def some(self, at: list[int]) -> Encoded:
        """The examples at these positions alone."""

        def of(values: list[T] | None) -> list[T] | None:
            return None if values is None else [values[i] for i in at]

        return replace(
            self,
            ids=[self.ids[i] for i in at],
            labels=[self.labels[i] for i in at],
            types=of(self.types),
            cut=0,
            words=of(self.words),
            sizes=of(self.sizes),
            names=of(self.names),
        )

    def followed_by(self, other: Encoded) -> Encoded:
        """These examples, then those of the other. Both of the same task."""

        def of(ours: list[T] | None, theirs: list[T] | None) -> list[T] | None:
            return None if ours is None or theirs is None else ours + theirs

        return replace(
            self,
            ids=self.ids + other.ids,
            labels=self.labels + other.labels,
            types=of(self.types, other.types),
            cut=self.cut + other.cut,
            words=of(self.words, other.words),
            sizes=of(self.sizes, other.sizes),
            names=of(self.names, other.names),
        )

    def in_order(self, size: int, tokens: int | None = None) -> Iterator[Batch]:
        """All examples once, longest batches first, always composed alike; none of more than
        `tokens` with padding, but one sentence at least."""
        order = sorted(range(len(self)), key=lambda i: (-len(self.ids[i]), i))
        while order:
            most = size if tokens is None else max(1, min(size, tokens // len(self.ids[order[0]])))
            yield self.batch(order[:most])
            order = order[most:]

    def shuffled(self, size: int, seed: int) -> Iterator[Batch]:
        """Endless epochs of random batches of similar length; the order depends on the seed
        alone."""
        rng = random.Random(seed)
        while True:
            order = list(range(len(self)))
            rng.shuffle(order)
            chunks = []
            for start in range(0, len(order), size * 16):
                pool = sorted(order[start : start + size * 16], key=lambda i: len(self.ids[i]))
                chunks += [pool[i : i + size] for i in range(0, len(pool), size)]
            rng.shuffle(chunks)
            for chunk in chunks:
                yield self.batch(chunk)


def encode(
    examples: list[Example], task: Task, tokenizer: Any, longest: int | None = None
) -> Encoded:
    """Tokenize. In token tasks the label stands on a word's first subword; longer inputs are cut,
    of a pair the longer text first. A sentence without labels gets the first one: it must never be
    scored.

    examples: of the task, N
    task: theirs
    tokenizer: a fast one
    longest: tokens of an input; None: what the task says, or the tokenizer allows
    """
    longest = longest or min(task.longest, tokenizer.model_max_length)
    if task.kind == "token":
        return _encode_words(examples, task, tokenizer, longest)
    place = {label: i for i, label in enumerate(task.labels)}
    pairs = any(e.second is not None for e in examples)
    second = [e.second or "" for e in examples] if pairs else None
    coded = tokenizer([e.text for e in examples], second, truncation=True, max_length=longest)
    return Encoded(
        coded["input_ids"],
        [[place[e.targets[0]] if e.targets else 0] for e in examples],
        False,
        tokenizer.pad_token_id,
        coded.get("token_type_ids") if pairs else None,
        _cut(coded),
        names=[_name(e) for e in examples],
    )


def _encode_words(examples: list[Example], task: Task, tokenizer: Any, longest: int) -> Encoded:
    """Of a token task: the label stands on a word's first subword."""
    place = {label: i for i, label in enumerate(task.labels)}
    coded = tokenizer(
        [list(e.words) for e in examples],
        is_split_into_words=True,
        truncation=True,
        max_length=longest,
    )
    labels, words = [], []
    for i, example in enumerate(examples):
        row, asked, before = [], list[int](), None
        for word in coded.word_ids(i):
            first = word is not None and word != before
            row.append(
                IGNORE if not first else place[example.targets[word]] if example.targets else 0
            )
            if first:
                asked.append(word)
            before = word
        labels.append(row)
        words.append(asked)
    return Encoded(
        coded["input_ids"],
        labels,
        True,
        tokenizer.pad_token_id,
        None,
        _cut(coded),
        words,
        [len(e.words) for e in examples],
        [_name(e) for e in examples],
    )


def _name(example: Example) -> str:
    return f"{example.language} {example.id}"


def _cut(coded: Any) -> int:
    """How many inputs a fast tokenizer cut."""
    return sum(bool(encoding.overflowing) for encoding in coded.encodings or ())

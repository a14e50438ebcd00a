"""What an encoder knows of other languages before any fine-tuning:
`SDQ_REAL_DATA=DIR python -m benchmarks.zero_shot [--model midi]`.

SIB-200 (topics, seven classes): a logistic regression on the mean-pooled vectors of the English
training sentences, scored in every language that the frames have. Beside it the share of test
sentences whose nearest English one, of 204, is their own translation. Prints Markdown. The data are
for looking at, never for training what ships. Needs scikit-learn (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.real import SIB, source
from sdq.mini.frames import LANGUAGES
from sdq.models.checkpoint import base_of
from sdq.models.loading import encoder, tokenizer_of

Vectors = NDArray[np.float32]
LONGEST = 128  # pieces of a sentence


class Score(NamedTuple):
    """Of one language, %: correct topics, and translations found."""

    topics: float
    found: float


@torch.no_grad()
def vectors(model: Any, tokenizer: Any, texts: list[str], size: int = 32) -> Vectors:
    """Mean token states, of length 1 [N, D].

    model: an encoder
    tokenizer: its tokenizer
    texts: sentences, N
    size: of a batch
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[Any] = [None] * len(texts)
    for start in range(0, len(order), size):
        at = order[start : start + size]
        coded = tokenizer(
            [texts[i] for i in at],
            padding=True,
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        states = model(**coded).last_hidden_state
        real = coded["attention_mask"][..., None]
        mean = torch.nn.functional.normalize((states * real).sum(1), dim=-1)
        for i, row in zip(at, mean.numpy(), strict=True):
            rows[i] = row
    return np.stack(rows)


def measure(folder: Path, data: Path) -> dict[str, Score]:
    """Language -> score, English first.

    folder: of the encoder
    data: with sib200
    """
    model = encoder(folder)
    tokenizer = tokenizer_of(folder, LONGEST)
    codes = {short: code for code, short in SIB.items() if short in LANGUAGES}
    tables = {
        short: pd.read_parquet(data / "sib200" / f"{codes[short]}.parquet")
        for short in ("en", *sorted(set(codes) - {"en"}))
    }
    train = tables["en"][tables["en"]["split"] == "train"]
    regression = LogisticRegression(max_iter=500, C=10).fit(
        vectors(model, tokenizer, train["text"].tolist()), train["category"]
    )
    scored, english = {}, None
    for short, table in tables.items():
        test = table[table["split"] == "test"].sort_values("index_id")
        own = vectors(model, tokenizer, test["text"].tolist())
        english = own if english is None else english
        nearest = (english @ own.T).argmax(1)
        scored[short] = Score(
            100 * float((regression.predict(own) == test["category"]).mean()),
            100 * float((nearest == np.arange(len(own))).mean()),
        )
    return scored


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="midi", help="'mini', 'midi', a folder or a Hub name")
    wanted, started = parser.parse_args(), time.perf_counter()
    scored = measure(base_of(wanted.model), source())
    print(f"| language | topics, % | translation found, % |\n|{'---|' * 3}")
    for short, score in scored.items():
        print(f"| {short} | {score.topics:.1f} | {score.found:.1f} |")
    others = [score for short, score in scored.items() if short != "en"]
    mean = [sum(column) / len(others) for column in zip(*others, strict=True)]
    print(f"| zero-shot | {mean[0]:.1f} | {mean[1]:.1f} |")
    print(f"\n{wanted.model}, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

"""Words and tags that small tokenizers are made for."""

from __future__ import annotations

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
PLAIN = (
    "Anna",
    "Smith",
    "visits",
    "Oslo",
    "Rome",
    ".",
    "don't",
    "é",
    "日本",
    "naïve",
    "x",
    "unforgettable",
    "3,5",
)
CORPUS = [" ".join(PLAIN), "Anna visits Oslo .", "don't visit Rome , Smith"] * 5

"""Sentences with tags of two schemes."""

from __future__ import annotations

IOB1 = [
    [
        ("New", "I-LOC"),
        ("York", "I-LOC"),
        ("in", "O"),
        ("Anna", "I-PER"),
        ("Bea", "B-PER"),
        ("Smith", "I-PER"),
    ]
]
IOB2 = [
    [
        ("New", "B-LOC"),
        ("York", "I-LOC"),
        ("in", "O"),
        ("Anna", "B-PER"),
        ("Bea", "B-PER"),
        ("Smith", "I-PER"),
    ]
]

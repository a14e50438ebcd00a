"""The draws of the bootstrap, as far as they are kept. Needs no torch."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

_DRAWN = 64 * 10**6  # bytes of draws that are kept at most: all tasks together, in the web process
_CHUNK = 2000  # clusters at a time
_kept: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
_lock = threading.Lock()  # pages are drawn in threads


def draw_counts(n: int, draws: int, seed: int) -> NDArray[np.float32]:
    """How often each of n clusters is drawn: [n, draws]. Kept as bytes, because a page asks for it
    once per run.

    n: clusters
    draws, seed: of the bootstrap
    """
    key = n, draws, seed
    with _lock:
        found = _kept.pop(key, None)
        if found is not None:
            _kept[key] = found  # the one used last stands last
    if found is None:
        rng, found = np.random.default_rng(seed), np.empty((n, draws), np.uint8)
        for start in range(0, n, _CHUNK):  # the generator gives 8 bytes a number
            found[start : start + _CHUNK] = rng.poisson(1.0, found[start : start + _CHUNK].shape)
        found.setflags(write=False)
        with _lock:
            _kept[key] = found
            while sum(drawn.nbytes for drawn in _kept.values()) > _DRAWN:
                _kept.popitem(last=False)
    return found.astype(np.float32)

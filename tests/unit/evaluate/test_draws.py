"""The bootstrap's draws: one stream, kept within bounds."""

from __future__ import annotations

import numpy as np
import pytest

from sdq.evaluate import draws


def test_draws_are_one_poisson_stream_however_often_they_are_asked_for() -> None:
    n = draws._CHUNK + 7  # more than are drawn at a time
    drawn = np.random.default_rng(3).poisson(1.0, (n, 40)).astype(np.float32)
    first = draws.draw_counts(n, 40, 3)
    assert first.dtype == np.float32
    first += 1  # what a caller does to them is nobody else's
    assert np.array_equal(draws.draw_counts(n, 40, 3), drawn)


def test_what_is_kept_of_draws_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "_DRAWN", 100_000)
    for n in (300, 400, 500, 300, 2000):
        draws.draw_counts(n, 100, 0)
        assert sum(drawn.nbytes for drawn in draws._kept.values()) <= 100_000
        assert not any(drawn.flags.writeable for drawn in draws._kept.values())
    draws.draw_counts(500, 100, 0)
    assert (500, 100, 0) in draws._kept

"""Where Python need not look for circles of garbage, it does not, and afterwards it does again."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest

from sdq.io.garbage import settled, uncollected


class Circle:
    def __init__(self) -> None:
        self.self = self


def circle() -> weakref.ref[Circle]:
    return weakref.ref(Circle())


def test_what_was_there_is_left_alone_inside_and_what_comes_is_not() -> None:
    gc.collect()
    gc.disable()
    before = circle()
    with settled():
        after = circle()
        gc.collect()
        assert before() is not None
        assert after() is None
    gc.enable()
    gc.collect()
    assert before() is None


@pytest.mark.parametrize("on", [True, False])
def test_collection_is_as_it_was_even_after_a_failure(on: bool) -> None:
    (gc.enable if on else gc.disable)()
    try:
        with contextlib.suppress(KeyError), uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == on
    finally:
        gc.enable()
    with contextlib.suppress(KeyError), settled():
        assert gc.get_freeze_count() > 0
        raise KeyError
    assert gc.get_freeze_count() == 0

"""Pages are drawn a few at a time: Python runs one of them at any moment, and many at once would mostly hand that right around."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 2  # one that computes, and one that may when the first waits for a file
_turns = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Wait for one's turn; it ends when the page is drawn, or with whatever ends the page."""
    with _turns:
        yield

"""Pages are drawn a few at a time: Python runs one of them at any moment, and many at once would
mostly hand that right around."""

from __future__ import annotations

import threading

AT_ONCE = 2  # one that computes, and one that may when the first waits for a file
TURNS = threading.BoundedSemaphore(AT_ONCE)

"""How many pages are drawn at a time: Python runs one thread at any moment, and many at once would
mostly switch between each other."""

from __future__ import annotations

import threading

SLOTS = 2  # one that computes, and one that may when the first waits for a file
RENDER_SLOTS = threading.BoundedSemaphore(SLOTS)

"""How a computing process deals with memory that it freed: it keeps it for the next pass."""

from __future__ import annotations

import contextlib
import ctypes

ALONE = (
    32 * 2**20
    # bytes; a block this large (of an embedding, say) is got from the system and given back to it
    # by
    # itself
)
KEPT = 256 * 2**20  # bytes; so much freed memory stays with the process
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep up to KEPT freed bytes; True if it agreed, False where the C
    library has nothing of the kind.

    A scan frees and takes back the same tens of megabytes in each of its passes. Left alone, glibc
    gives them to the system in between, and the system clears every page anew: a third of the time
    of a scan that reuses prefixes (`python -m benchmarks.sensitivity`). It holds for the whole
    process, from now on; whoever calls the engine from Python decides, the command line does it.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        # no libc to look into (Windows), or one without mallopt (macOS)
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, ALONE)) and bool(
            libc.mallopt(_M_TRIM_THRESHOLD, KEPT)
        )
    return False

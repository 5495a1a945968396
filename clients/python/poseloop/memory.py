"""How a process of our own asks the C library for memory; a library that others import must not decide that."""

from __future__ import annotations

import ctypes
import sys

# mallopt's parameters (malloc.h of the GNU C library).
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -2, -3, -4, -8


def tune_malloc(parameters: dict[int, int]) -> None:
    """Set parameters of the allocator; does nothing but on Linux with the GNU C library."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in parameters.items():
        mallopt(parameter, value)


def keep_freed_memory() -> None:
    """Let frames be cut from memory that the process already has.

    By default each one is mapped anew, cleared page by page as it is written, and given back: for 0.9 MB a third of the
    time that it takes to get from one process to another (docs/performance.md). The thresholds are the largest for
    one frame, and what may lie free at the end of the heap.
    """
    tune_malloc({MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 256 << 20})

"""Settings of the C libraries beneath PyTorch that decide how fast a CPU trains. Imports no PyTorch: see below."""

from __future__ import annotations

import os

from poseloop.memory import ARENA_MAX, MMAP_MAX, TOP_PAD, TRIM_THRESHOLD, tune_malloc

# About 10 microseconds: the gap between two operations of a step.
_SPIN_COUNT = "1000"


def share_the_processor() -> None:
    """Let threads that wait for each other sleep instead of spin; to be called before PyTorch is imported.

    By default GNU OpenMP's threads spin for milliseconds. On cores that other programs use too, a thread then spins
    away the time slice that the one it waits for needs: on two busy cores, 9.1 s a training step instead of 0.8.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_freed_memory() -> None:
    """Let large tensors be cut from memory that the process already has; does nothing but on Linux with glibc.

    Otherwise each activation map is mapped anew and zeroed page by page, which costs a seventh of a training step on a
    CPU.
    """
    tune_malloc({MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28, ARENA_MAX: 1})

"""What this machine has for a training, and what part of it frames and data workers get."""

from __future__ import annotations

import os
from pathlib import Path

# More workers than this feed no device faster, since each prepares a hundred frames a second.
MOST_WORKERS = 8
# What a data worker holds of its own, measured: PyTorch's libraries, two batches ahead and open videos.
WORKER_BYTES = 400 * 2**20
# Scaled frames beyond this are decoded anew each time.
CACHE_BYTES = 2 * 2**30
# Of the memory that is free when training starts, for scaled frames; as much again is for workers.
CACHE_PART = WORKERS_PART = 0.25


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes that could be taken now without swapping, within a container's limit too."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        # What the container has taken already is mostly files' pages, which it gives back.
        return min(free, int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no Linux, no container, or "max"
        return free


def cache_bytes(processes: int) -> int:
    """Return how much each of this machine's training processes may hold in scaled frames."""
    return min(CACHE_BYTES, int(CACHE_PART * free_memory()) // processes)


def data_workers(processes: int) -> int:
    """Return how many workers prepare frames for each of this machine's training processes; 0: it does so itself."""
    cores = usable_cores() // processes
    room = int(WORKERS_PART * free_memory()) // WORKER_BYTES // processes
    return min(max(cores - 1, 1), MOST_WORKERS, room)

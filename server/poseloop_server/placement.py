"""Where a model's threads run: how many there are, and on which cores.

Pinning a thread to cores is Linux's; this is the one place that knows of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from poseloop.errors import InvalidInputError

_MOST_CORES = 4096
_MOST_THREADS = 4  # beyond that small models gain nothing more


@dataclass(frozen=True, slots=True)
class Placement:
    """The threads of one model.

    Attributes:
        threads: CPU threads of one inference.
        cores: that they are pinned to; none: the system chooses.
    """

    threads: int = 1
    cores: tuple[int, ...] = ()

    def check(self) -> None:
        """Check that the cores can be had here.

        Raises:
            InvalidInputError: they can't, or threads can't be pinned on this system.
        """
        if not self.cores:
            return
        if not hasattr(os, "sched_setaffinity"):
            raise InvalidInputError(
                "cores: threads can be pinned to cores on Linux only; leave the key out on this system."
            )
        usable = os.sched_getaffinity(0)
        absent = sorted(set(self.cores) - usable)
        if absent:
            raise InvalidInputError(
                f"cores: {', '.join(map(str, absent))} can't be used here; this process may run on "
                f"{', '.join(map(str, sorted(usable)))}."
            )

    def pin(self) -> None:
        """Keep the calling thread on the cores from now on."""
        if self.cores:
            os.sched_setaffinity(0, self.cores)

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the calling thread on the cores meanwhile; threads that it starts stay there."""
        if not self.cores:
            yield
            return
        before = os.sched_getaffinity(0)
        self.pin()
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def default_threads(cores: int, models: int = 1) -> int:
    """Return the threads of each model where nothing is said: half the cores, divided among the models, 1 to 4.

    The other half is for what the poses pass through: cameras, the event loop, subscribers.
    """
    return max(1, min(_MOST_THREADS, cores // 2 // max(1, models)))


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_cores(text: str) -> tuple[int, ...]:
    """Read cores such as ``2`` or ``2-5``, after a ``NAME=`` where there is one.

    Raises:
        ValueError: it is not of that form.
    """
    first, separator, last = text.rpartition("=")[2].partition("-")
    if not first.isdecimal() or (separator and not last.isdecimal()) or not 0 <= int(last or first) < _MOST_CORES:
        raise ValueError(f"{text!r} names no cores; write them as 2 or 2-5, after NAME= for one model alone")
    if int(first) > int(last or first):
        raise ValueError(f"{text!r} names no cores; the first is above the last")
    return tuple(range(int(first), int(last or first) + 1))


def cores_of(entries: Sequence[str], name: str) -> tuple[int, ...]:
    """Return a model's cores out of ``[NAME=]CORES`` entries: all of its own, else all of those without a name."""
    own = [entry for entry in entries if entry.rpartition("=")[0] == name]
    chosen = own or [entry for entry in entries if "=" not in entry]
    return tuple(sorted({core for entry in chosen for core in parse_cores(entry)}))

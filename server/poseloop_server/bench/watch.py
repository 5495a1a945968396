"""What a server process holds while it is measured: memory, threads, file handles."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import psutil

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process held at one moment.

    Attributes:
        at_s: since the first sample.
        memory_mib: resident memory.
        threads: of the process.
        handles: open files and sockets; on Windows all its handles.
    """

    at_s: float
    memory_mib: float
    threads: int
    handles: int


class ProcessWatch:
    """Samples a process, each `take` once."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._started_s = time.monotonic()
        self.samples: list[Sample] = []

    def take(self) -> None:
        """Take a sample; a process that is gone gives none, and whoever uses it notices."""
        try:
            with self._process.oneshot():
                sample = Sample(
                    round(time.monotonic() - self._started_s, 3),
                    self._process.memory_info().rss / _MIB,
                    self._process.num_threads(),
                    self._process.num_handles() if psutil.WINDOWS else self._process.num_fds(),
                )
        except psutil.NoSuchProcess:
            return
        self.samples.append(sample)


class Watching:
    """Within the block, a thread of its own takes a sample every ``interval_s``."""

    def __init__(self, pid: int, interval_s: float = 1.0) -> None:
        self._watch = ProcessWatch(pid)
        self._interval_s = interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process watch", daemon=True)

    @property
    def samples(self) -> list[Sample]:
        """What was taken so far."""
        return self._watch.samples

    def _run(self) -> None:
        self._watch.take()
        while not self._end.wait(self._interval_s):
            self._watch.take()

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._end.set()
        self._thread.join()


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what the process held at first, at last and at most, and its mean memory by whole minute."""
    minutes: dict[int, list[float]] = {}
    for sample in samples:
        minutes.setdefault(int(sample.at_s // 60), []).append(sample.memory_mib)
    whole = [minutes[minute] for minute in sorted(minutes) if (minute + 1) * 60 <= samples[-1].at_s + 1.5]
    return {
        "memory_mib": {
            "first": round(samples[0].memory_mib, 2),
            "last": round(samples[-1].memory_mib, 2),
            "max": round(max(sample.memory_mib for sample in samples), 2),
            "by_minute": [round(float(np.mean(values)), 2) for values in whole],
        },
        "threads": {"first": samples[0].threads, "last": samples[-1].threads, "max": max(s.threads for s in samples)},
        "handles": {"first": samples[0].handles, "last": samples[-1].handles, "max": max(s.handles for s in samples)},
    }

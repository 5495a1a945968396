"""What happened lately and since the start, counted so cheaply that the path of a frame can afford it."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from poseloop.types import Percentiles

# Upper bounds in milliseconds: from handing a pose to a socket up to a second.
BUCKETS_MS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0),
    *(7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 250.0, 1000.0),
)
RECENT_POSES = 4096


@dataclass(slots=True)
class Histogram:
    """Counts of durations by bucket; written by one thread, read by any."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, value_ms: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_MS, value_ms)] += 1
        self.sum_ms += value_ms

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_ms += other.sum_ms


@dataclass(frozen=True, slots=True)
class Recent:
    """Poses of the last seconds: how many a second, and percentiles of their durations."""

    frames_per_second: float
    age: Percentiles
    wait: Percentiles
    inference: Percentiles


class Latencies:
    """Where the time of a stream's poses goes.

    `add` is called by the thread that owns the model, everything else by any thread.

    Attributes:
        age: captured to published.
        wait: received to inference started.
        inference: around the model.
        stages: inference ended to published: what is done with the keypoints, and writing the pose; after those of
            streams that were inferred together with this one and come before it.
        publish: handing the pose to the publisher.
    """

    def __init__(self) -> None:
        self.age = Histogram()
        self.wait = Histogram()
        self.inference = Histogram()
        self.stages = Histogram()
        self.publish = Histogram()
        self._recent: deque[tuple[int, float, float, float]] = deque(maxlen=RECENT_POSES)

    def add(
        self,
        published_ns: int,
        age_ms: float,
        wait_ms: float,
        inference_ms: float,
        stages_ms: float = 0.0,
        publish_ms: float = 0.0,
    ) -> None:
        """Count one published pose."""
        self.age.add(age_ms)
        self.wait.add(wait_ms)
        self.inference.add(inference_ms)
        self.stages.add(stages_ms)
        self.publish.add(publish_ms)
        self._recent.append((published_ns, age_ms, wait_ms, inference_ms))

    def merge(self, other: Latencies) -> None:
        """Add the histograms of another session."""
        for name in ("age", "wait", "inference", "stages", "publish"):
            getattr(self, name).merge(getattr(other, name))

    def recent(self, now_ns: int, window_s: float) -> Recent:
        """Summarise the poses published within the last ``window_s`` seconds; NaN percentiles where there are none."""
        since_ns = now_ns - round(window_s * 1e9)
        poses = [pose for pose in self._recent.copy() if pose[0] >= since_ns]
        columns = np.array(poses, dtype=np.float64).reshape(-1, 4)
        return Recent(
            frames_per_second=_rate([pose[0] for pose in poses], now_ns),
            age=_percentiles(columns[:, 1]),
            wait=_percentiles(columns[:, 2]),
            inference=_percentiles(columns[:, 3]),
        )


def _rate(published_ns: list[int], now_ns: int) -> float:
    """Return how many poses a second there were since the first of them."""
    intervals = len(published_ns) - 1
    if intervals < 1:
        return 0.0
    # From the first pose on, so that a stream opened just now shows its true rate; the silence after the last one
    # counts where it is longer than an interval, so that a stream that stopped does not keep its rate.
    span_ns = published_ns[-1] - published_ns[0]
    span_ns = max(span_ns, now_ns - published_ns[0] - span_ns // intervals)
    return intervals * 1e9 / span_ns if span_ns > 0 else 0.0


def _percentiles(values_ms: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Percentiles:
    if values_ms.size == 0:
        return Percentiles(*[float("nan")] * 4)
    p50, p95, p99 = np.percentile(values_ms, (50, 95, 99)).tolist()
    return Percentiles(p50, p95, p99, float(values_ms.max()))

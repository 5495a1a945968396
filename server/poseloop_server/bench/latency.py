"""Measures what serving adds to bare inference: cameras, server and subscriber as processes of their own.

The bare inference runs before and after the served run, for a machine's speed drifts with its heat and its neighbours.
The first second of every part is warm-up and is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.types import ModelInfo, Percentiles

from poseloop_server.bench.figures import RunFigures, conditions, figures_of, percentiles, rounded
from poseloop_server.bench.rig import WARM_UP_S, Rig, ServedRun, Setup, Traffic, rig
from poseloop_server.bench.watch import summary

# The bare inference takes half as long as the served run on either side of it, within these bounds.
_LEAST_BARE_S: Final = 1.0
_MOST_BARE_S: Final = 30.0
# Long enough for a capacity, on which the rate of a run with --load depends.
_CAPACITY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class LatencyJob:
    """What is measured.

    Attributes:
        setup: model, frames and transport.
        streams: cameras.
        frames_per_second: of each; not used where a load is given.
        frames: that each sends, the first second's included; not used where seconds are given.
        seconds: for which each sends.
        load: rate of all streams together, as a factor of what the bare inference can do.
    """

    setup: Setup
    streams: int = 1
    frames_per_second: float = 60.0
    frames: int = 600
    seconds: float | None = None
    load: float | None = None

    def __post_init__(self) -> None:
        if self.load is None:
            self.traffic(math.nan)  # raises where the frames are too few

    def traffic(self, capacity: float) -> Traffic:
        """Return what the cameras send, given how many bare inferences a second there can be."""
        rate = self.frames_per_second if self.load is None else self.load * capacity / self.streams
        if self.seconds is None:
            return Traffic(self.streams, rate, self.frames)
        return Traffic.lasting(self.seconds, self.streams, rate)


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """What came out; times in milliseconds.

    Attributes:
        inference: of the bare inferences, before and after the served run together.
        run: the served run's figures.
        overhead: end to end less the median bare inference, of every pose that counts.
        overhead_published: the same from capture to published, which is what poseloop means by latency.
        traffic: what the cameras sent.
        capacity: 1000 by the median bare inference before the run: inferences a second.
        server: what the server's process held.
        conditions: machine, versions, model and settings.
    """

    inference: Percentiles
    run: RunFigures
    overhead: Percentiles
    overhead_published: Percentiles
    traffic: Traffic
    capacity: float
    server: dict[str, Any]
    conditions: dict[str, Any]

    @property
    def load(self) -> float:
        """Frames sent a second, as a factor of the capacity."""
        return self.run.sent_per_second / self.capacity

    def to_json(self) -> dict[str, Any]:
        """Return the published form: percentiles as ``p50, p95, p99, max`` in keys that end in ``_ms``."""
        together = self.run.together.to_json()
        del together["stream"]
        return {
            "inference_ms": rounded(self.inference),
            "overhead_ms": rounded(self.overhead),
            "overhead_published_ms": rounded(self.overhead_published),
            "stages_ms": {name: rounded(values) for name, values in self.run.stages.items()},
            **together,
            "fairness": round(self.run.fairness, 4),
            "streams": [stream.to_json() for stream in self.run.streams],
            "frame_interval_ms": round(1000 / self.traffic.frames_per_second, 4),
            "round_ms": round(self.traffic.streams * self.inference.p50, 4),
            "capacity_per_second": round(self.capacity, 2),
            "sent_per_second": round(self.run.sent_per_second, 2),
            "load": round(self.load, 4),
            "server": self.server,
            "warm_up_s": WARM_UP_S,
            "conditions": self.conditions,
        }


def measure_latency(job: LatencyJob, say: Callable[[str], None] = lambda _: None) -> LatencyResult:
    """Run the measurement; ``say`` is told what happens.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: the model can't be used.
        PoseloopError: frames did not travel by the transport that was asked for.
    """
    say("starting the server")
    with rig(job.setup) as running:
        before, bare_s, bare_rate = _bare_before(running, job, say)
        capacity = 1000 / float(np.median(before))
        traffic = job.traffic(capacity)
        say(
            f"served: {traffic.streams} stream(s), each {traffic.frames} frames at {traffic.frames_per_second:.4g} a "
            "second"
        )
        served = running.serve(traffic)
        say("bare inference, after")
        bare = np.concatenate([before, running.bare(bare_s, bare_rate)])
    return _evaluate(job, running.model, traffic, capacity, bare, served)


def _bare_before(running: Rig, job: LatencyJob, say: Callable[[str], None]) -> tuple[NDArray[np.float64], float, float]:
    """Return the bare times before the served run, and for how long and at what rate they were taken."""
    if job.load is None:
        traffic = job.traffic(math.nan)
        seconds = WARM_UP_S + min(max(traffic.seconds / 2, _LEAST_BARE_S), _MOST_BARE_S)
        rate = traffic.total_per_second
        say(f"bare inference, before (the whole takes about {traffic.seconds + 2 * seconds + 5:.0f} s)")
    else:
        seconds, rate = WARM_UP_S + _CAPACITY_S, 0.0
        say("bare inference, before, one right after the other")
    return running.bare(seconds, rate), seconds, rate


def _evaluate(
    job: LatencyJob,
    model: ModelInfo,
    traffic: Traffic,
    capacity: float,
    bare_ms: NDArray[np.float64],
    served: ServedRun,
) -> LatencyResult:
    run = figures_of(served, traffic)
    median = float(np.median(bare_ms))
    return LatencyResult(
        inference=percentiles(bare_ms),
        run=run,
        overhead=percentiles(run.end_to_end_ms - median),
        overhead_published=percentiles(run.age_ms - median),
        traffic=traffic,
        capacity=capacity,
        server=summary(served.samples),
        conditions={
            **conditions(job.setup, model, served.transport, served.poses),
            "streams": traffic.streams,
            "frames_per_second": round(traffic.frames_per_second, 4),
            "frames": traffic.frames,
            "bare": "one right after the other" if job.load is not None else "at the rate of all streams together",
        },
    )

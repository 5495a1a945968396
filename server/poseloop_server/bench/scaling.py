"""Measures how latency, fairness, losses and memory go with the number of streams, each with a server of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from poseloop.types import Percentiles

from poseloop_server.bench.figures import RunFigures, conditions, figures_of, percentiles, rounded
from poseloop_server.bench.rig import WARM_UP_S, Setup, Traffic, rig
from poseloop_server.bench.watch import summary

STREAMS: Final = (1, 2, 4, 8, 16)
_BARE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ScalingJob:
    """What is measured.

    Attributes:
        setup: model, frames and transport.
        streams: the numbers of streams, one after the other.
        frames_per_second: of each stream.
        seconds: for which each number of streams is served, the first second included.
    """

    setup: Setup
    streams: Sequence[int] = STREAMS
    frames_per_second: float = 30.0
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for streams in self.streams:
            self.traffic(streams)  # raises where it is too short

    def traffic(self, streams: int) -> Traffic:
        """Return what the cameras send at that number of streams."""
        return Traffic.lasting(self.seconds, streams, self.frames_per_second)


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """One number of streams.

    Attributes:
        streams: how many.
        run: the served run's figures.
        server: what the server's process held.
    """

    streams: int
    run: RunFigures
    server: dict[str, Any]

    @property
    def age(self) -> Percentiles:
        """Captured to published, of all streams' poses."""
        assert self.run.together.age is not None
        return self.run.together.age

    @property
    def memory_mib(self) -> float:
        """The server's resident memory at most."""
        return float(self.server["memory_mib"]["max"])

    def to_json(self, load: float) -> dict[str, Any]:
        """Return the published form."""
        together = self.run.together.to_json()
        del together["stream"]
        return {
            "streams": self.streams,
            "sent_per_second": round(self.run.sent_per_second, 2),
            "load": round(load, 4),
            **together,
            "fairness": round(self.run.fairness, 4),
            "by_stream": [stream.to_json() for stream in self.run.streams],
            "server": self.server,
        }


@dataclass(frozen=True, slots=True)
class ScalingResult:
    """What came out.

    Attributes:
        points: by number of streams.
        inference: bare, before each point and pooled, for a machine's speed drifts; in milliseconds.
        frames_per_second: of each stream.
        conditions: machine, versions, model and settings.
    """

    points: list[ScalingPoint]
    inference: Percentiles
    frames_per_second: float
    conditions: dict[str, Any]

    def load(self, point: ScalingPoint) -> float:
        """Return the frames sent a second, as a factor of what the bare inference can do."""
        return point.run.sent_per_second * self.inference.p50 / 1000

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "inference_ms": rounded(self.inference),
            "points": [point.to_json(self.load(point)) for point in self.points],
            "warm_up_s": WARM_UP_S,
            "conditions": self.conditions,
        }


def measure_scaling(job: ScalingJob, say: Callable[[str], None] = lambda _: None) -> ScalingResult:
    """Run the measurement; ``say`` is told what happens.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: the model can't be used.
    """
    points, bare = [], []
    for streams in job.streams:
        say(f"{streams} stream(s): starting the server, and the bare inference")
        with rig(job.setup) as running:
            bare.append(running.bare(WARM_UP_S + _BARE_S, 0.0))
            traffic = job.traffic(streams)
            say(f"{streams} stream(s): served for {traffic.seconds:.0f} s")
            served = running.serve(traffic)
            model = running.model
        points.append(ScalingPoint(streams, figures_of(served, traffic), summary(served.samples)))
    return ScalingResult(
        points,
        percentiles(np.concatenate(bare)),
        job.frames_per_second,
        {
            **conditions(job.setup, model, served.transport, served.poses),
            "frames_per_second": job.frames_per_second,
            "seconds": job.seconds,
            "bare": "one right after the other, before each number of streams, pooled",
        },
    )

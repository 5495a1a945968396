"""Measures the loop of `naive` beside the server, in turn, so that one sees what serving costs and what it gains.

Both print each pose, and the age of a pose ends for both when it is printed: by the naive loop, by the subscriber. The
naive loop runs before and after each served run, half as long each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import Percentiles

from poseloop_server.bench.figures import RunFigures, conditions, figures_of, percentiles, rounded
from poseloop_server.bench.naive import DRIVER_BUFFERS, NaiveJob
from poseloop_server.bench.rig import WARM_UP_S, Rig, Setup, Traffic, rig

STREAMS: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class PeerJob:
    """What is measured.

    Attributes:
        setup: model, frames and transport.
        streams: the numbers of cameras, one after the other.
        frames_per_second: of each camera.
        seconds: for which each number of cameras is served, the first second included.
        buffers: of a camera's driver in the naive loop; 0 for as many as it takes.
        plain_session: whether the naive loop opens its session with ONNX Runtime's own settings, which use every core,
            rather than with the server's.
        drift: how much slower each camera is than the one before, as a part of the rate.
    """

    setup: Setup
    streams: Sequence[int] = STREAMS
    frames_per_second: float = 60.0
    seconds: float = 10.0
    buffers: int = DRIVER_BUFFERS
    plain_session: bool = False
    drift: float = 0.0

    def __post_init__(self) -> None:
        if self.plain_session and self.setup.provider != "cpu":
            raise InvalidInputError("a plain session runs on the CPU; leave --plain-session out, or --provider")
        if self.drift * max(self.streams) >= 1:
            raise InvalidInputError(
                f"with --drift {100 * self.drift:g} the last of {max(self.streams)} cameras stands still; give less"
            )
        for streams in self.streams:
            self.traffic(streams)  # raises where it is too short

    def traffic(self, streams: int) -> Traffic:
        """Return what that number of cameras films."""
        return Traffic.lasting(self.seconds, streams, self.frames_per_second, self.drift)


@dataclass(frozen=True, slots=True)
class NaiveFigures:
    """The naive loop; times in milliseconds.

    Attributes:
        age: captured to printed, of every counted frame.
        by_camera: likewise.
        printed: frames, the first second's included.
        dropped: frames for which a camera's driver had no buffer.
    """

    age: Percentiles
    by_camera: list[Percentiles]
    printed: int
    dropped: int

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "age_ms": rounded(self.age),
            "by_camera_ms": [rounded(age) for age in self.by_camera],
            "printed": self.printed,
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class PeerPoint:
    """Both, at one number of cameras."""

    streams: int
    naive: NaiveFigures
    served: RunFigures

    @property
    def served_age(self) -> Percentiles:
        """Captured to printed by the subscriber."""
        assert self.served.together.end_to_end is not None
        return self.served.together.end_to_end

    def to_json(self) -> dict[str, Any]:
        """Return the published form; what serving adds is negative where it is the faster one."""
        naive, served = self.naive.age, self.served_age
        return {
            "streams": self.streams,
            "naive": self.naive.to_json(),
            "served": {
                "age_ms": rounded(served),
                "stages_ms": {name: rounded(values) for name, values in self.served.stages.items()},
                "by_camera_ms": [stream.end_to_end and rounded(stream.end_to_end) for stream in self.served.streams],
                "sent": self.served.together.sent,
                "published": self.served.together.published,
                "dropped": self.served.together.dropped,
                "fairness": round(self.served.fairness, 4),
            },
            "added_ms": {
                name: round(getattr(served, name) - getattr(naive, name), 4) for name in ("p50", "p95", "p99")
            },
        }


@dataclass(frozen=True, slots=True)
class PeerResult:
    """What came out."""

    points: list[PeerPoint]
    inference: Percentiles
    conditions: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "inference_ms": rounded(self.inference),
            "points": [point.to_json() for point in self.points],
            "warm_up_s": WARM_UP_S,
            "conditions": self.conditions,
        }


def measure_peer(job: PeerJob, say: Callable[[str], None] = lambda _: None) -> PeerResult:
    """Run the measurement; ``say`` is told what happens.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: the model can't be used.
    """
    say("starting the server, and the bare inference")
    with rig(job.setup) as running:
        bare = percentiles(running.bare(WARM_UP_S + 2, 0.0))
        points = []
        for streams in job.streams:
            say(f"{streams} camera(s): the naive loop, before")
            first = _naive(running, job, streams)
            say(f"{streams} camera(s): served")
            traffic = job.traffic(streams)
            run = running.serve(traffic, prints=True)
            say(f"{streams} camera(s): the naive loop, after")
            second = _naive(running, job, streams)
            points.append(PeerPoint(streams, _naive_figures(first, second), figures_of(run, traffic)))
        model = running.model
    return PeerResult(
        points,
        bare,
        {
            **conditions(job.setup, model, run.transport, run.poses),
            "frames_per_second": job.frames_per_second,
            "seconds": job.seconds,
            "drift": job.drift,
            "buffers": job.buffers or "as many as it takes",
            "naive_session": "ONNX Runtime's own settings" if job.plain_session else "the server's settings",
        },
    )


@dataclass(frozen=True, slots=True)
class _NaiveRun:
    """Milliseconds from capture to print of the counted frames by camera, and all that was printed and dropped."""

    ages_ms: list[NDArray[np.float64]]
    printed: int
    dropped: int


def _naive(running: Rig, job: PeerJob, streams: int) -> _NaiveRun:
    setup = job.setup
    seconds = WARM_UP_S + max(1.0, (job.seconds - WARM_UP_S) / 2)
    film = running.film(job.frames_per_second)
    session = (str(setup.model), setup.provider, setup.threads, job.plain_session)
    role = NaiveJob(film, streams, seconds, job.buffers, *session, job.drift)
    ages, printed, dropped = [], 0, 0
    for camera in running.run("naive loop", role)["cameras"]:
        index, captured, shown = np.array(camera["rows"], np.int64).reshape(-1, 3).T
        counted = index >= WARM_UP_S * job.frames_per_second
        ages.append((shown - captured)[counted] / 1e6)
        printed += len(index)
        dropped += camera["dropped"]
    return _NaiveRun(ages, printed, dropped)


def _naive_figures(first: _NaiveRun, second: _NaiveRun) -> NaiveFigures:
    cameras = [np.concatenate(both) for both in zip(first.ages_ms, second.ages_ms, strict=True)]
    if any(len(ages) == 0 for ages in cameras):
        raise InvalidInputError("the naive loop printed nothing after its first second; give it more --seconds")
    return NaiveFigures(
        percentiles(np.concatenate(cameras)),
        [percentiles(ages) for ages in cameras],
        first.printed + second.printed,
        first.dropped + second.dropped,
    )

"""Measures what serving adds to bare inference: camera, server and subscriber as processes of their own.

The bare inference runs before and after the served run, paced at the same rate, for a machine's speed drifts with its
heat and its neighbours. The first second of every part is warm-up and is not counted.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import poseloop
from numpy.typing import NDArray
from poseloop.arena import ArenaSettings
from poseloop.errors import InvalidInputError
from poseloop.types import ModelInfo, Percentiles

from poseloop_server.bench_roles import BareJob, CameraJob, FrameJob, SubscriberJob, command_of
from poseloop_server.processes import Child, Children, ServerAddress

STREAM: Final = "bench"
WARM_UP_S: Final = 1.0
STAGES: Final = ("ingest", "wait", "inference", "publish", "deliver")
_PACKAGES: Final = ("poseloop", "onnxruntime", "grpcio", "pyzmq", "protobuf", "numpy")


@dataclass(frozen=True, slots=True)
class LatencyJob:
    """What is measured.

    Attributes:
        model: file of the model.
        width, height: of the frames, in pixels.
        frames_per_second: of the camera.
        frames: that the camera sends, the first second's included.
        provider: what runs the model.
        threads: CPU threads of the model, in the server and bare.
    """

    model: Path
    width: int
    height: int
    frames_per_second: float
    frames: int
    provider: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        ArenaSettings(self.width, self.height, self.frames_per_second)  # raises where they are out of its range
        least = self.warm_up_frames + 10
        if self.frames < least:
            raise InvalidInputError(
                f"{self.frames} frames are too few: the first second, {self.warm_up_frames} frames, is warm-up; ask "
                f"for {least} or more with --frames"
            )

    @property
    def warm_up_frames(self) -> int:
        """Frames of the first second."""
        return math.ceil(self.frames_per_second * WARM_UP_S)


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """What came out; times in milliseconds.

    Attributes:
        inference: of the bare inferences, before and after the served run together.
        end_to_end: captured to received at the subscriber, of every counted frame.
        overhead: end to end less the median bare inference, of every counted frame.
        stages: where the end-to-end time went, by the names of `STAGES`.
        sent, published, dropped, received: frames of the whole served run, warm-up included.
        counted: poses behind the percentiles.
        conditions: machine, versions, model and settings.
    """

    inference: Percentiles
    end_to_end: Percentiles
    overhead: Percentiles
    stages: dict[str, Percentiles]
    sent: int
    published: int
    dropped: int
    received: int
    counted: int
    conditions: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the published form: percentiles as ``p50, p95, p99, max`` in keys that end in ``_ms``."""
        return {
            "inference_ms": _rounded(self.inference),
            "end_to_end_ms": _rounded(self.end_to_end),
            "overhead_ms": _rounded(self.overhead),
            "stages_ms": {name: _rounded(values) for name, values in self.stages.items()},
            "sent": self.sent,
            "published": self.published,
            "dropped": self.dropped,
            "received": self.received,
            "counted": self.counted,
            "warm_up_s": WARM_UP_S,
            "conditions": self.conditions,
        }


def measure_latency(job: LatencyJob, say: Callable[[str], None] = lambda _: None) -> LatencyResult:
    """Run the measurement; ``say`` is told what happens.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: the model can't be used.
    """
    with Children() as children:
        say("starting the server")
        serve = ("--model", f"{STREAM}={job.model}", "--provider", job.provider, "--threads", str(job.threads))
        server = children.start_server(*serve)
        address = children.server_address(server)
        with poseloop.connect(address.grpc) as connection:
            model = connection.models()[0]
        film = FrameJob(job.width, job.height, job.frames_per_second, model.spec.color)
        bare_frames = job.warm_up_frames + math.ceil(job.frames / 2)
        seconds = (job.frames + 2 * bare_frames) / job.frames_per_second
        say(f"bare inference, before (the whole takes about {seconds:.0f} s)")
        bare = _bare(children, job, film, bare_frames)
        say(f"served: {job.frames} frames at {job.frames_per_second:g} a second")
        account, poses = _served(children, job, film, address)
        server.check()
        say("bare inference, after")
        bare = np.concatenate([bare, _bare(children, job, film, bare_frames)])
    return _evaluate(job, model, bare, account, poses)


def _bare(children: Children, job: LatencyJob, film: FrameJob, frames: int) -> NDArray[np.float64]:
    """Return the times of the counted bare inferences, in milliseconds."""
    role = BareJob(film, frames, str(job.model), job.provider, job.threads)
    child = children.start("bare inference", command_of(role), talks=True)
    child.hear()
    child.tell("go")
    times = np.array(child.hear()["times_ns"], np.float64) / 1e6
    child.stop()
    return times[job.warm_up_frames :]


def _served(
    children: Children, job: LatencyJob, film: FrameJob, address: ServerAddress
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Return the stream's account and, row by row, the sequence and the times of each pose received."""
    subscriber = SubscriberJob(job.frames, address.publish, STREAM)
    camera = CameraJob(film, job.frames, address.grpc, STREAM)
    roles = [
        children.start(name, command_of(role), talks=True)
        for name, role in (("subscriber", subscriber), ("camera", camera))
    ]
    for child in roles:
        child.hear()
    for child in roles:
        child.tell("go")
    received, account = (_result(child) for child in roles)
    return account, np.array(received["poses"], np.int64).reshape(-1, 7)


def _result(child: Child) -> dict[str, Any]:
    message = child.hear()
    child.stop()
    return message


def _evaluate(
    job: LatencyJob, model: ModelInfo, bare_ms: NDArray[np.float64], account: dict[str, Any], poses: NDArray[np.int64]
) -> LatencyResult:
    counted = poses[poses[:, 0] >= job.warm_up_frames]
    if len(counted) == 0:
        raise InvalidInputError(
            f"no pose arrived after the first second; the model takes {np.median(bare_ms):.0f} ms a frame, so a camera "
            f"of {job.frames_per_second:g} frames a second is too fast for it; choose a lower --fps"
        )
    end_to_end = (counted[:, 6] - counted[:, 1]) / 1e6
    spans = np.diff(counted[:, 1:], axis=1) / 1e6
    return LatencyResult(
        inference=percentiles(bare_ms),
        end_to_end=percentiles(end_to_end),
        overhead=percentiles(end_to_end - float(np.median(bare_ms))),
        stages={name: percentiles(spans[:, column]) for column, name in enumerate(STAGES)},
        sent=account["sent"],
        published=account["published"],
        dropped=account["dropped"],
        received=len(poses),
        counted=len(counted),
        conditions=_conditions(job, model),
    )


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> Percentiles:
    """Return the percentiles of some milliseconds, by linear interpolation."""
    p50, p95, p99, largest = np.percentile(np.asarray(values, np.float64), [50, 95, 99, 100]).tolist()
    return Percentiles(p50, p95, p99, largest)


def _rounded(values: Percentiles) -> dict[str, float]:
    return {name: round(getattr(values, name), 4) for name in ("p50", "p95", "p99", "max")}


def _conditions(job: LatencyJob, model: ModelInfo) -> dict[str, Any]:
    return {
        "transport": "grpc",
        "frame": f"{job.width}x{job.height} {model.spec.color}, raw",
        "frames_per_second": job.frames_per_second,
        "model": model.spec.name,
        "model_sha256": model.sha256,
        "provider": model.provider,
        "device": model.device,
        "precision": model.precision,
        "threads": model.threads,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }

"""The whole loop on one machine: server, synthetic camera and subscriber as processes of their own.

The subscriber is this process. It knows the truth of every frame from its sequence, since the arena is the same in
every process, and so shows the error of the poses beside their latency.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.client import connect
from poseloop.errors import PoseloopError
from poseloop.images import Color
from poseloop.subscriber import Subscription
from poseloop.types import Counters, ModelInfo, Percentiles, Pose

from poseloop_server.processes import POSELOOP, Child, Children, wait_until

STREAM: Final = "demo"
SETTINGS: Final = ArenaSettings(width=640, height=480, frames_per_second=60.0, seed=7)
_SLICE_S: Final = 0.25
_FIRST_POSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One pose as the demo remembers it; times in milliseconds, errors in pixels."""

    sequence: int
    published_ns: int
    keypoints: NDArray[np.float32]
    errors: NDArray[np.float64]
    age: float
    inference: float
    counters: Counters


@dataclass(frozen=True, slots=True)
class Summary:
    """Some sightings in figures.

    Attributes:
        frames_per_second: poses published a second.
        age: captured to published, in milliseconds.
        inference: in milliseconds.
        errors_px: mean error of each keypoint.
        counters: the stream's account as of the last pose.
        poses: received.
    """

    frames_per_second: float
    age: Percentiles
    inference: Percentiles
    errors_px: dict[str, float]
    counters: Counters
    poses: int

    @property
    def mean_error_px(self) -> float:
        """Mean over all keypoints that the arena and the model both know; NaN where they know none."""
        return float(np.mean(list(self.errors_px.values()))) if self.errors_px else float("nan")


@dataclass(slots=True)
class Recording:
    """The poses received so far; one thread adds, others read.

    Attributes:
        names: the model's keypoints.
        arena: whose frames they were seen in.
        sightings: in the order in which they came.
    """

    names: tuple[str, ...]
    arena: Arena
    sightings: list[Sighting] = field(default_factory=list)

    def add(self, pose: Pose) -> None:
        """Remember a pose and compare it with the truth."""
        keypoints = pose.keypoints[0]
        errors = np.hypot(*(keypoints[:, :2] - self.truth(pose.sequence)).astype(np.float64).T)
        stamps = pose.stamps
        self.sightings.append(
            Sighting(
                pose.sequence, stamps.published_ns, keypoints, errors, stamps.age_ms, stamps.inference_ms, pose.counters
            )
        )

    def truth(self, sequence: int) -> NDArray[np.float32]:
        """Return the true place of each of the model's keypoints, NaN for one that the arena does not know."""
        known = dict(zip(self.arena.keypoint_names, self.arena.keypoints(sequence), strict=True))
        nowhere = np.full(2, np.nan, np.float32)
        return np.array([known.get(name, nowhere) for name in self.names])

    def summary(self, last: int | None = None) -> Summary | None:
        """Return the figures of the last so many poses, or of all; None while there are fewer than two."""
        received = list(self.sightings)  # at one moment, since more come meanwhile
        chosen = received[-last:] if last else received
        if len(chosen) < 2:
            return None
        seconds = (chosen[-1].published_ns - chosen[0].published_ns) / 1e9
        errors = np.array([sighting.errors for sighting in chosen])
        return Summary(
            frames_per_second=(len(chosen) - 1) / max(seconds, 1e-9),
            age=_percentiles([sighting.age for sighting in chosen]),
            inference=_percentiles([sighting.inference for sighting in chosen]),
            errors_px={
                name: float(np.nanmean(column))
                for name, column in zip(self.names, errors.T, strict=True)
                if np.isfinite(column).any()
            },
            counters=chosen[-1].counters,
            poses=len(received),
        )


def _percentiles(values: list[float]) -> Percentiles:
    return Percentiles(*np.percentile(values, [50, 95, 99, 100]).tolist())


class Demo:
    """The processes of the demo and what they deliver; a context manager that ends them all.

    Args:
        model: file of the model to serve.
        settings: of the arena that the camera films.
    """

    def __init__(self, model: Path, settings: ArenaSettings = SETTINGS) -> None:
        self._model = model
        self._settings = settings
        self._children = Children()
        self._running: list[Child] = []
        self._told_to_stop = threading.Event()
        self._failure: Exception | None = None
        self._receiver: threading.Thread | None = None

    def start_server(self) -> ModelInfo:
        """Start the server, wait until it is ready and return its model and what really runs it.

        Raises:
            ChildFailedError: it failed.
        """
        server = self._children.start_server("--model", str(self._model))
        self._running.append(server)
        self._address = self._children.server_address(server)
        with connect(self._address.grpc) as connection:
            return connection.models()[0]

    def start_camera(self, model: ModelInfo) -> Recording:
        """Subscribe, start the synthetic camera, wait for the first pose and return where the poses gather.

        Raises:
            ChildFailedError: the camera failed, or no pose came.
        """
        recording = Recording(tuple(model.spec.keypoints), Arena(self._settings))
        subscription = Subscription(self._address.publish, STREAM)
        subscription.wait_until_ready()
        self._receiver = threading.Thread(target=self._receive, args=(subscription, recording), name="poseloop-demo")
        self._receiver.start()
        command = [*POSELOOP, "stream", source_of(self._settings, model.spec.color)]
        camera = self._children.start("camera", [*command, "--name", STREAM, "--server", self._address.grpc])
        self._running.append(camera)
        wait_until(lambda: bool(recording.sightings), camera, _FIRST_POSE_S)
        return recording

    def check(self) -> None:
        """Raise whatever went wrong in a process or in the subscriber."""
        if self._failure is not None:
            raise self._failure
        for child in self._running:
            child.check()

    def __enter__(self) -> Self:
        self._children.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._told_to_stop.set()
            if self._receiver is not None:
                self._receiver.join()
        finally:
            self._children.__exit__(kind, error, trace)

    def _receive(self, subscription: Subscription, recording: Recording) -> None:
        with subscription:
            try:
                while not self._told_to_stop.is_set():
                    pose = subscription.receive(_SLICE_S)
                    if pose is not None:
                        recording.add(pose)
            except PoseloopError as error:
                self._failure = error


def source_of(settings: ArenaSettings, color: Color) -> str:
    """Return the arena as `poseloop stream` takes it."""
    size = f"{settings.width}x{settings.height}@{settings.frames_per_second:g}"
    return f"synthetic:{size}?seed={settings.seed}&color={color}"

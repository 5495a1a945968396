"""The processes of a latency measurement, each run as ``python -m poseloop_server.bench_roles ROLE JOB``.

A role gets its job as JSON, writes a line of JSON to standard output once it is ready, starts at a line on its standard
input, and ends with a line of results. The bare inference imports no more of the server than the model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.clock import now_ns
from poseloop.errors import PoseloopError
from poseloop.images import Color
from poseloop.pacing import Schedule

DISTINCT_FRAMES: Final = 120
_FIRST_POSE_S: Final = 30.0
_LAST_POSE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class FrameJob:
    """What the camera films: the same frames for the served and the bare inference."""

    width: int
    height: int
    frames_per_second: float
    color: Color

    def render(self) -> list[NDArray[np.uint8]]:
        """Draw the frames, uint8 ``(height, width, channels)``, before anything is timed."""
        arena = Arena(ArenaSettings(self.width, self.height, self.frames_per_second, color=self.color))
        return [arena.frame(index) for index in range(DISTINCT_FRAMES)]

    def paced(self, frames: int, each: Callable[[int], None]) -> None:
        """Call ``each`` with 0 to frames - 1 at the frame rate."""
        schedule = Schedule(self.frames_per_second)
        for index in range(frames):
            schedule.wait()
            each(index)


@dataclass(frozen=True, slots=True)
class CameraJob:
    """Send ``frames`` frames to a server."""

    film: FrameJob
    frames: int
    address: str
    stream: str

    def run(self) -> dict[str, Any]:
        """Return the stream's final account."""
        import poseloop

        images = self.film.render()
        with poseloop.connect(self.address) as server, server.sender(self.stream, policy="live") as sender:
            _say_ready_and_wait()
            self.film.paced(self.frames, lambda index: _ignore(sender.send(images[index % len(images)], now_ns())))
        return {**asdict(sender.counters), "dropped": sender.counters.dropped}


@dataclass(frozen=True, slots=True)
class SubscriberJob:
    """Receive the poses of ``frames`` frames."""

    frames: int
    endpoint: str
    stream: str

    def run(self) -> dict[str, Any]:
        """Return, for each pose received, its sequence and its times."""
        import poseloop

        poses: list[list[int]] = []
        with poseloop.subscribe(self.endpoint, stream=self.stream) as subscription:
            subscription.wait_until_ready()
            _say_ready_and_wait()
            patience_s = _FIRST_POSE_S
            while not poses or poses[-1][0] < self.frames - 1:
                pose = subscription.receive(patience_s)
                received_ns = now_ns()
                if pose is None:
                    break
                patience_s = _LAST_POSE_S
                stamps = pose.stamps
                poses.append(
                    [
                        pose.sequence,
                        stamps.captured_ns,
                        stamps.received_ns,
                        stamps.inference_started_ns,
                        stamps.inference_ended_ns,
                        stamps.published_ns,
                        received_ns,
                    ]
                )
            lost = subscription.lost
        return {"poses": poses, "lost": lost}


@dataclass(frozen=True, slots=True)
class BareJob:
    """Run the model on ``frames`` frames at their rate, in a process that does nothing else."""

    film: FrameJob
    frames: int
    model: str
    provider: str
    threads: int

    def run(self) -> dict[str, Any]:
        """Return how long each inference took."""
        from poseloop_server.model import PoseModel

        images = [np.atleast_3d(image)[np.newaxis] for image in self.film.render()]
        model = PoseModel(Path(self.model), provider=self.provider, threads=self.threads)
        times_ns: list[int] = []

        def infer(index: int) -> None:
            started_ns = now_ns()
            model.infer(images[index % len(images)])
            times_ns.append(now_ns() - started_ns)

        _say_ready_and_wait()
        self.film.paced(self.frames, infer)
        return {"times_ns": times_ns}


Job = CameraJob | SubscriberJob | BareJob
ROLES: Final[dict[str, type[Job]]] = {"camera": CameraJob, "subscriber": SubscriberJob, "bare": BareJob}


def command_of(job: Job) -> list[str]:
    """Return the command line that does a job in a process of its own."""
    role = next(name for name, kind in ROLES.items() if isinstance(job, kind))
    return [sys.executable, "-m", "poseloop_server.bench_roles", role, json.dumps(asdict(job))]


def _job_of(role: str, text: str) -> Job:
    values = json.loads(text)
    if "film" in values:
        values["film"] = FrameJob(**values["film"])
    return ROLES[role](**values)


def _say_ready_and_wait() -> None:
    _say({"ready": True})
    if not sys.stdin.readline():
        raise PoseloopError("the measurement was called off")


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _ignore(_: object) -> None:
    return None


def main() -> None:
    """Do the job that the command line names."""
    try:
        _say(_job_of(sys.argv[1], sys.argv[2]).run())
    except PoseloopError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""A server and the processes around it, for one measurement after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import poseloop
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError, PoseloopError
from poseloop.images import Color
from poseloop.pose_feed import PoseTransport
from poseloop.types import ModelInfo

from poseloop_server.bench.film import Film, drifted
from poseloop_server.bench.roles import BareJob, CameraJob, Job, SubscriberJob, WatcherJob, command_of
from poseloop_server.bench.watch import Sample, Watching
from poseloop_server.processes import Child, ChildFailedError, Children, ServerAddress

MODEL_NAME: Final = "bench"
WARM_UP_S: Final = 1.0
# The streams that one camera process sends; each has its own connection and thread.
_STREAMS_PER_PROCESS: Final = 4
# From the word go to the first frame, so that every camera process has heard it.
LEAD_NS: Final = 200_000_000
_POSE_COLUMNS: Final = 7
_COLORS: Final[dict[int, Color]] = {1: "gray", 3: "rgb"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What every measurement has.

    Attributes:
        model: file of the model.
        width, height: of the frames, in pixels.
        channels: 1 for grey frames, 3 for RGB; the model's own unless given.
        provider: what runs the model.
        threads: CPU threads of the model, wherever it runs.
        transport: how frames reach the server: ``"grpc"`` or ``"local"``.
        poses: how poses reach the subscriber: ``"auto"`` (shared memory ahead of ZeroMQ) or ``"zeromq"``.
    """

    model: Path
    width: int = 640
    height: int = 480
    channels: int | None = None
    provider: str = "cpu"
    threads: int = 1
    transport: Literal["grpc", "local"] = "grpc"
    poses: PoseTransport = "auto"

    def __post_init__(self) -> None:
        if self.channels not in (None, *_COLORS):
            raise InvalidInputError(f"frames have 1 channel (grey) or 3 (RGB), not {self.channels}")
        Film(self.width, self.height, "gray", 1.0)  # raises where they are out of the arena's range

    def film(self, model_color: Color, frames_per_second: float) -> Film:
        """Return what the cameras film."""
        color = model_color if self.channels is None else _COLORS[self.channels]
        return Film(self.width, self.height, color, frames_per_second)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the cameras send.

    Attributes:
        streams: how many.
        frames_per_second: of each.
        frames: of each, the first second's included.
        drift: how much slower each camera is than the one before, as a part of the rate: a camera has a clock of its
            own, and two of one make differ by some millionths.
    """

    streams: int
    frames_per_second: float
    frames: int
    drift: float = 0.0

    def __post_init__(self) -> None:
        least = self.warm_up_frames + 10
        if self.frames < least:
            raise InvalidInputError(
                f"{self.frames} frames are too few: the first second, {self.warm_up_frames} frames, is warm-up; ask "
                f"for {least} or more with --frames, or for more --seconds"
            )

    @classmethod
    def lasting(cls, seconds: float, streams: int, frames_per_second: float, drift: float = 0.0) -> Self:
        """Return the traffic of so many seconds."""
        return cls(streams, frames_per_second, math.ceil(seconds * frames_per_second), drift)

    def rate_of(self, place: int) -> float:
        """Return the frames a second of one camera."""
        return drifted(self.frames_per_second, self.drift, place)

    def frames_of(self, place: int) -> int:
        """Return the frames of one camera, so that all end together."""
        return round(drifted(self.frames, self.drift, place))

    @property
    def total_per_second(self) -> float:
        """Frames a second of all streams together."""
        return self.streams * self.frames_per_second

    @property
    def warm_up_frames(self) -> int:
        """Frames of the first second, of each stream."""
        return math.ceil(self.frames_per_second * WARM_UP_S)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.frames / self.frames_per_second

    @property
    def names(self) -> list[str]:
        """The streams' names."""
        return [f"cam{index}" for index in range(self.streams)]


@dataclass(frozen=True, slots=True)
class StreamRun:
    """What became of one stream.

    Attributes:
        name: the stream's.
        account: its sender's final account.
        poses: int64, a row for each pose received: its sequence, and when its frame was captured and received, its
            inference started and ended, it was published and reached the subscriber.
    """

    name: str
    account: dict[str, int]
    poses: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ServedRun:
    """What became of all streams.

    Attributes:
        streams: in the order of their names' numbers.
        transport: that carried the frames.
        poses: what brought them to the subscriber first: ``"local"`` or ``"zeromq"``.
        seconds: that the cameras took over their frames; longer than planned where they could not keep up.
        samples: of the server's process, one a second.
    """

    streams: list[StreamRun]
    transport: str
    poses: str
    seconds: float
    samples: list[Sample]


class Rig:
    """A server that runs the model; made by `rig`, or with further flags for its server.

    Attributes:
        model: and what really runs it.
    """

    def __init__(self, children: Children, setup: Setup, *flags: str) -> None:
        self.setup = setup
        self._children = children
        self._server = children.start_server(
            *("--model", f"{MODEL_NAME}={setup.model}", "--provider", setup.provider, "--threads", str(setup.threads)),
            *flags,
        )
        self._address: ServerAddress = children.server_address(self._server)
        with poseloop.connect(self._address.grpc) as connection:
            self.model: ModelInfo = connection.models()[0]

    @property
    def address(self) -> str:
        """Where the server takes frames."""
        return self._address.grpc

    @property
    def server_pid(self) -> int:
        """The server's process."""
        return self._address.pid

    def film(self, frames_per_second: float = 60.0) -> Film:
        """Return what the cameras film."""
        return self.setup.film(self.model.spec.color, frames_per_second)

    def start(self, *jobs: tuple[str, Job]) -> list[Child]:
        """Start processes by name and job, and wait until all are ready to go."""
        children = [self._children.start(name, command_of(job), talks=True) for name, job in jobs]
        for child in children:
            child.hear()
        return children

    def run(self, name: str, job: Job) -> dict[str, Any]:
        """Do a job in a process of its own and return its result."""
        (child,) = self.start((name, job))
        child.tell("go")
        return result_of(child)

    def bare(self, seconds: float, per_second: float) -> NDArray[np.float64]:
        """Return the times of bare inferences in milliseconds; at 0 a second, one right after the other."""
        setup = self.setup
        film = self.film(per_second or 60.0)
        job = BareJob(film, seconds, WARM_UP_S, per_second, str(setup.model), setup.provider, setup.threads)
        return np.array(self.run("bare inference", job)["times_ns"], np.float64) / 1e6

    def serve(self, traffic: Traffic, *, prints: bool = False) -> ServedRun:
        """Send the traffic and follow its poses to the last one.

        Args:
            traffic: what the cameras send.
            prints: whether the subscriber prints each pose before it counts as received.

        Raises:
            ChildFailedError: one of the processes failed.
        """
        subscriber, *cameras = self.start(
            ("subscriber", SubscriberJob(self._address.publish, self.setup.poses, prints)), *self.camera_jobs(traffic)
        )
        with self.blaming_the_server(), Watching(self.server_pid) as watching:
            self.go([subscriber], cameras)
            accounts = self.final_accounts(cameras, subscriber)
            heard = result_of(subscriber)
            poses = heard["poses"]
            self._server.check()
        runs = [
            StreamRun(
                name,
                {key: value for key, value in accounts[name].items() if isinstance(value, int)},
                np.array(poses.get(name, []), np.int64).reshape(-1, _POSE_COLUMNS),
            )
            for name in traffic.names
        ]
        seconds = max(float(account["seconds"]) for account in accounts.values())
        return ServedRun(runs, self.transport_of(accounts), heard["transport"], seconds, watching.samples)

    def watcher_job(self, interval_s: float, traffic: Traffic) -> tuple[str, Job]:
        """Return the subscriber that tells every interval how old the poses were."""
        return "watcher", WatcherJob(self._address.publish, self.setup.poses, interval_s, traffic.warm_up_frames)

    def camera_jobs(self, traffic: Traffic) -> list[tuple[str, Job]]:
        """Return the camera processes: the streams spread over them, their frames over the frame interval."""
        # Those with a clock of their own each need a process of their own.
        processes = traffic.streams if traffic.drift else math.ceil(traffic.streams / _STREAMS_PER_PROCESS)
        step_ns = 1e9 / traffic.frames_per_second / traffic.streams
        address, transport = self._address.grpc, self.setup.transport
        jobs: list[tuple[str, Job]] = []
        for place in range(processes):
            film, frames = self.film(traffic.rate_of(place)), traffic.frames_of(place)
            names = traffic.names[place::processes]
            job = CameraJob(film, frames, address, names, int(step_ns * place), transport)
            jobs.append((f"camera {place}", job))
        return jobs

    def go(self, followers: list[Child], cameras: list[Child]) -> None:
        """Let the followers begin, and then all cameras at one moment."""
        for child in followers:
            child.tell("go")
        start_ns = now_ns() + LEAD_NS
        for child in cameras:
            child.tell(str(start_ns))

    def final_accounts(self, cameras: list[Child], follower: Child) -> dict[str, dict[str, Any]]:
        """Wait for the cameras' ends; tell the follower what was published, and return each stream's account."""
        accounts = {one["stream"]: one for camera in cameras for one in result_of(camera)["streams"]}
        follower.tell(json.dumps({name: account["published"] for name, account in accounts.items()}))
        return accounts

    def transport_of(self, accounts: dict[str, dict[str, Any]]) -> str:
        """Return what carried the frames.

        Raises:
            PoseloopError: not what was asked for.
        """
        found: list[str] = sorted({account["transport"] for account in accounts.values()})
        if found != [self.setup.transport]:
            raise PoseloopError(
                f"frames were to travel by the {self.setup.transport} transport and travelled by {', '.join(found)}; "
                "`poseloop doctor` tells what is installed."
            )
        return found[0]

    def check(self) -> None:
        """Raise the error that says why the server ended, if it did."""
        self._server.check()

    @contextmanager
    def blaming_the_server(self) -> Iterator[None]:
        """Where another process fails within the block because the server did, say that the server did."""
        try:
            yield
        except ChildFailedError:
            self._server.check()
            raise


def result_of(child: Child) -> dict[str, Any]:
    """Wait for a process's last line and end it."""
    message = child.hear()
    child.stop()
    return message


@contextmanager
def rig(setup: Setup) -> Iterator[Rig]:
    """Start a server with the model; at the end of the block every process is ended.

    Raises:
        ChildFailedError: the server failed; the error says why.
    """
    with Children() as children:
        yield Rig(children, setup)

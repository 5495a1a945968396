"""The processes of a measurement, each run as ``python -m poseloop_server.bench.roles ROLE JOB``.

A role gets its job as JSON, writes a line of JSON to standard output once it is ready, starts at a line on its standard
input, and ends with a line of results. The bare inference imports no more of the server than the model.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from poseloop.clock import now_ns
from poseloop.errors import PoseloopError
from poseloop.memory import keep_freed_memory

from poseloop_server.bench.film import Film, paced
from poseloop_server.bench.loop_roles import DeviceJob, StepCameraJob
from poseloop_server.bench.naive import NaiveJob
from poseloop_server.bench.steps import StepFilm
from poseloop_server.bench.talk import FinalAccounts, say, say_ready_and_wait

if TYPE_CHECKING:
    from poseloop.pose_feed import PoseTransport
    from poseloop.sender import FrameSender
    from poseloop.transport import Transport
    from poseloop.types import Pose

_SLICE_S: Final = 0.1
# After the senders' last word, a pose that has not come within this time will not come.
_LAST_POSE_S: Final = 3.0
# A server that goes away ends the measurement; a stream that went on would hide it.
_RECONNECT_S: Final = 5.0
# A slow model still gets a median.
_LEAST_BARE: Final = 3


@dataclass(frozen=True, slots=True)
class CameraJob:
    """Send ``frames`` frames of each stream to a server, the streams' frames evenly spread over the frame interval.

    Attributes:
        streams: their names.
        delay_ns: of the first frame of the first stream, against the moment that all camera processes are told.
        transport: ``"grpc"`` or ``"local"``.
    """

    film: Film
    frames: int
    address: str
    streams: list[str]
    delay_ns: int
    transport: Transport

    def run(self) -> dict[str, Any]:
        """Return each stream's final account, what carried its frames, and how long the camera took over them."""
        import poseloop

        images = self.film.render()
        keep_freed_memory()  # as `poseloop stream` does
        with poseloop.connect(self.address) as server, ExitStack() as stack:
            senders = [
                stack.enter_context(
                    server.sender(name, policy="live", reconnect_s=_RECONNECT_S, transport=self.transport)
                )
                for name in self.streams
            ]
            turns = len(senders)
            start_ns = int(say_ready_and_wait()) + self.delay_ns

            def send(index: int) -> None:
                senders[index % turns].send(images[index // turns % len(images)], now_ns())

            paced(self.frames * turns, self.film.frames_per_second * turns, start_ns, send)
            seconds = (now_ns() - start_ns) / 1e9
            return {"streams": [{**_account(sender), "seconds": seconds} for sender in senders]}


def _account(sender: FrameSender) -> dict[str, Any]:
    transport = sender.transport
    counters = sender.close()
    return {"stream": sender.stream, **asdict(counters), "dropped": counters.dropped, "transport": transport}


@dataclass(frozen=True, slots=True)
class SubscriberJob:
    """Receive the poses of every stream, and return what each pose says of time.

    Attributes:
        transport: how poses come: ``"auto"`` or ``"zeromq"``.
        prints: write each pose out, into the void, before it counts as received: what the naive loop does.
    """

    endpoint: str
    transport: PoseTransport
    prints: bool = False

    def run(self) -> dict[str, Any]:
        """Return by stream, for each pose received, its sequence and its times, and what brought the poses first."""
        poses: dict[str, list[list[int]]] = {}
        with Path(os.devnull).open("w") as void:

            def take(pose: Pose) -> None:
                if self.prints:
                    print(pose.keypoints, file=void, flush=True)
                received_ns = now_ns()
                stamps = pose.stamps
                poses.setdefault(pose.stream, []).append(
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

            _, transport = _follow(self.endpoint, self.transport, take)
        return {"poses": poses, "transport": transport}


@dataclass(frozen=True, slots=True)
class WatcherJob:
    """Receive the poses of every stream for as long as it takes, and tell every ``interval_s`` how old they were.

    Attributes:
        skipped: frames of each stream, its first ones, whose ages are not told.
    """

    endpoint: str
    transport: PoseTransport
    interval_s: float
    skipped: int

    def run(self) -> dict[str, Any]:
        """Say each interval's ages in milliseconds and the newest account, by stream; return how many poses came."""
        ages: dict[str, list[float]] = {}
        accounts: dict[str, dict[str, int]] = {}
        due_ns = 0

        def take(pose: Pose) -> None:
            if pose.sequence >= self.skipped:
                ages.setdefault(pose.stream, []).append(round(pose.stamps.age_ms, 3))
            counters = pose.counters
            accounts[pose.stream] = {**asdict(counters), "dropped": counters.dropped}

        def tell() -> None:
            nonlocal due_ns
            now = now_ns()
            due_ns = due_ns or now + int(self.interval_s * 1e9)
            if now >= due_ns:
                say({"ages_ms": ages, "accounts": accounts})
                ages.clear()
                due_ns += int(self.interval_s * 1e9)

        received, _ = _follow(self.endpoint, self.transport, take, tell)
        return {"ages_ms": ages, "accounts": accounts, "received": received}


def _follow(
    endpoint: str,
    transport: PoseTransport,
    take: Callable[[Pose], None],
    between: Callable[[], None] = lambda: None,
) -> tuple[dict[str, int], str]:
    """Give ``take`` every pose until as many came as the senders say were published.

    Returns:
        How many came, by stream, and what brought them first.
    """
    import poseloop

    received: dict[str, int] = {}
    with poseloop.subscribe(endpoint, transport=transport) as subscription:
        subscription.wait_until_ready()
        say_ready_and_wait()
        accounts = FinalAccounts()
        quiet_since_ns = now_ns()
        while not accounts.all_in(received):
            pose = subscription.receive(_SLICE_S)
            if pose is not None:
                take(pose)
                received[pose.stream] = received.get(pose.stream, 0) + 1
            if pose is not None or accounts.published is None:
                quiet_since_ns = now_ns()
            elif now_ns() - quiet_since_ns > _LAST_POSE_S * 1e9:
                break
            between()
        return received, subscription.transport


@dataclass(frozen=True, slots=True)
class BareJob:
    """Run the model for some seconds at a rate, in a process that does nothing else.

    Attributes:
        per_second: inferences a second; 0 for one right after the other.
        seconds: how long, of which the first ``warm_up_s`` are not counted.
    """

    film: Film | StepFilm
    seconds: float
    warm_up_s: float
    per_second: float
    model: str
    provider: str
    threads: int

    def run(self) -> dict[str, Any]:
        """Return how long each counted inference took; the frames are in the model's colour before it starts."""
        from poseloop.pacing import Schedule

        from poseloop_server.model import PoseModel

        model = PoseModel(Path(self.model), provider=self.provider, threads=self.threads)
        images = self.film.render_batches(model.spec.color)
        wait: Callable[[], None] = Schedule(self.per_second).wait if self.per_second else lambda: None
        times_ns: list[int] = []
        say_ready_and_wait()
        begin_ns = started_ns = now_ns()
        index = 0
        while started_ns - begin_ns < self.seconds * 1e9 or len(times_ns) < _LEAST_BARE:
            wait()
            started_ns = now_ns()
            model.infer(images[index % len(images)])
            ended_ns = now_ns()
            if started_ns - begin_ns >= self.warm_up_s * 1e9:
                times_ns.append(ended_ns - started_ns)
            index += 1
        return {"times_ns": times_ns}


Job = CameraJob | SubscriberJob | WatcherJob | BareJob | NaiveJob | StepCameraJob | DeviceJob
ROLES: Final[dict[str, type[Job]]] = {
    "camera": CameraJob,
    "subscriber": SubscriberJob,
    "watcher": WatcherJob,
    "bare": BareJob,
    "naive": NaiveJob,
    "step-camera": StepCameraJob,
    "device": DeviceJob,
}


def command_of(job: Job) -> list[str]:
    """Return the command line that does a job in a process of its own."""
    role = next(name for name, kind in ROLES.items() if isinstance(job, kind))
    return [sys.executable, "-m", "poseloop_server.bench.roles", role, json.dumps(asdict(job))]


def _job_of(role: str, text: str) -> Job:
    values = json.loads(text)
    kind = ROLES[role]
    if "film" in values:
        film = values["film"]
        values["film"] = StepFilm(**film) if "seed" in film else Film(**film)
    return kind(**values)


def main() -> None:
    """Do the job that the command line names."""
    try:
        say(_job_of(sys.argv[1], sys.argv[2]).run())
    except PoseloopError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

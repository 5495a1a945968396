"""What a subscriber does with each message, without any I/O: which it wants, what it lost, which pose comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import reduce
from operator import add

from google.protobuf.message import DecodeError

from poseloop.addresses import check_stream
from poseloop.errors import InvalidInputError
from poseloop.losses import Losses, Restart, StreamLedger
from poseloop.messages import pose_from_wire
from poseloop.types import Pose
from poseloop.v1 import poseloop_pb2 as pb

POSE_TOPIC = "pose/"
STATUS_TOPIC = "status"


class PoseInbox:
    """Takes the messages of a subscription and gives its poses.

    Args:
        stream: the one to follow, or None for all.
        latest: keep only the newest pose of each stream that was not asked for yet.
        on_restart: told when a stream's poses begin to come from another session.
    """

    def __init__(
        self, stream: str | None = None, *, latest: bool = False, on_restart: Callable[[Restart], None] | None = None
    ) -> None:
        self._wanted = None if stream is None else f"{POSE_TOPIC}{check_stream(stream)}".encode()
        self._latest = latest
        self._on_restart = on_restart
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._ledgers: dict[bytes, StreamLedger] = {}
        self.restarts: list[Restart] = []
        self.status: pb.ServerStatus | None = None

    @property
    def topics(self) -> list[bytes]:
        """What to subscribe to; the status comes last, so that once it arrives the poses do too."""
        return [self._wanted or POSE_TOPIC.encode(), STATUS_TOPIC.encode()]

    @property
    def is_empty(self) -> bool:
        """Whether no pose waits here."""
        return not self._waiting

    def put(self, parts: Iterable[bytes]) -> None:
        """Take one message of the publisher: ``[topic, payload]``.

        ZeroMQ compares topics by their beginning, so that who asks for ``pose/cam1`` gets ``pose/cam10`` too; here they
        are compared as a whole.

        Raises:
            InvalidInputError: what arrived is no status.
        """
        match list(parts):
            case [topic, payload] if topic == STATUS_TOPIC.encode():
                self.status = _parse_status(payload)
            case [topic, payload] if self.wants(topic):
                if self._latest:
                    self._forget_older(topic)
                self._waiting.append((topic, payload))

    def pop(self) -> Pose | None:
        """Return the next pose, or None where none waits.

        Raises:
            InvalidInputError: what arrived is no pose.
        """
        while self._waiting:
            topic, payload = self._waiting.popleft()
            pose = _parse(payload)
            ledger = self._ledger(topic)
            if ledger.repeats(pose):
                continue
            restart = ledger.note(pose)
            if restart is not None:
                self.restarts.append(restart)
                if self._on_restart is not None:
                    self._on_restart(restart)
            return pose
        return None

    @property
    def losses(self) -> Losses:
        """Frames of all streams that have no pose here, by place."""
        return reduce(add, (ledger.losses for ledger in self._ledgers.values()), Losses())

    @property
    def repeated(self) -> int:
        """Poses of frames that already had one, which were left out."""
        return sum(ledger.repeated for ledger in self._ledgers.values())

    def wants(self, topic: bytes) -> bool:
        """Whether a message of that topic is a pose that was asked for."""
        return topic == self._wanted if self._wanted else topic.startswith(POSE_TOPIC.encode())

    def _forget_older(self, topic: bytes) -> None:
        for waiting in self._waiting:
            if waiting[0] == topic:
                self._waiting.remove(waiting)
                self._ledger(topic).skip()
                return

    def _ledger(self, topic: bytes) -> StreamLedger:
        ledger = self._ledgers.get(topic)
        if ledger is None:
            ledger = self._ledgers[topic] = StreamLedger(topic.decode("ascii", "replace").removeprefix(POSE_TOPIC))
        return ledger


def _parse(payload: bytes) -> Pose:
    try:
        return pose_from_wire(pb.Pose.FromString(payload))
    except (DecodeError, ValueError):
        raise _no_protobuf("pose") from None


def _parse_status(payload: bytes) -> pb.ServerStatus:
    try:
        return pb.ServerStatus.FromString(payload)
    except DecodeError:
        raise _no_protobuf("status") from None


def _no_protobuf(what: str) -> InvalidInputError:
    return InvalidInputError(
        f"What arrives is no {what} in protobuf; is the endpoint the server's JSON one, or another program's?"
    )

"""Takes the frames of one stream out of shared memory, on its model's thread; the call that opened it stays gRPC's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from poseloop import local_frames
from poseloop.clock import now_ns
from poseloop.local import LocalTransportError, memory_at, reclaim, tried
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.refusal import RefusedError, invalid

_log = logging.getLogger(__name__)
# How long an acknowledgement of live frames may wait: for a moment when the thread has nothing better to do, and at
# most. Nothing waits for it but the end of a stream, since newer frames replace older ones here.
_REST_NS = 20_000_000
_LONGEST_NS = 100_000_000
_NEWEST_FRAMES = 2
# Between two looks; more is no number that was counted.
_MOST_GAVE_WAY = 1 << 32

TakeFrame = Callable[[pb.Frame, memoryview, object, int, int], bool]
"""Called with a frame's header, a view of its data, what keeps that memory, when it was received, and how many frames
before it gave way; returns whether the stream has to stand in its model's line."""


def _take_none(*_: object) -> bool:
    return False


def _refuse_none() -> None:
    pass


class LocalFrames:
    """The server's side of one stream's shared memory.

    Attributes:
        name: of the service that the sender opens.
        event: that the sender notifies.
        refusal: why the stream has to end, where a frame could not be taken.
        finished: no more frames are taken than are there now.
        over: the model's thread has taken the last.
    """

    def __init__(
        self, name: str, event: str, queue_frames: int | None, largest_bytes: int, ring: Callable[[], None]
    ) -> None:
        """Make the service; its sender can attach from now on.

        Args:
            name: of the service.
            event: that the sender notifies.
            queue_frames: how many may wait; None for a live stream, where the newest wins.
            largest_bytes: of a message.
            ring: wakes the model's thread.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        self.name = name
        self.event = event
        self.refusal: RefusedError | None = None
        self.finished = False
        self.over = False
        self._ring = ring
        self._most_gave_way = 0 if queue_frames else _MOST_GAVE_WAY
        self._largest_bytes = largest_bytes
        service = local_frames.create_service(name, queue_frames or _NEWEST_FRAMES, newest_wins=queue_frames is None)
        self._subscriber: Any = service.subscriber_builder().create()
        self._done = threading.Event()
        self._next_number = 0
        self._owes = False  # an acknowledgement
        self._answered_ns = 0
        self._started = False

    def start(self, take: TakeFrame, acknowledge: Callable[[], None] | None, refuse: Callable[[], object]) -> None:
        """Tell what to do with frames, before the model's thread looks for the first time; it calls all of these.

        Args:
            take: for each frame.
            acknowledge: says that the latest frame was received; None in a lossless stream, where the pose does.
            refuse: when `take` refused a frame; no further one is taken.
        """
        self._take, self._acknowledge, self._refuse = take, acknowledge, refuse
        self._started = True

    def take_in(self) -> bool:
        """Take what has arrived; on the model's thread. Returns whether the stream has to stand in line."""
        is_last = self.finished
        fills = False
        try:
            while (sample := tried(self._subscriber.receive, "read")) is not None:
                fills = self._take_one(sample) or fills
        except LocalTransportError as error:
            is_last = self._end(RefusedError(grpc.StatusCode.INTERNAL, "", f"{error}; send over gRPC."))
        except RefusedError as refusal:
            is_last = self._end(refusal)
        except Exception:  # a defect of ours, which must not end the other streams of the model
            _log.exception("a frame in shared memory %s could not be taken", self.name)
            is_last = self._end(RefusedError(grpc.StatusCode.INTERNAL, "", "a frame could not be taken; see the log."))
        if is_last:
            self.abandon()
        elif self._owes and now_ns() - self._answered_ns > _LONGEST_NS:
            self._answer()
        return fills

    def rest(self) -> None:
        """Do what can wait until the model's thread has nothing else to do."""
        if self._owes and now_ns() - self._answered_ns > _REST_NS:
            self._answer()

    def finish(self) -> None:
        """Take what is there and no more; waits until that is done, off the event loop and the model's thread."""
        self.finished = True
        if self._started:
            self._ring()
            self._done.wait()

    def abandon(self) -> None:
        """Take no more, and let whoever waits for the last frame go on; on the model's thread."""
        self.over = True
        if self._owes:
            self._answer()
        self._done.set()

    def close(self) -> None:
        """Let go of the shared memory, also of what a sender that was killed has left there."""
        # What calls us holds us, and with us the memory of the last frame.
        self._take, self._acknowledge, self._refuse = _take_none, None, _refuse_none
        self._subscriber.delete()
        reclaim()

    def _end(self, refusal: RefusedError) -> bool:
        """Take no further frame; returns true."""
        # Its traceback would hold the memory of the frame.
        self.refusal = refusal.with_traceback(None)
        self.refusal.__context__ = self.refusal.__cause__ = None
        self._refuse()
        return True

    def _take_one(self, sample: Any) -> bool:
        received_ns = now_ns()
        length = sample.header.number_of_elements
        if length > self._largest_bytes:
            raise invalid(
                "data", f"a message of {length} bytes is larger than the {self._largest_bytes} that are taken."
            )
        try:
            number, header, data = local_frames.unpack(memory_at(sample.payload_ptr, length))
        except (DecodeError, ValueError):
            raise invalid("message", "what lies in shared memory is no poseloop.v1.Frame; send one.") from None
        gave_way = number - self._next_number
        if not 0 <= gave_way <= self._most_gave_way:
            raise invalid("message", f"message number {number} in shared memory follows {self._next_number - 1}.")
        self._next_number = number + 1
        self._owes = self._acknowledge is not None
        return self._take(header, data, sample, received_ns, gave_way)

    def _answer(self) -> None:
        self._owes = False
        self._answered_ns = now_ns()
        if self._acknowledge is not None:
            self._acknowledge()

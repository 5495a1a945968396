"""Takes the frames of one stream out of shared memory, on a thread of its own; the call that opened it stays gRPC's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

from google.protobuf.message import DecodeError
from poseloop import local_frames
from poseloop.clock import now_ns
from poseloop.local import memory_at, reclaim
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.refusal import RefusedError, invalid

# A notification ends the wait; this only bounds it, should one be lost.
_SLICE_MS = 100

TakeFrame = Callable[[pb.Frame, memoryview, object, int], None]
"""Called with a frame's header, a view of its data, what keeps that memory, and when it was received."""


class LocalFrames:
    """The server's side of one stream's shared memory.

    Attributes:
        name: of the service that the sender opens.
        refusal: why the stream has to end, where a frame could not be taken.
        finished: no more frames are taken.
    """

    def __init__(self, name: str, queue_frames: int) -> None:
        """Make the service; its sender can attach from now on.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        self.name = name
        self.refusal: RefusedError | None = None
        services = local_frames.FrameServices.create(name, queue_frames)
        self._subscriber: Any = services.frames.subscriber_builder().create()
        self._listener: Any = services.event.listener_builder().create()
        self._notifier: Any = services.event.notifier_builder().create()
        self._thread: threading.Thread | None = None
        self.finished = False

    def start(self, take: TakeFrame, refuse: Callable[[], object]) -> Self:
        """Begin to take frames.

        Args:
            take: called on this thread for each.
            refuse: called on this thread when `take` refused one; no further is taken.
        """
        self._thread = threading.Thread(target=self._run, args=(take, refuse), name=f"frames {self.name}", daemon=True)
        self._thread.start()
        return self

    def finish(self) -> None:
        """Take what is there and no more; waits until that is done."""
        self.finished = True
        if self._thread is not None and self._thread.is_alive():
            self._notifier.notify()
            self._thread.join()

    def close(self) -> None:
        """Take no more, and let go of the shared memory, also of what a sender that was killed has left there."""
        self.finish()
        for port in (self._subscriber, self._listener, self._notifier):
            port.delete()
        reclaim()

    def _run(self, take: TakeFrame, refuse: Callable[[], object]) -> None:
        import iceoryx2 as iox2

        slice_ = iox2.Duration.from_millis(_SLICE_MS)
        try:
            while not self.finished:
                self._listener.timed_wait(slice_)
                self._take_all(take)
            self._take_all(take)
        except RefusedError as refusal:
            self.refusal = refusal
            refuse()

    def _take_all(self, take: TakeFrame) -> None:
        while (sample := self._subscriber.receive()) is not None:
            received_ns = now_ns()
            try:
                header, data = local_frames.unpack(memory_at(sample.payload_ptr, sample.header.number_of_elements))
            except (DecodeError, ValueError):
                raise invalid("message", "what lies in shared memory is no poseloop.v1.Frame; send one.") from None
            take(header, data, sample, received_ns)

"""Keeps a sender warm: shortly before a live stream's next frame is due, a small one goes its way, but leaves nowhere.

It goes through all that is Python of ours, up to where frames are handed to gRPC or iceoryx2, and is never compressed.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poseloop.beat import Beat
from poseloop.clock import OffsetEstimator, now_ns
from poseloop.flow import Flow
from poseloop.link import Link
from poseloop.transport import Connection
from poseloop.types import Frame, PixelFormat, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import FrameData, Leaving

log = logging.getLogger(__name__)

_SIDE: Final = 64
_STAYS_WARM_NS: Final = 2_000_000
_REST_S: Final = 0.1  # until it is looked again whether the next frame can be foreseen


class Warmer:
    """A thread that warms up for each frame of a flow.

    It shares nothing with them but the code: its frames, counters, locks and memory are its own.

    Args:
        flow: of the frames.
        link: that brings the connections they go to.
        stream: names the thread.

    Attributes:
        times: how often it has warmed up.
    """

    _latest_ns = 0  # when any of this process's streams was rehearsed: it does for all of them

    def __init__(self, flow: Flow, link: Link, stream: str) -> None:
        self.times = 0
        self._flow = flow
        self._link = link
        self._over = threading.Event()
        self._rehearsal: _Rehearsal | None = None
        self._thread = threading.Thread(target=self._run, name=f"poseloop-{stream}-warm", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._flow.over and not self._over.wait(self._rest_s(self._flow.beat)):
                pass
        except Exception:  # a defect of ours: frames go on as they did, only colder
            log.exception("what keeps a stream warm failed")

    def _rest_s(self, beat: Beat) -> float:
        """Warm up where that is due, and return how long to rest."""
        due_ns, asked_ns = beat.warm_up_ns(now_ns()), now_ns()
        if due_ns is None:
            return _REST_S
        if due_ns > asked_ns:
            return (due_ns - asked_ns) / 1e9
        if asked_ns - Warmer._latest_ns > _STAYS_WARM_NS:
            self._rehearse()
            Warmer._latest_ns = now_ns()
        beat.warmed_up(max(due_ns, now_ns()))
        return 0.0

    def _rehearse(self) -> None:
        connection, pixel_format = self._link.connection, self._flow.latest_format
        if connection is None or pixel_format is None:
            return
        if self._rehearsal is None or self._rehearsal.connection is not connection:
            self._rehearsal = _Rehearsal(connection, self._flow)
        self._rehearsal.run(pixel_format)
        self.times += 1


class _Rehearsal:
    """Frames on the way to one connection that do not leave."""

    def __init__(self, connection: Connection, flow: Flow) -> None:
        self.connection = connection
        self.newest_wins = connection.newest_wins
        self._shadow = Flow("", Policy.LIVE)
        clock = OffsetEstimator() if flow.estimates_clock else None
        self._shadow.opened(self, 1, clock, in_gray=flow.in_gray)

    def run(self, pixel_format: PixelFormat) -> None:
        """Send a frame of that format, and answer it."""
        before_ns = now_ns()
        sequence = self._shadow.push(_frame(pixel_format, before_ns))
        self._shadow.answered(sequence, before_ns, before_ns, pb.StreamCounters())

    def send(self, header: pb.Frame, frame: Leaving) -> None:
        """Take a frame as the connection would."""
        self.connection.rehearse(header, frame)

    def finish(self) -> None:
        """Do nothing; as of `GrpcConnection`."""

    close = finish


def _frame(pixel_format: PixelFormat, captured_ns: int) -> FrameData:
    if pixel_format is PixelFormat.JPEG:
        return FrameData(np.zeros(_SIDE, np.uint8), _SIDE, _SIDE, pixel_format, captured_ns)
    return FrameData.of(Frame(_GRAY if pixel_format is PixelFormat.GRAY8 else _COLORS, captured_ns, pixel_format))


_GRAY: Final[NDArray[np.uint8]] = np.zeros((_SIDE, _SIDE), np.uint8)
_COLORS: Final[NDArray[np.uint8]] = np.zeros((_SIDE, _SIDE, 3), np.uint8)

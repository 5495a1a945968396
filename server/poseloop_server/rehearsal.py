"""A stream without a camera, whose frames keep a model's thread warm: they go a frame's way, but to nobody."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import numpy as np
from poseloop import local_frames
from poseloop.clock import now_ns
from poseloop.types import Policy
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.events import Events
from poseloop_server.ingest.wire_frames import FrameGate
from poseloop_server.mailbox import LiveMailbox
from poseloop_server.member import Member
from poseloop_server.model import SMALL_SIDE, PoseModel
from poseloop_server.stream import Stream, StreamIdentity

_PIXELS: Final = SMALL_SIDE * SMALL_SIDE
_IDENTITY: Final = StreamIdentity("rehearsal", 0, "", Policy.LIVE, return_poses=False, peer="")


class Rehearsal:
    """Gives small frames; used by the model's thread.

    Attributes:
        member: the stream that stands in line for them.
        times: how many there were.
    """

    def __init__(self, model: PoseModel, events: Events, server_id: str) -> None:
        # Live frames that nobody waits for are answered without the loop, which it therefore does not need.
        no_loop = cast(asyncio.AbstractEventLoop, None)
        stream = Stream(_IDENTITY, LiveMailbox(), no_loop, lambda _: None)
        self.member = Member(stream, model, _Nowhere(), events, server_id)
        self.times = 0
        self._gate = FrameGate(_PIXELS, None, None)
        self._header = pb.Frame(width=SMALL_SIDE, height=SMALL_SIDE)
        is_gray = model.spec.color == "gray"
        self._header.format = pb.PIXEL_FORMAT_GRAY8 if is_gray else pb.PIXEL_FORMAT_RGB8
        self._data = np.zeros(_PIXELS * model.spec.channels, np.uint8).tobytes()

    def put(self) -> None:
        """Put the next frame into the member's mailbox, as if it came out of shared memory."""
        header = self._header
        header.sequence = self.times
        header.captured_client_ns = now_ns()
        header.client.sent = self.times + 1
        fields = header.SerializeToString()
        offset = local_frames.header_room(len(fields))
        memory = memoryview(bytearray(offset + len(self._data)))
        local_frames.write_header(memory, self.times, fields, offset, len(self._data))
        _, header, data = local_frames.unpack(memory)
        frame, client = self._gate.admit_frame(header, data, now_ns(), memory)
        self.member.stream.put(frame, client)
        self.times += 1


class _Nowhere:
    """A sink that passes nothing on."""

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

"""Frames through shared memory, between a sender and a server on one host.

The stream is opened, acknowledged and ended over gRPC as ever; here only frames travel. A message is a `Frame` of the
wire contract without its data, then the data, at a place that suits vector instructions::

    bytes 0-7    number of the message, from 0, little-endian
    bytes 8-11   length of the serialised Frame
    bytes 12-15  offset of the data
    bytes 16-23  length of the data
    from byte 24 the serialised Frame
    from offset  the data

The server makes the service and the sender opens it, and an event of the server's beside it, which is notified of each
frame. In a live stream a frame that the server has not taken yet gives way to a newer one, and the server sees by the
numbers how many did.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, Final

import numpy as np

from poseloop.local import LetGoError, LocalTransportError, byte_messages, events, memory_at, require_room, tried
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import Leaving

_PREFIX: Final = struct.Struct("<QIIQ")
_ALIGNMENT: Final = 64
# Sequences and times grow by a byte now and then: the header's room is always this or more.
_HEADER_ROOM: Final = 192
# The memory grows to what the frames need; this is where it begins.
_FIRST_BYTES: Final = 1 << 16


def service_name(server_id: str, session_id: int) -> str:
    """Return the name of one stream's service."""
    return f"poseloop/{server_id}/{session_id}"


def create_service(name: str, queue_frames: int, *, newest_wins: bool) -> Any:
    """Make a stream's service, on the server.

    Args:
        name: of the service.
        queue_frames: how many wait in the shared memory at most.
        newest_wins: what happens when one more comes: the oldest gives way, or the newest is refused.

    Raises:
        LocalTransportError: the host's shared memory can't be used.
    """
    frames = (
        byte_messages(name)
        .max_publishers(1)
        .max_subscribers(1)
        .history_size(0)
        .enable_safe_overflow(newest_wins)
        .subscriber_max_buffer_size(queue_frames)
        # Looked at: one in the mailbox, one in inference, and those on their way in between.
        .subscriber_max_borrowed_samples(2 * queue_frames + 4)
    )
    return tried(frames.create, "made")


class FramePort:
    """The sender's side of one stream; one thread may close it while another one sends."""

    def __init__(self, name: str, event: str) -> None:
        """Attach to the service and the event of these names.

        Raises:
            LocalTransportError: it is not there for this process.
        """
        import iceoryx2 as iox2

        service = tried(byte_messages(name).open, "opened")
        publisher = (
            service.publisher_builder()
            .initial_max_slice_len(_FIRST_BYTES)
            .max_loaned_samples(2)
            .allocation_strategy(iox2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iox2.BackpressureStrategy.DiscardData)
        )
        self._publisher = tried(publisher.create, "opened")
        self._notifier = tried(tried(events(event).open, "opened").notifier_builder().create, "opened")
        limits = service.static_config
        # Waiting, looked at by the server, and taken here for what comes next.
        self._slots = limits.subscriber_max_buffer_size + limits.subscriber_max_borrowed_samples + 2
        self._lock = threading.Lock()
        self._closed = False
        self._checked_bytes = 0
        self._number = 0
        self._next: _Slot | None = None  # for the next frame, taken while there is time

    def send(self, header: pb.Frame, frame: Leaving) -> None:
        """Write one frame into the shared memory and tell the server.

        Raises:
            NoRoomError: the host's shared memory is too small for frames of this size.
            LetGoError: the server no longer takes frames.
            LocalTransportError: the server is gone, or the port is closed.
        """
        fields = header.SerializeToString()
        with self._lock:
            if self._closed:
                raise LocalTransportError("the connection through shared memory is closed")
            self._send(fields, frame)

    def rehearse(self, header: pb.Frame, frame: Leaving) -> None:
        """Write a small frame as `send` would, into memory that nobody reads; another thread may send meanwhile."""
        fields = header.SerializeToString()
        memory = memoryview(bytearray(header_room(len(fields)) + frame.nbytes))
        offset = len(memory) - frame.nbytes
        write_header(memory, 0, fields, offset, frame.nbytes)
        frame.write_to(np.frombuffer(memory[offset:], np.uint8))

    def _send(self, fields: bytes, frame: Leaving) -> None:
        sizes = header_room(len(fields)), frame.nbytes
        try:
            slot, self._next = self._next, None
            if slot is None or slot.sizes != sizes:
                self._check_room(sum(sizes) + _ALIGNMENT - 1)
                slot = _Slot(self._publisher, *sizes)
            write_header(slot.header, self._number, fields, slot.offset, frame.nbytes)
            frame.write_to(slot.data)
            if slot.sample.assume_init().send() != 1:
                raise LetGoError("the server no longer takes frames from shared memory")
            self._number += 1
            self._notifier.notify()
            self._next = _Slot(self._publisher, *sizes)
        except LocalTransportError:
            raise
        except Exception as error:  # iceoryx2's errors have no common base but this one
            raise LocalTransportError(f"a frame can't be left in shared memory: {error}") from None

    def _check_room(self, size: int) -> None:
        if size > self._checked_bytes:
            require_room(self._slots, size)
            self._checked_bytes = size

    def close(self) -> None:
        """Let go of the shared memory."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._next = None
                self._publisher.delete()
                self._notifier.delete()


class _Slot:
    """Memory for one message, taken from the publisher.

    All that can be known of it before there is a frame is found out here: between two frames a core has time, and after
    a frame has come each of these lines is cold.

    Attributes:
        sizes: bytes kept free for all but the data, and bytes of the data.
        offset: of the data.
    """

    __slots__ = ("data", "header", "offset", "sample", "sizes")

    def __init__(self, publisher: Any, header_bytes: int, data_bytes: int) -> None:
        self.sizes = header_bytes, data_bytes
        self.sample: Any = publisher.loan_slice_uninit(header_bytes + _ALIGNMENT - 1 + data_bytes)
        address: int = self.sample.payload_ptr
        self.offset = header_bytes + -(address + header_bytes) % _ALIGNMENT
        self.header = memory_at(address, self.offset)
        self.data = np.frombuffer(memory_at(address + self.offset, data_bytes), np.uint8)


def header_room(fields_bytes: int) -> int:
    """Return how many bytes are kept free for all of a message but its data, whose serialised header is that long."""
    return max(_HEADER_ROOM, _PREFIX.size + fields_bytes)


def write_header(memory: memoryview, number: int, fields: bytes, offset: int, data_bytes: int) -> None:
    """Write all of a message but its data, to the beginning of its memory."""
    written = _PREFIX.pack(number, len(fields), offset, data_bytes) + fields
    memory[: len(written)] = written


def unpack(view: memoryview) -> tuple[int, pb.Frame, memoryview]:
    """Return the number of a message, its header, and a view of its data.

    Raises:
        ValueError: it is no such message.
        google.protobuf.message.DecodeError: likewise.
    """
    number, length, offset, data = _PREFIX.unpack_from(view) if len(view) >= _PREFIX.size else (0, 0, 0, 0)
    if not _PREFIX.size <= _PREFIX.size + length <= offset <= offset + data <= len(view):
        raise ValueError(f"{len(view)} bytes hold no frame")
    header = pb.Frame.FromString(bytes(view[_PREFIX.size : _PREFIX.size + length]))
    return number, header, view[offset : offset + data]

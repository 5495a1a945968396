"""Frames through shared memory, between a sender and a server on one host.

The stream is opened, acknowledged and ended over gRPC as ever; here only frames travel. A message is a `Frame` of the
wire contract without its data, then the data, at an offset that suits vector instructions::

    bytes 0-3    length of the serialised Frame, little-endian
    bytes 4-7    offset of the data
    from byte 8  the serialised Frame
    from offset  the data

The server makes the service and the sender opens it.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from poseloop.local import LocalTransportError, byte_messages, events, memory_at, tried
from poseloop.v1 import poseloop_pb2 as pb

_PREFIX: Final = struct.Struct("<II")
_ALIGNMENT: Final = 64
# Sequences and times grow by a byte now and then: the header's room is always this or more.
_HEADER_ROOM: Final = 192
# The memory grows to what the frames need; this is where it begins.
_FIRST_BYTES: Final = 1 << 16


def service_name(server_id: str, session_id: int) -> str:
    """Return the name of one stream's service."""
    return f"poseloop/{server_id}/{session_id}"


@dataclass(frozen=True, slots=True)
class FrameServices:
    """The two services of one stream: its frames, and the event that says that there is one."""

    frames: Any
    event: Any

    @classmethod
    def create(cls, name: str, queue_frames: int) -> Self:
        """Make them; ``queue_frames`` wait at most in the shared memory, and twice as many may be looked at.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        import iceoryx2 as iox2

        frames = (
            byte_messages(name)
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(queue_frames)
            .subscriber_max_borrowed_samples(2 * queue_frames + 2)
            .payload_alignment(iox2.Alignment.new(_ALIGNMENT))
        )
        return cls(tried(frames.create, "made"), tried(events(name).create, "made"))

    @classmethod
    def open(cls, name: str) -> Self:
        """Open what the server has made.

        Raises:
            LocalTransportError: it is not there for this process: another user's, or in another container.
        """
        return cls(tried(byte_messages(name).open, "opened"), tried(events(name).open, "opened"))


class FramePort:
    """The sender's side of one stream."""

    def __init__(self, name: str) -> None:
        """Attach to the service of that name.

        Raises:
            LocalTransportError: it is not there for this process.
        """
        import iceoryx2 as iox2

        services = FrameServices.open(name)
        publisher = (
            services.frames.publisher_builder()
            .initial_max_slice_len(_FIRST_BYTES)
            .max_loaned_samples(2)
            .allocation_strategy(iox2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iox2.BackpressureStrategy.DiscardData)
        )
        self._publisher = tried(publisher.create, "opened")
        self._notifier = tried(services.event.notifier_builder().create, "opened")
        self._next: Any = None  # memory for the next frame, taken while there is time
        self._next_bytes = 0

    def send(self, header: pb.Frame, data: memoryview) -> None:
        """Copy one frame into the shared memory and tell the server.

        Raises:
            LocalTransportError: it has no room, or the server is gone.
        """
        fields = header.SerializeToString()
        offset = data_offset(len(fields))
        size = offset + len(data)
        try:
            sample, self._next = self._next, None
            if sample is None or self._next_bytes != size:
                sample = self._publisher.loan_slice_uninit(size)
            address = sample.payload_ptr
            write_header(address, fields, offset)
            np.copyto(np.frombuffer(memory_at(address + offset, len(data)), np.uint8), np.frombuffer(data, np.uint8))
            if sample.assume_init().send() != 1:
                raise LocalTransportError("the server no longer takes frames from shared memory")
            self._notifier.notify()
            self._next, self._next_bytes = self._publisher.loan_slice_uninit(size), size
        except LocalTransportError:
            raise
        except Exception as error:  # iceoryx2's errors have no common base but this one
            raise LocalTransportError(f"a frame can't be left in shared memory: {error}") from None

    def close(self) -> None:
        """Let go of the shared memory."""
        self._next = None
        self._publisher.delete()
        self._notifier.delete()

    def __enter__(self) -> Self:
        """Return the port."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def data_offset(header_bytes: int) -> int:
    """Return where the data of a message begins whose serialised header is that long."""
    return max(_HEADER_ROOM, -(-(_PREFIX.size + header_bytes) // _ALIGNMENT) * _ALIGNMENT)


def write_header(address: int, fields: bytes, offset: int) -> None:
    """Write all of a message but its data."""
    ctypes.memmove(address, _PREFIX.pack(len(fields), offset) + fields, _PREFIX.size + len(fields))


def unpack(view: memoryview) -> tuple[pb.Frame, memoryview]:
    """Return the header of a message and a view of its data.

    Raises:
        ValueError: it is no such message.
        google.protobuf.message.DecodeError: likewise.
    """
    length, offset = _PREFIX.unpack_from(view) if len(view) >= _PREFIX.size else (0, 0)
    if not _PREFIX.size <= _PREFIX.size + length <= offset <= len(view):
        raise ValueError(f"{len(view)} bytes hold no frame")
    return pb.Frame.FromString(bytes(view[_PREFIX.size : _PREFIX.size + length])), view[offset:]

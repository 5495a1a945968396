"""Frames through shared memory, between a sender and a server on one host: iceoryx2's publish-subscribe.

The stream is opened, acknowledged and ended over gRPC as ever; here only frames travel. A message is a `Frame` of the
wire contract without its data, then the data, at an offset that suits vector instructions::

    bytes 0-3    length of the serialised Frame, little-endian
    bytes 4-7    offset of the data
    from byte 8  the serialised Frame
    from offset  the data

The server makes the service and the sender opens it. Its files are readable by their owner alone, so only a process of
the same user can attach. What a process leaves behind that was killed is reclaimed when the next one starts or ends.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import stat
import struct
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from poseloop.errors import PoseloopError
from poseloop.v1 import poseloop_pb2 as pb

_PREFIX: Final = struct.Struct("<II")
_ALIGNMENT: Final = 64
# The memory grows to what the frames need; this is where it begins.
_FIRST_BYTES: Final = 1 << 16


class LocalTransportError(PoseloopError):
    """Shared memory was asked for and can't be had, or the other side of it is gone."""


def is_installed() -> bool:
    """Whether iceoryx2 is here."""
    return importlib.util.find_spec("iceoryx2") is not None


def service_name(server_id: str, session_id: int) -> str:
    """Return the name of one stream's service."""
    return f"poseloop/{server_id}/{session_id}"


@dataclass(frozen=True, slots=True)
class Services:
    """The two services of one stream: its frames, and the event that says that there is one."""

    frames: Any
    event: Any

    @classmethod
    def create(cls, name: str, queue_frames: int) -> Services:
        """Make them; ``queue_frames`` wait at most in the shared memory, and twice as many may be looked at.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        import iceoryx2 as iox2

        builder = (
            _node()
            .service_builder(iox2.ServiceName.new(name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(queue_frames)
            .subscriber_max_borrowed_samples(2 * queue_frames + 2)
            .payload_alignment(iox2.Alignment.new(_ALIGNMENT))
        )
        event = _node().service_builder(iox2.ServiceName.new(name)).event()
        return cls(_tried(builder.create, "made"), _tried(event.create, "made"))

    @classmethod
    def open(cls, name: str) -> Services:
        """Open what the server has made.

        Raises:
            LocalTransportError: it is not there for this process: another user's, or in another container.
        """
        import iceoryx2 as iox2

        named = iox2.ServiceName.new(name)
        frames = _node().service_builder(named).publish_subscribe(iox2.Slice[ctypes.c_uint8])
        event = _node().service_builder(named).event()
        return cls(_tried(frames.open, "opened"), _tried(event.open, "opened"))


class FramePort:
    """The sender's side of one stream."""

    def __init__(self, name: str) -> None:
        """Attach to the service of that name.

        Raises:
            LocalTransportError: it is not there for this process.
        """
        import iceoryx2 as iox2

        services = Services.open(name)
        publisher = (
            services.frames.publisher_builder()
            .initial_max_slice_len(_FIRST_BYTES)
            .allocation_strategy(iox2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iox2.BackpressureStrategy.DiscardData)
        )
        self._publisher = _tried(publisher.create, "opened")
        self._notifier = _tried(services.event.notifier_builder().create, "opened")

    def send(self, header: pb.Frame, data: memoryview) -> None:
        """Copy one frame into the shared memory and tell the server.

        Raises:
            LocalTransportError: it has no room, or the server is gone.
        """
        try:
            sample = self._publisher.loan_slice_uninit(packed_size(header, len(data)))
            pack(header, data, sample.payload().as_memory_view().cast("B"))
            if sample.assume_init().send() != 1:
                raise LocalTransportError("the server no longer takes frames from shared memory")
            self._notifier.notify()
        except LocalTransportError:
            raise
        except Exception as error:  # iceoryx2's errors have no common base but this one
            raise LocalTransportError(f"a frame can't be left in shared memory: {error}") from None

    def close(self) -> None:
        """Let go of the shared memory."""
        self._publisher.delete()
        self._notifier.delete()

    def __enter__(self) -> Self:
        """Return the port."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def packed_size(header: pb.Frame, data_bytes: int) -> int:
    """Return how many bytes a message takes."""
    return _offset(header.ByteSize()) + data_bytes


def pack(header: pb.Frame, data: memoryview, into: memoryview) -> None:
    """Write a message into memory of its `packed_size`."""
    fields = header.SerializeToString()
    offset = _offset(len(fields))
    into[: _PREFIX.size + len(fields)] = _PREFIX.pack(len(fields), offset) + fields
    np.copyto(np.frombuffer(into, np.uint8, offset=offset), np.frombuffer(data, np.uint8))


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


def _offset(header_bytes: int) -> int:
    return -(-(_PREFIX.size + header_bytes) // _ALIGNMENT) * _ALIGNMENT


def reclaim() -> None:
    """Take back what processes that were killed have left in shared memory."""
    _node().try_cleanup_dead_nodes()


@cache
def _node() -> Any:
    """Return this process's place among the others of its user.

    Raises:
        LocalTransportError: the host's shared memory can't be used.
    """
    import iceoryx2 as iox2

    iox2.set_log_level(iox2.LogLevel.Fatal)  # what fails is raised, and said by us
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(str(meeting_folder()))
    builder = (
        iox2.NodeBuilder.new()
        .name(iox2.NodeName.new("poseloop"))
        .config(config)
        .signal_handling_mode(iox2.SignalHandlingMode.Disabled)
    )
    return _tried(lambda: builder.create(iox2.ServiceType.Ipc), "used")


def meeting_folder() -> Path:
    """Return where this user's processes find each other; another user's folder could not be entered."""
    if not hasattr(os, "getuid"):
        return Path(tempfile.gettempdir()) / "poseloop"  # of the user's own already
    folder = Path(tempfile.gettempdir()) / f"poseloop-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise LocalTransportError(f"shared memory can't be used here: {folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LocalTransportError(
            f"shared memory can't be used here: others can write to {folder}; remove it, or set TMPDIR to another place"
        )
    return folder


def _tried(make: Any, what: str) -> Any:
    try:
        return make()
    except Exception as error:  # iceoryx2's errors have no common base but this one
        raise LocalTransportError(f"shared memory can't be {what} here: {type(error).__name__} {error}") from None

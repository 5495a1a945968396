"""This host's shared memory, made by iceoryx2: where its processes meet, and how its bytes are read and written.

Frames go through it from a sender to a server (`local_frames`), and poses from a server to subscribers (`local_poses`).
Its files are readable by their owner alone, so only a process of the same user can attach. What a process leaves behind
that was killed is reclaimed when the next one starts or ends.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

from poseloop.errors import PoseloopError

_MEMORY: Final = Path("/dev/shm")


class LocalTransportError(PoseloopError):
    """Shared memory was asked for and can't be had, or the other side of it is gone."""


class LetGoError(LocalTransportError):
    """The other side no longer takes anything from the shared memory."""


class NoRoomError(LocalTransportError):
    """The host's shared memory is too small."""


def is_installed() -> bool:
    """Whether iceoryx2 is here."""
    return importlib.util.find_spec("iceoryx2") is not None


def byte_messages(name: str) -> Any:
    """Return the builder of a publish-subscribe service whose messages are bytes."""
    import iceoryx2 as iox2

    return _node().service_builder(iox2.ServiceName.new(name)).publish_subscribe(iox2.Slice[ctypes.c_uint8])


def events(name: str) -> Any:
    """Return the builder of an event service: one side notifies, the other waits for it."""
    import iceoryx2 as iox2

    return _node().service_builder(iox2.ServiceName.new(name)).event()


def memory_at(address: int, length: int) -> memoryview:
    """Return a view of bytes in shared memory; whoever uses it keeps the sample that they belong to.

    iceoryx2's own view makes a new type for each length, which on a core that has been idle takes 0.03 ms.
    """
    return memoryview(_array_of(length).from_address(address)).cast("B")


@lru_cache(64)
def _array_of(length: int) -> type[ctypes.Array[ctypes.c_uint8]]:
    return ctypes.c_uint8 * length


def wait_for(listener: Any, seconds: float) -> None:
    """Wait until an event is notified, or for so long; a signal may end the wait early."""
    import iceoryx2 as iox2

    with suppress(iox2.ListenerWaitError):  # the process was stopped and continued
        listener.timed_wait(iox2.Duration.from_nanos(max(0, int(seconds * 1e9))))


def require_room(slots: int, slot_bytes: int) -> None:
    """Check that the host's shared memory holds so many messages of that size, before any is written.

    Linux takes the memory when it is written to, and ends the process where there is none left; a container has 64 MB
    unless more were asked for.

    Raises:
        NoRoomError: it does not.
    """
    if not _MEMORY.is_dir():
        return
    status = os.statvfs(_MEMORY)
    free, needed = status.f_bavail * status.f_frsize, slots * (1 << (slot_bytes - 1).bit_length())
    if needed > free:
        raise NoRoomError(
            f"{slots} messages of {slot_bytes} bytes need {needed >> 20} MB of shared memory, and {_MEMORY} has "
            f"{free >> 20} MB left; give it more, as with docker's --shm-size"
        )


def tried(make: Callable[[], Any], what: str) -> Any:
    """Return what ``make`` returns.

    Raises:
        LocalTransportError: it failed; shared memory can't be ``what`` here.
    """
    try:
        return make()
    except Exception as error:  # iceoryx2's errors have no common base but this one
        raise LocalTransportError(f"shared memory can't be {what} here: {type(error).__name__} {error}") from None


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
    folder = meeting_folder()

    def create() -> Any:
        config = iox2.config.default()
        config.global_cfg.root_path = iox2.Path.new(str(folder))  # which takes neither every letter nor every length
        builder = iox2.NodeBuilder.new().name(iox2.NodeName.new("poseloop")).config(config)
        return builder.signal_handling_mode(iox2.SignalHandlingMode.Disabled).create(iox2.ServiceType.Ipc)

    return tried(create, f"used with its files in {folder}")


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

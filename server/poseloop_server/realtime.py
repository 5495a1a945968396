"""What the operating system can do against interruptions: real-time threads and locked memory. Only Linux has both.

Each is asked for by the user; where the system refuses, the sentence says which right or limit is missing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poseloop.errors import PoseloopError

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # MCL_* of <sys/mman.h>
_CAP_IPC_LOCK = 14


class RefusedBySystemError(PoseloopError):
    """The operating system does not let this process do what it was asked to."""


@contextmanager
def threads_at(priority: int) -> Iterator[None]:
    """Let threads that are started within have this real-time priority; 0: the ordinary one.

    A thread inherits the policy of the one that starts it, so this reaches ONNX Runtime's own threads too.

    Raises:
        RefusedBySystemError: this system, or this process, can't have it.
    """
    if priority == 0:
        yield
        return
    if sys.platform != "linux":
        raise RefusedBySystemError("real-time threads (--realtime) need Linux; start the server without.")
    policy, before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        raise RefusedBySystemError(_why_not_realtime(priority)) from None
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, before)


def leave() -> None:
    """Give the calling thread the ordinary priority, whatever it inherited."""
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _why_not_realtime(priority: int) -> str:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return (
        f"real-time priority {priority} (--realtime) is not allowed: this process may have up to {limit}; it needs the "
        f"capability CAP_SYS_NICE, or the limit rtprio (`ulimit -r`) raised to {priority}."
    )


def lock_memory() -> None:
    """Keep every page that is in use now, or comes into use later, in memory.

    Raises:
        RefusedBySystemError: this system, or this process, can't have it.
    """
    if sys.platform != "linux":
        raise RefusedBySystemError("locking memory (--lock-memory) needs Linux; start the server without.")
    # A limit that suffices today would make a later allocation fail in the middle of an experiment.
    if not _may_lock_any_amount():
        raise RefusedBySystemError(_why_not_locked("the limit is too small for a server that runs on"))
    library = ctypes.CDLL(None, use_errno=True)
    # On fault: pages that nobody has touched, such as the most of each thread's stack, do not take memory.
    if library.mlockall(_CURRENT | _FUTURE | _ON_FAULT) != 0:
        raise RefusedBySystemError(_why_not_locked(os.strerror(ctypes.get_errno())))


def _may_lock_any_amount() -> bool:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit == resource.RLIM_INFINITY:
        return True
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_IPC_LOCK & 1)


def _why_not_locked(reason: str) -> str:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    allowed = "any amount" if limit == resource.RLIM_INFINITY else f"{limit >> 10} KiB"
    return (
        f"memory can't be locked (--lock-memory): {reason} (this process may lock {allowed}); it needs the capability "
        "CAP_IPC_LOCK, or the limit memlock (`ulimit -l`) raised to unlimited."
    )

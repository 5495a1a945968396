"""Which of gRPC's own threads a server reads its sockets with.

Since gRPC 1.80 a pool of four or more threads reads, its event engine, and hands what came to the thread that waits for
it; before, that thread read for itself. The pool costs a frame one more thread to wake, and starts another thread for
good whenever all of its own happen to be busy (docs/performance.md).
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_VARIABLE: Final = "GRPC_EXPERIMENTS"
_WITHOUT_POOL: Final = "-event_engine_listener"
# The releases that have the pool and can be asked to do without; of a name that it no longer knows gRPC complains.
_SINCE, _BEFORE = (1, 80), (1, 86)


def read_on_the_waiting_thread() -> None:
    """Let a server in this process read as it did before gRPC 1.80. For programs of our own, before they import gRPC.

    Does nothing but on Linux, where it was measured, and leaves alone what the user set; a client reads as ever.
    """
    if sys.platform == "linux" and can_be_asked(_release()):
        os.environ.setdefault(_VARIABLE, _WITHOUT_POOL)


def can_be_asked(release: str) -> bool:
    """Return whether this release of gRPC has the pool and can be asked to do without; False for what is no release."""
    parts = release.split(".")
    try:
        return _SINCE <= (int(parts[0]), int(parts[1])) < _BEFORE
    except (IndexError, ValueError):
        return False


def _release() -> str:
    try:
        return version("grpcio")
    except PackageNotFoundError:
        return ""

"""Whether a process is still the one that opened something.

A forked child has copies of its parent's connections, but not the threads that serve them, and what it writes to shared
memory or a socket goes into the middle of what its parent writes.
"""

from __future__ import annotations

import os

from poseloop.errors import InvalidInputError

count = 0
"""How many forks lie between this process and the first that imported this; `os.getpid` takes ten times as long."""


def check(at: int, what: str) -> None:
    """Check that no fork lies between now and when ``count`` was ``at``.

    Raises:
        InvalidInputError: this is a child of the process that opened ``what``.
    """
    if at != count:
        raise InvalidInputError(
            f"{what} was opened by the process that this one was forked from, and can't be used here; open another one "
            "in this process"
        )


def _in_child() -> None:
    global count
    count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

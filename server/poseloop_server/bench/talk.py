"""How a process of a measurement talks with the one that started it: lines of JSON out, lines of text in."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from poseloop.errors import PoseloopError


def say(message: dict[str, Any]) -> None:
    """Write one line of JSON to standard output, at once."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def say_ready_and_wait() -> str:
    """Tell that everything is prepared, and return the line that says go.

    Raises:
        PoseloopError: none comes any more.
    """
    say({"ready": True})
    line = sys.stdin.readline()
    if not line:
        raise PoseloopError("the measurement was called off")
    return line.strip()


class FinalAccounts:
    """What the senders say that was published, once they have ended; heard on a thread of its own.

    The last frame of a stream may have been dropped, so its pose can't be what a subscriber waits for.
    """

    def __init__(self) -> None:
        self.published: dict[str, int] | None = None
        threading.Thread(target=self._listen, name="final accounts", daemon=True).start()

    def all_in(self, received: dict[str, int]) -> bool:
        """Whether as many poses of each stream came in as were published."""
        return self.published is not None and all(
            received.get(stream, 0) >= published for stream, published in self.published.items()
        )

    def _listen(self) -> None:
        line = sys.stdin.readline()
        # Without a line the parent is gone; then nothing is left to wait for.
        self.published = json.loads(line) if line else {}

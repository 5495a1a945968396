"""What became of everything that an output was given."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from poseloop_server.outputs.base import Status


class PoseFate(StrEnum):
    """How a pose that was submitted to an output ended."""

    SENT = "sent"  # handed over
    PASSED_OVER = "passed_over"  # replaced by a newer one of its stream before it was sent
    LOST = "lost"  # the output was not there, or sending it failed


@dataclass(frozen=True, slots=True)
class OutputAccount:
    """The account of one output at one moment.

    Attributes:
        connected: whether the other side was there when last heard of.
        commands: how many ended in which status.
        poses: how many ended in which way.
        disconnections: how often the other side went away.
        problem: the one there is, in a sentence; "" while all is well.
    """

    connected: bool
    commands: Mapping[Status, int]
    poses: Mapping[PoseFate, int]
    disconnections: int
    problem: str


class Ledger:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._commands: Counter[Status] = Counter()
        self._poses: Counter[PoseFate] = Counter()
        self._disconnections = 0

    def command(self, status: Status) -> None:
        """One command ended so."""
        with self._lock:
            self._commands[status] += 1

    def poses(self, fate: PoseFate, count: int = 1) -> None:
        """So many poses ended so."""
        if count:
            with self._lock:
                self._poses[fate] += count

    def disconnected(self) -> None:
        """The other side went away."""
        with self._lock:
            self._disconnections += 1

    def account(self, *, connected: bool, problem: str) -> OutputAccount:
        """Return everything so far."""
        with self._lock:
            return OutputAccount(
                connected=connected,
                commands=dict(self._commands),
                poses=dict(self._poses),
                disconnections=self._disconnections,
                problem=problem,
            )

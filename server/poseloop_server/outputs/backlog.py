"""What waits for an output's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.base import Command, Status


class End:
    """Comes out of the backlog after everything else."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that was handed to the system already, and when."""

    command: Command
    sent_ns: int


class Backlog:
    """Commands in their order, at most so many, and of each stream the newest pose; without I/O.

    Any thread puts in, and one takes out. Nothing waits here but the one that takes. It is shut until `open`, and
    takes nothing while it is shut, but for what is owed: a vital command waits for it to open, and is first then.

    Args:
        most_commands: that may wait; of vital ones twice as many.
        is_vital: whether a command must not be lost, since something stays on without it.
    """

    def __init__(self, most_commands: int, is_vital: Callable[[Command], bool] = lambda _: False) -> None:
        self._most = most_commands
        self._is_vital = is_vital
        self._lock = threading.Lock()
        # A stream's name stands for its newest pose, which may be replaced until it is taken.
        self._queue: SimpleQueue[Command | Begun | str | End] = SimpleQueue()
        self._poses: dict[str, LoopPose] = {}
        self._waiting = 0
        self._taken = 0  # commands that the output's thread is about
        self._owed: list[Command] = []
        self._open = False
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether it takes anything."""
        return self._open

    def open(self) -> None:
        """Take commands and poses from now on, unless it has ended."""
        with self._lock:
            self._open = not self._ended
            if self._open:
                for command in self._owed:
                    self._queue.put(command)
                self._waiting += len(self._owed)
                self._owed.clear()

    def shut(self) -> tuple[list[Command | Begun], int]:
        """Take nothing any more.

        Returns:
            The commands that waited and how many poses did, all of which are forgotten; not those that are owed now,
            unless the end has come.
        """
        with self._lock:
            self._open = False
            left: list[Command | Begun] = []
            while (item := self._get_nowait()) is not None:
                if isinstance(item, Begun) or (isinstance(item, Command) and not self._owe(item)):
                    left.append(item)
            poses = len(self._poses)
            self._waiting = 0
            self._poses.clear()
            if self._ended:
                left += self._owed
                self._owed.clear()
                self._queue.put(End())
        return left, poses

    def end(self) -> None:
        """Take nothing any more; after what waits, `take` returns an `End`."""
        with self._lock:
            self._open = False
            if not self._ended:
                self._ended = True
                self._queue.put(End())

    def put(self, command: Command) -> Status | None:
        """Leave a command; returns how it ended where it was not taken."""
        with self._lock:
            if not self._open:
                return None if self._owe(command) else Status.DROPPED_GONE
            if self._waiting >= self._most * (2 if self._is_vital(command) else 1):
                return Status.DROPPED_FULL
            self._waiting += 1
            self._queue.put(command)
        return None

    def owe(self, command: Command) -> bool:
        """Keep a command that could not be sent for when the output is back; returns false where that is not due."""
        with self._lock:
            return self._owe(command)

    def claim(self, using: threading.Lock) -> bool:
        """Take the output for a call of the caller's own, if no command is before it and nobody uses it.

        Args:
            using: that is held for each call of the output; the caller holds it then, and lets go of it.
        """
        with self._lock:
            return self._open and not (self._waiting or self._taken) and using.acquire(blocking=False)

    def put_begun(self, begun: Begun) -> bool:
        """Leave what is left of a command; returns false where nothing is taken any more."""
        with self._lock:
            if self._open:
                self._waiting += 1
                self._queue.put(begun)
            return self._open

    def put_pose(self, pose: LoopPose) -> bool | None:
        """Leave a pose; returns whether it replaced an older one, or None where it was not taken."""
        if pose.image is not None:  # the frame's memory is lent to the model's thread only
            pose = replace(pose, image=None)
        with self._lock:
            if not self._open:
                return None
            replaces = pose.stream in self._poses
            self._poses[pose.stream] = pose
            if not replaces:
                self._queue.put(pose.stream)
        return replaces

    def take(self, timeout_s: float | None) -> Command | Begun | LoopPose | End | None:
        """Wait for the next and return it; None where there was none in this time. None waits for ever."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except Empty:
            return None
        with self._lock:
            if isinstance(item, str):
                return self._poses.pop(item, None)
            if isinstance(item, Command | Begun):
                self._waiting -= 1
                self._taken += 1
        return item

    def done(self) -> None:
        """Say that the command that was taken last has been dealt with."""
        with self._lock:
            self._taken = 0

    def _owe(self, command: Command) -> bool:
        """Keep a vital command, once: what a trigger asks for again while it is owed would do no more."""
        if self._ended or not self._is_vital(command) or len(self._owed) >= 2 * self._most:
            return False
        cause = (command.stream, command.trigger, command.action)
        if any((owed.stream, owed.trigger, owed.action) == cause for owed in self._owed):
            return False
        self._owed.append(command)
        return True

    def _get_nowait(self) -> Command | Begun | str | End | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

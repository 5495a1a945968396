"""Where frames wait between their arrival and inference: the newest only, or every one.

Frames are put in by the thread that receives them and taken out by the thread that owns the model. `put` tells whether
the mailbox was empty, so that a stream stands in its model's queue exactly while frames wait.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from poseloop_server.frames import IncomingFrame


@dataclass(frozen=True, slots=True)
class Put:
    """What putting a frame in did: whether the mailbox was empty before, and whether a frame had to give way."""

    was_empty: bool
    replaced: bool = False


_FILLED = Put(was_empty=True)
_REPLACED = Put(was_empty=False, replaced=True)
_APPENDED = Put(was_empty=False)


class Mailbox(Protocol):
    """Holds the waiting frames of one stream."""

    @property
    def has_room(self) -> bool:
        """Whether a frame can be put in now; where it can't, the sender has to wait."""

    @property
    def more(self) -> bool:
        """Whether frames were left when one was last taken: the stream then stays in its model's queue."""

    def put(self, frame: IncomingFrame) -> Put:
        """Add a frame."""

    def take(self) -> IncomingFrame | None:
        """Remove and return the next frame, or None where none waits."""

    def __len__(self) -> int: ...


class LiveMailbox:
    """Holds one frame: a newer one replaces it, and the caller counts the loss."""

    has_room = True
    more = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frame: IncomingFrame | None = None

    def put(self, frame: IncomingFrame) -> Put:
        """Leave the frame here in place of an older one."""
        with self._lock:
            before, self._frame = self._frame, frame
        return _FILLED if before is None else _REPLACED

    def take(self) -> IncomingFrame | None:
        """Remove and return the newest frame."""
        with self._lock:
            frame, self._frame = self._frame, None
        return frame

    def take_of(self, width: int, height: int) -> IncomingFrame | None:
        """Remove and return the newest frame, or leave it and return None where it is not of this size."""
        with self._lock:
            frame = self._frame
            if frame is None or frame.width != width or frame.height != height:
                return None
            self._frame = None
        return frame

    def holds(self, width: int, height: int) -> bool:
        """Tell whether a frame of this size waits at this moment."""
        frame = self._frame
        return frame is not None and frame.width == width and frame.height == height

    def __len__(self) -> int:
        return self._frame is not None


class LosslessMailbox:
    """Holds up to ``capacity`` frames in order; a sender that finds it full has to wait."""

    def __init__(self, capacity: int) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity
        self._frames: deque[IncomingFrame] = deque()
        self.more = False

    @property
    def has_room(self) -> bool:
        """Whether fewer than ``capacity`` frames wait."""
        return len(self._frames) < self._capacity

    def put(self, frame: IncomingFrame) -> Put:
        """Append the frame; only the one sender puts frames in, after it has seen that there is room.

        Raises:
            OverflowError: there was no room.
        """
        with self._lock:
            waiting = len(self._frames)
            if waiting >= self._capacity:
                raise OverflowError("the mailbox is full")
            self._frames.append(frame)
        return _APPENDED if waiting else _FILLED

    def take(self) -> IncomingFrame | None:
        """Remove and return the oldest frame."""
        with self._lock:
            frame = self._frames.popleft() if self._frames else None
            # Told apart from `len`, since a frame that is put in later has its stream put in the queue by itself.
            self.more = bool(self._frames)
        return frame

    def __len__(self) -> int:
        return len(self._frames)

"""Frames in, poses out: one stream that is sent and read in one loop."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from poseloop.clock import now_ns
from poseloop.sender import FrameSender
from poseloop.types import Counters, Frame, ModelSpec, Policy, Pose

Image = NDArray[np.uint8] | Frame

_CAPACITY = 256
# Of a live stream: who reads slower than poses come gets none that waited longer, and misses none in a short pause.
_MOST_WAIT_NS: Final = 200_000_000


class PoseQueue:
    """Poses between the sender's thread and whoever reads them.

    Lossless: who puts waits while it is full, which in turn holds back the frames. Live: poses that were not read for
    0.2 s give way to newer ones and are counted in `passed_over`.
    """

    def __init__(self, policy: Policy, capacity: int = _CAPACITY, on_change: Callable[[], None] | None = None) -> None:
        self._policy = policy
        self._capacity = capacity
        self._on_change = on_change
        self._poses: deque[tuple[Pose, int]] = deque()  # with when it was put here
        self._changed = threading.Condition()
        self._last_sequence = -1
        self._finished = False
        self._error: BaseException | None = None
        self.passed_over = 0

    @property
    def finished(self) -> bool:
        """Whether no more poses will come, or nobody wants them."""
        return self._finished

    def put(self, pose: Pose) -> None:
        """Add a pose, unless its frame already had one: a frame that was sent again after a break may have two."""
        with self._changed:
            if pose.sequence <= self._last_sequence or self._finished:
                return
            self._last_sequence = pose.sequence
            if self._policy is Policy.LOSSLESS:
                self._changed.wait_for(lambda: len(self._poses) < self._capacity or self._finished)
                if self._finished:
                    return
            elif len(self._poses) >= self._capacity:
                self._poses.popleft()
                self.passed_over += 1
            self._poses.append((pose, now_ns()))
            self._changed.notify_all()
        self._tell()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that no more poses will come, and with which error, if any."""
        with self._changed:
            if not self._finished:
                self._error = error
            self._finished = True
            self._changed.notify_all()
        self._tell()

    def abandon(self) -> None:
        """Say that nobody wants further poses, nor those that wait."""
        with self._changed:
            self._poses.clear()
            self._error = None
            self._finished = True
            self._changed.notify_all()
        self._tell()

    def fail(self, error: Exception | None) -> None:
        """Take note that the stream ended; with an error nothing more will come, whatever its source still does."""
        if error is not None:
            self.finish(error)

    def take(self) -> Pose | None:
        """Return the next pose, or None where none waits.

        Raises:
            StopIteration: none will come any more.
            Exception: the one that the frames or the stream ended with, after every pose.
        """
        with self._changed:
            if self._policy is Policy.LIVE:
                self._pass_over()
            if self._poses:
                pose, _ = self._poses.popleft()
                self._changed.notify_all()
                return pose
            if not self._finished:
                return None
            error, self._error = self._error, None  # said once: its traceback holds whoever it was raised through
            if error is not None:
                raise error
            raise StopIteration

    def wait(self, seconds: float) -> None:
        """Wait until `take` has something to say."""
        with self._changed:
            self._changed.wait_for(lambda: self._poses or self._finished, seconds)

    def _pass_over(self) -> None:
        stale_ns = now_ns() - _MOST_WAIT_NS
        while len(self._poses) > 1 and self._poses[0][1] < stale_ns:
            self._poses.popleft()
            self.passed_over += 1

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change()


class Tracking:
    """The poses of frames that are being sent: an iterator and a context manager; made by `Server.track`.

    A thread of its own takes the frames from their source, so a camera is read while poses are handled. It ends, and
    the stream with it, when nobody has the tracking any more, as after a ``break`` out of its loop.
    """

    def __init__(self, sender: FrameSender, poses: PoseQueue, frames: Iterable[Image]) -> None:
        self._sender = sender
        self._poses = poses
        self._thread = threading.Thread(
            target=feed, args=(frames, sender, poses), name=f"poseloop-frames-{sender.stream}", daemon=True
        )
        self._thread.start()
        # The thread does not know the tracking, and so does not keep it.
        self._end = weakref.finalize(self, _end, sender, poses)
        self._end.atexit = False

    @property
    def counters(self) -> Counters:
        """The stream's account."""
        return self._sender.counters

    @property
    def passed_over(self) -> int:
        """Poses of a live stream that gave way to newer ones because they were not read in time."""
        return self._poses.passed_over

    @property
    def model_spec(self) -> ModelSpec | None:
        """The description of the model that the frames go to."""
        return self._sender.model_spec

    def __iter__(self) -> Iterator[Pose]:
        """Return the poses, one after the other."""
        return self

    def __next__(self) -> Pose:
        """Return the next pose.

        Raises:
            RequestRefusedError: the server refused a frame.
            ServerUnavailableError: the server went away and did not come back in time.
            Exception: whatever the source of the frames raised.
        """
        try:
            while (pose := self._poses.take()) is None:
                self._poses.wait(1.0)
        except BaseException:
            self.close()
            raise
        return pose

    def close(self) -> None:
        """Stop sending; what is in flight is not waited for."""
        self._end()

    def __enter__(self) -> Self:
        """Return the tracking."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sending."""
        self.close()


def _end(sender: FrameSender, poses: PoseQueue) -> None:
    poses.abandon()
    sender.abort()


def feed(frames: Iterable[Image], sender: FrameSender, poses: PoseQueue) -> None:
    """Send the frames of a source until it ends or nobody wants their poses; on a thread of its own."""
    error: BaseException | None = None
    try:
        for frame in frames:
            if poses.finished:
                return
            sender.send(frame)
    except BaseException as raised:  # whatever ends this thread has to reach the caller's
        error = raised
    try:
        sender.close()  # before the error: it comes after every pose
    except Exception as raised:
        error = error or raised
    poses.finish(error)

"""Compresses one sender's frames on a thread of its own, so that neither the camera nor an answer waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal

from poseloop.clock import now_ns
from poseloop.encode_choice import EncodeChoice, Passage
from poseloop.errors import InvalidInputError
from poseloop.types import PixelFormat
from poseloop.wire import FrameData, Leaving

log = logging.getLogger(__name__)

Encoding = Literal["raw", "jpeg", "auto"]
Done = Callable[[FrameData, int], None]


class Encoder:
    """How one stream's frames travel; but for the work itself it is called with its owner's lock held.

    Args:
        stream: the stream's name.
        quality: libjpeg's, 1 to 100.
        choose: whether raw frames are sent where that makes poses younger; otherwise each frame becomes a JPEG.
    """

    def __init__(self, stream: str, quality: int, choose: bool) -> None:
        self._stream = stream
        self._quality = quality
        self._choice = EncodeChoice() if choose else None
        self._work: SimpleQueue[tuple[FrameData, Done, Callable[[Exception], None]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> Literal["raw", "jpeg"]:
        """How frames travel now."""
        return "jpeg" if self._choice is None or self._choice.jpeg else "raw"

    def takes(self, frame: Leaving) -> bool:
        """Whether this frame, which leaves now, has to be compressed first; to be asked once a frame."""
        if frame.format is PixelFormat.JPEG:
            return False
        return self._choice is None or self._choice.next_is_jpeg()

    def start(self, frame: FrameData, done: Done, failed: Callable[[Exception], None]) -> None:
        """Compress a frame; then call ``done`` with the JPEG and the nanoseconds that it took, or ``failed``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"poseloop-jpeg-{self._stream}", daemon=True)
            self._thread.start()
        self._work.put((frame, done, failed))

    def begin(self) -> None:
        """A new session: what is under way will not be answered."""
        if self._choice is not None:
            self._choice.begin()

    def passed(self, passage: Passage, arrived_ns: int) -> None:
        """Learn from what a frame took."""
        if self._choice is not None and self._choice.passed(passage, arrived_ns):
            log.info("stream %s: frames go as %s from now on, which makes poses younger", self._stream, self.encoding)

    def close(self) -> None:
        """End the thread after the frame that it compresses."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            frame, done, failed = work
            started_ns = now_ns()
            try:
                compressed = frame.compressed(self._quality)
            except Exception as error:  # whatever ends this thread has to reach the caller's
                failed(InvalidInputError(f"a frame of {frame.width}x{frame.height} can't become a JPEG: {error}"))
                continue
            try:
                done(compressed, now_ns() - started_ns)
            except Exception as error:  # likewise
                failed(error)

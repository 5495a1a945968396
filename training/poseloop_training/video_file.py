"""A video file that gives single frames, exactly the one asked for: the n-th of a straight reading.

OpenCV seeks by time as if all frames were equally long, and tells Matroska's number of frames from its duration. So
the packets' times are read first, without decoding (a few milliseconds a thousand frames), and after each seek the time
of the frame that it led to says which one that is. Where times say nothing, frames are counted from the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

# Forward over a gap this short it is quicker to decode on than to seek to the keyframe before.
SHORT_GAP_FRAMES: Final = 30
# Seeks may lead too far where frames are not equally long; then one aims at these many frames earlier.
AIM_BEFORE: Final = (2, 50, 500)
# That packets and frames have the same times is seen on the first ones.
COMPARED_FRAMES: Final = 12
SAME_MS: Final = 0.01


class VideoFile:
    """An open video, numbered from 0.

    Raises:
        InvalidInputError: it can't be opened as a video.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        self.path = path
        self._cv2 = cv2
        self._capture: Any = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InvalidInputError(f"{path} can't be read as a video: convert it to H.264 mp4, or restore it.")
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self._size = width, height
        self._rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        # VP8 has packets that show no frame.
        hidden = int(self._capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"VP80")
        times = (None if hidden else _times_ms(path, decoded=False)) or _times_ms(path, decoded=True)
        self._times = np.array(times)
        self._frames = len(self._times)
        self._next = 0
        self._times_tell: bool | None = None

    @property
    def frames(self) -> int:
        """How many frames there are, counted and not estimated."""
        return self._frames

    def size_of(self, index: int) -> tuple[int, int]:
        """Return width and height of a frame.

        Raises:
            InvalidInputError: there is no such frame.
        """
        if not 0 <= index < self._frames:
            raise InvalidInputError(
                f"{self.path} has {self._frames} frames, and frame {index} is labelled: is it the video that was "
                "labelled?"
            )
        return self._size

    def read(self, index: int) -> NDArray[np.uint8]:
        """Return a frame as uint8 RGB ``(height, width, 3)``; in rising order frames are decoded once.

        Raises:
            InvalidInputError: there is no such frame, or it can't be decoded.
        """
        self.size_of(index)
        if not self._next <= index <= self._next + SHORT_GAP_FRAMES:
            self._seek(index)
        while self._next < index and self._capture.grab():
            self._next += 1
        ok, pixels = self._capture.read()
        self._next += 1
        if not ok:
            self._next = self._frames + 1
            raise InvalidInputError(f"{self.path} can't be decoded at frame {index}: convert it anew, or restore it.")
        # Not cv2.cvtColor: OpenCV's threads are gone in a forked worker, and waiting for them would never end.
        return np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)

    def _seek(self, index: int) -> None:
        """Go to a frame before this one, or to the start."""
        if self._times_tell is None:
            self._times_tell = self._compare_times()
        if self._times_tell:
            for frames in AIM_BEFORE:
                aim = int(self._times[index] / 1000 * self._rate) - frames
                if aim <= 0:
                    break
                self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, aim)
                found = self._grab()
                if found is not None and found < index:
                    self._next = found + 1
                    return
        self._restart()

    def _compare_times(self) -> bool:
        """Return whether the times of packets are those of frames, each its own; leaves the position anywhere."""
        self._restart()
        first = [self._grab() for _ in range(min(COMPARED_FRAMES, self._frames))]
        return first == list(range(len(first))) and bool((np.diff(self._times) > 2 * SAME_MS).all())

    def _grab(self) -> int | None:
        """Take the next frame and return its number, as its time tells it."""
        if not self._capture.grab():
            return None
        time_ms = self._capture.get(self._cv2.CAP_PROP_POS_MSEC)
        number = int(np.searchsorted(self._times, time_ms - SAME_MS))
        return number if number < self._frames and abs(self._times[number] - time_ms) <= SAME_MS else None

    def _restart(self) -> None:
        self._capture.release()
        self._capture = self._cv2.VideoCapture(str(self.path))
        self._next = 0


def _times_ms(path: Path, *, decoded: bool) -> list[float]:
    """Return the times of a video's packets, or of its decoded frames, in the order in which they are shown."""
    import cv2

    capture = (
        cv2.VideoCapture(str(path))
        if decoded
        else cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    )
    times = []
    while capture.grab():
        times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
    capture.release()
    return sorted(times)

"""Writes a video file, image by image."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError, MissingExtraError


class Clip:
    """An MP4 file (MPEG-4 part 2, which every build of OpenCV can write) that takes one BGR image after the other.

    Args:
        path: ends in ``.mp4``.
        frames_per_second: it is played at.

    Raises:
        InvalidInputError: from `add`, where the file can't be written or an image differs in size from the first.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        try:
            import cv2
        except ImportError:
            raise MissingExtraError("writing videos", "camera") from None
        self._cv2 = cv2
        self._path = path
        self._rate = frames_per_second
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append a uint8 BGR image ``(height, width, 3)``."""
        height, width = image.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            codec = self._cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = self._cv2.VideoWriter(str(self._path), codec, self._rate, self._size)
            if not self._writer.isOpened():
                raise InvalidInputError(f"the video {self._path} can't be written; choose another folder or name")
        if (width, height) != self._size:
            raise InvalidInputError(
                f"{self._path}: the images change from {self._size[0]}x{self._size[1]} to {width}x{height} midway, "
                "which a video file can't hold"
            )
        self._writer.write(image)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

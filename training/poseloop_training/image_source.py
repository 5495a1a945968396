"""Where a labelled image lies, and how its size and pixels are read: a file, a frame of a video, or inside a package.

Sizes come from headers, pixels only when asked for, so that a dataset of any length fits into memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.video_file import VideoFile

# Larger images are refused before memory is taken: a few hundred bytes of PNG can ask for gigabytes.
MAX_PIXELS = 100_000_000
READERS_KEPT_OPEN = 8


class Size(NamedTuple):
    """Width and height of an image in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A PNG, JPEG, BMP or TIFF file."""

    path: Path

    @property
    def name(self) -> str:
        """Folder and file name: enough for a person to find it."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One frame of a video file, counted from 0."""

    path: Path
    index: int

    @property
    def name(self) -> str:
        """File name and frame number."""
        return f"{self.path.name} frame {self.index}"


@dataclass(frozen=True, slots=True)
class EmbeddedFrame:
    """One frame stored inside a SLEAP package (``.pkg.slp``): ``index`` counts the frames of the original video."""

    path: Path
    dataset: str
    index: int

    @property
    def name(self) -> str:
        """File name, video within it and frame number."""
        return f"{self.path.name} {self.dataset.split('/')[0]} frame {self.index}"


ImageReference = ImageFile | VideoFrame | EmbeddedFrame


def read_size(image: ImageReference) -> Size:
    """Return the size of an image from its file's header, without decoding it.

    Raises:
        InvalidInputError: it does not exist, is no image or video, is larger than 100 megapixels, or has no such frame.
    """
    if not image.path.is_file():
        raise InvalidInputError(f"{image.path} does not exist: restore it, or delete its row from the labels.")
    if isinstance(image, ImageFile):
        size = _header_size(image.path)
    elif isinstance(image, VideoFrame):
        size = Size(*_reader(image.path, VideoFile).size_of(image.index))
    else:
        size = Size(*_reader(image.path, _Package, image.dataset).size_of(image.index))
    if size.width * size.height > MAX_PIXELS:
        raise InvalidInputError(
            f"{image.name} is {size.width}x{size.height}, more than the {MAX_PIXELS // 1_000_000} megapixels that are "
            "accepted: make it smaller, together with its labels."
        )
    return size


def read_image(image: ImageReference) -> NDArray[np.uint8]:
    """Return the pixels as uint8: ``(height, width)`` where the file is grey, else ``(height, width, 3)`` in RGB.

    Pixels are as they are stored: an orientation note of a photo camera is ignored, since labelling programs ignore
    it too; 16-bit images are scaled to 8 bits.

    Raises:
        InvalidInputError: as for `read_size`, or the data is damaged.
    """
    if isinstance(image, VideoFrame):
        return _reader(image.path, VideoFile).read(image.index)
    if isinstance(image, EmbeddedFrame):
        return _reader(image.path, _Package, image.dataset).read(image.index)
    read_size(image)
    return _decoded(np.fromfile(image.path, dtype=np.uint8), image.name)


def _decoded(data: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    import cv2

    # The bytes are read here and decoded from memory because OpenCV can't open paths beyond ASCII on Windows.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InvalidInputError(f"{name} is damaged and can't be decoded: restore it, or delete its row.")
    return np.asarray(pixels, dtype=np.uint8) if pixels.ndim == 2 else _rgb(pixels)


def _rgb(bgr: Any) -> NDArray[np.uint8]:
    # Not cv2.cvtColor: OpenCV's threads are gone in a forked worker, and waiting for them would never end.
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _header_size(path: Path) -> Size:
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return Size(*image.size)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidInputError(
            f"{path} can't be read as an image: restore it, or delete its row from the labels."
        ) from None


class _FrameReader(Protocol):
    def size_of(self, index: int) -> tuple[int, int]: ...

    def read(self, index: int) -> NDArray[np.uint8]: ...


class _Package:
    """The frames of one video inside a SLEAP package."""

    def __init__(self, path: Path, dataset: str) -> None:
        from sleap_io.io.video_reading import HDF5Video

        self.path = path
        self._video: Any = HDF5Video(filename=str(path), dataset=dataset)

    def size_of(self, index: int) -> Size:
        import io

        from PIL import Image

        encoded = self._encoded(index)
        if encoded is None:
            height, width = self.read(index).shape[:2]
            return Size(width, height)
        with Image.open(io.BytesIO(encoded.tobytes())) as image:
            return Size(*image.size)

    def read(self, index: int) -> NDArray[np.uint8]:
        encoded = self._encoded(index)
        if encoded is not None:
            pixels = _decoded(encoded, f"{self.path.name} frame {index}")
            # Some packages were written with red and blue exchanged, and say so.
            swapped = pixels.ndim == 3 and self._video.channel_order == "BGR"
            return np.ascontiguousarray(pixels[:, :, ::-1]) if swapped else pixels
        pixels = np.asarray(self._video.get_frame(index), dtype=np.uint8)
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels

    def _encoded(self, index: int) -> NDArray[np.uint8] | None:
        if not self._video.has_frame(index):
            raise InvalidInputError(f"{self.path} holds labels but no image of frame {index}: export the package anew.")
        data = self._video.get_frame_raw_bytes(index)
        return None if data is None else np.asarray(data).view(np.uint8)


_open = threading.local()
# Readers that a forked worker inherited: never used there, since the position in the file is shared, and never
# closed, since closing a video waits for its decoder's threads, which stayed behind in the parent.
_inherited: list[Any] = []


def _reader(path: Path, kind: Callable[..., _FrameReader], *arguments: str) -> _FrameReader:
    """Return this thread's open reader of a file."""
    if getattr(_open, "pid", None) != os.getpid():
        _inherited.append(getattr(_open, "readers", None))
        _open.pid, _open.readers = os.getpid(), {}
    key = (path, *arguments)
    if key not in _open.readers:
        if len(_open.readers) >= READERS_KEPT_OPEN:
            _open.readers.pop(next(iter(_open.readers)))
        _open.readers[key] = kind(path, *arguments)
    reader: _FrameReader = _open.readers[key]
    return reader

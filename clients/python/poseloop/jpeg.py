"""JPEG frames: their size without decoding them, and their making."""

from __future__ import annotations

import importlib.util

import numpy as np
from numpy.typing import NDArray

from poseloop.errors import InvalidInputError, MissingExtraError
from poseloop.types import PixelFormat

# Start-of-frame markers (ITU-T T.81, table B.1): C0 to CF without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NOT_A_JPEG = "the bytes of a JPEG frame are not a JPEG"


def size(data: bytes) -> tuple[int, int]:
    """Return ``(width, height)`` in pixels, as the start-of-frame segment says.

    Raises:
        InvalidInputError: the bytes are no JPEG, or end before that segment.
    """
    if data[:2] != b"\xff\xd8":
        raise InvalidInputError(f"{_NOT_A_JPEG}: they begin with {data[:4].hex(' ') or 'nothing'}, not ff d8")
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            raise InvalidInputError(f"{_NOT_A_JPEG}: byte {at} is {data[at]:02x} where a segment must begin with ff")
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
        elif marker in _START_OF_FRAME:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise InvalidInputError(f"{_NOT_A_JPEG} that is complete: {len(data)} bytes and no start-of-frame segment")


def is_possible() -> bool:
    """Whether frames can be compressed here: whether the camera extra is installed."""
    return importlib.util.find_spec("simplejpeg") is not None


def require() -> None:
    """Check that frames can be compressed here.

    Raises:
        MissingExtraError: the camera extra is not installed.
    """
    if not is_possible():
        raise MissingExtraError("Sending frames as JPEG", "camera")


def encode(image: NDArray[np.uint8], image_format: PixelFormat, quality: int) -> bytes:
    """Compress ``(height, width, channels)``; ``quality`` is libjpeg's, 1 to 100. Call `require` first."""
    import simplejpeg

    colorspace = {PixelFormat.GRAY8: "GRAY", PixelFormat.RGB8: "RGB", PixelFormat.BGR8: "BGR"}[image_format]
    compressed: bytes = simplejpeg.encode_jpeg(image, quality=quality, colorspace=colorspace, fastdct=True)
    return compressed

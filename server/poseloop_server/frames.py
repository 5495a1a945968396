"""A frame as it waits in the server, and how it becomes the array that a model takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import PoseloopError
from poseloop.images import Color, to_model_color
from poseloop.types import PixelFormat

from poseloop_server.following import Pixels


class FrameDamagedError(PoseloopError):
    """A JPEG had a sound header, but its image can't be decoded."""


@dataclass(slots=True)
class IncomingFrame:
    """One frame, checked at the border: its size is allowed and its bytes match it.

    Not frozen, since one is made for every frame and a frozen dataclass costs five times as much to make.

    Attributes:
        sequence: rises strictly within a stream.
        width: in pixels.
        height: in pixels.
        format: how ``data`` is to be read.
        data: the pixels row by row, or a JPEG file.
        received_ns: when it arrived, on the server's clock.
        captured_ns: when it was captured, converted to the server's clock.
        captured_client_ns: the same on the client's clock.
        clock_uncertainty_ns: ``captured_ns`` is off by no more.
        owner: keeps the memory of ``data`` where that is not its own.
    """

    sequence: int
    width: int
    height: int
    format: PixelFormat
    data: bytes | memoryview
    received_ns: int
    captured_ns: int
    captured_client_ns: int
    clock_uncertainty_ns: int
    owner: object = None


def to_image(frame: IncomingFrame, color: Color) -> NDArray[np.uint8]:
    """Return the frame as uint8 ``(height, width, channels)`` of the model's colour; JPEG is decoded here.

    A JPEG for a grey model is decoded to its luma plane alone, which takes half the time.

    Raises:
        FrameDamagedError: the JPEG is damaged.
    """
    pixels = to_pixels(frame, color)
    return to_model_color(pixels.image, pixels.format, color)


def to_pixels(frame: IncomingFrame, color: Color) -> Pixels:
    """Return the frame as an array of its own colour, or of the model's where it is a JPEG; raises as `to_image`."""
    if frame.format is PixelFormat.JPEG:
        return Pixels(_decode_jpeg(frame, color), PixelFormat.GRAY8 if color == "gray" else PixelFormat.RGB8)
    shape = (frame.height, frame.width) if frame.format is PixelFormat.GRAY8 else (frame.height, frame.width, 3)
    return Pixels(np.frombuffer(frame.data, dtype=np.uint8).reshape(shape), frame.format)


def _decode_jpeg(frame: IncomingFrame, color: Color) -> NDArray[np.uint8]:
    import simplejpeg

    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(frame.data, "GRAY" if color == "gray" else "RGB")
    except ValueError as error:
        raise FrameDamagedError(f"the JPEG of frame {frame.sequence} is damaged: {error}") from None
    return image

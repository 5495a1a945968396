"""The one place where a frame's bytes become the array that a model's graph takes.

Colour is the only step outside the graph: a model takes grey or RGB, cameras give grey, RGB, BGR or JPEG. Training,
evaluation, the server and offline tracking all call `to_model_color`, so that they all see the same numbers.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from poseloop.errors import InvalidInputError
from poseloop.types import PixelFormat

Color = Literal["gray", "rgb"]
# OpenCV shares out more pixels than this.
_SMALL_PIXELS: Final = 1 << 16
_UINT8: Final = np.dtype(np.uint8)


def to_model_color(image: NDArray[np.uint8], image_format: PixelFormat, color: Color) -> NDArray[np.uint8]:
    """Return ``image`` as the uint8 ``(height, width, channels)`` that a model of that colour takes.

    A view without a copy where the formats agree; BGR to RGB is a copy that is contiguous.

    Args:
        image: ``(height, width)`` or ``(height, width, 1)`` for GRAY8, ``(height, width, 3)`` for RGB8 and BGR8.
        image_format: GRAY8, RGB8 or BGR8; JPEG has to be decoded before.
        color: ``"gray"`` (1 channel out) or ``"rgb"`` (3 channels out).
    """
    if image_format is PixelFormat.GRAY8:
        plane = image.reshape(image.shape[0], image.shape[1], 1)
        return plane if color == "gray" else _converted(plane, "COLOR_GRAY2RGB")
    if color == "rgb":
        return image if image_format is PixelFormat.RGB8 else _converted(image, "COLOR_BGR2RGB")
    return to_gray(image, image_format)[:, :, np.newaxis]


def can_convert() -> bool:
    """Whether OpenCV is here; importing it takes a while."""
    try:
        return importlib.util.find_spec("cv2") is not None
    except ValueError:  # another thread is just importing it: it takes itself out of sys.modules and comes back
        return True


def to_gray(
    image: NDArray[np.uint8], image_format: PixelFormat, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return RGB8 or BGR8 ``(height, width, 3)`` as grey ``(height, width)``: ITU-R BT.601 luma in fixed point.

    In parts that are too small for OpenCV to share them out among threads: waking those takes longer, and on a busy
    machine much longer, and how many there are is for the program to say that imports us.

    Args:
        image: the colours.
        image_format: RGB8 or BGR8.
        out: ``(height, width)``, where the grey is written; new memory, unless given.
    """
    import cv2

    how = cv2.COLOR_RGB2GRAY if image_format is PixelFormat.RGB8 else cv2.COLOR_BGR2GRAY
    height, width = image.shape[:2]
    gray = np.empty((height, width), np.uint8) if out is None else out
    rows = max(1, _SMALL_PIXELS // width)
    for row in range(0, height, rows):
        cv2.cvtColor(image[row : row + rows], how, gray[row : row + rows])
    return gray


def _converted(image: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    """Convert with OpenCV, which takes a twentieth of NumPy's time; whoever runs a model has it installed."""
    import cv2

    return np.asarray(cv2.cvtColor(image, getattr(cv2, how)), np.uint8)


def guess_format(image: NDArray[np.uint8]) -> PixelFormat:
    """Return GRAY8 for a two-dimensional image, RGB8 for one with three channels.

    Raises:
        InvalidInputError: it is no array, not uint8, or neither of the two shapes.
    """
    if not isinstance(image, np.ndarray):
        raise InvalidInputError(
            f"a frame must be a NumPy array, not {type(image).__name__}; where a camera gives None, it had no image"
        )
    if image.dtype != _UINT8:
        raise InvalidInputError(f"a frame must be uint8, not {image.dtype}; convert it with image.astype('uint8')")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        return PixelFormat.GRAY8
    if image.ndim == 3 and image.shape[2] == 3:
        return PixelFormat.RGB8
    raise InvalidInputError(
        f"a frame must be (height, width) grey or (height, width, 3) RGB, not {'x'.join(map(str, image.shape))}"
    )

"""Dynamic crop: the window that follows one animal through large frames, as it is asked for and as a pose tells it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from poseloop.errors import InvalidInputError

OFF: Final = "off"
SHORTEST, LONGEST = 32, 16384  # sides of a window, in pixels

_TEXT = re.compile(r"(?P<width>\d{1,6})x(?P<height>\d{1,6})(?:@(?P<confidence>\d*\.?\d+))?")


@dataclass(frozen=True, slots=True)
class Crop:
    """A window of a fixed size, in pixels of the frame.

    Attributes:
        width, height: of the window; some twice as long as the animal is.
        confidence: of a keypoint, from which on it counts as seen; None: what suits the model's confidences.

    Raises:
        InvalidInputError: a value is out of its range.
    """

    width: int
    height: int
    confidence: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            if not SHORTEST <= value <= LONGEST:
                raise InvalidInputError(f"a crop's {name} must be {SHORTEST} to {LONGEST} pixels, not {value}")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise InvalidInputError(f"a crop's confidence must lie between 0 and 1, not be {self.confidence:g}")

    def __str__(self) -> str:
        plain = f"{self.width}x{self.height}"
        return plain if self.confidence is None else f"{plain}@{self.confidence:g}"

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read ``WIDTHxHEIGHT`` or ``WIDTHxHEIGHT@CONFIDENCE``.

        Raises:
            InvalidInputError: it is not of that form, or a value is out of its range.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise InvalidInputError(f"{text!r} is no crop; give WIDTHxHEIGHT, such as 256x256, or 256x256@0.4")
        confidence = None if found["confidence"] is None else float(found["confidence"])
        return cls(int(found["width"]), int(found["height"]), confidence)


def parse_crop(text: str) -> Crop | None:
    """Read a crop as `Crop.parse` does, or ``off`` as None.

    Raises:
        InvalidInputError: it is neither.
    """
    return None if text == OFF else Crop.parse(text)


@dataclass(frozen=True, slots=True)
class CropView:
    """The part of the frame that a pose was seen in; its coordinates are the whole frame's nevertheless.

    Attributes:
        x, y: column and row of its top-left pixel.
        width, height: in pixels of the frame.
        searched: the animal was not in the window, or there was none, so the frame was searched.
        lost: the animal was not found; the next frame is searched.
    """

    x: int
    y: int
    width: int
    height: int
    searched: bool
    lost: bool

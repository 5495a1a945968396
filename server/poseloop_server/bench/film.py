"""What the cameras of a measurement film, drawn before anything is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.clock import now_ns
from poseloop.images import Color, guess_format, to_model_color
from poseloop.pacing import Schedule

# Distinct frames, so that no cache holds them all; of large ones fewer, since each camera process keeps its own.
_MOST_FRAMES: Final = 120
_LEAST_FRAMES: Final = 16
_MOST_BYTES: Final = 40_000_000


@dataclass(frozen=True, slots=True)
class Film:
    """Frames of the synthetic arena: the same for the served, the bare and the naive inference."""

    width: int
    height: int
    color: Color
    frames_per_second: float

    def __post_init__(self) -> None:
        self._settings()  # raises where the arena can't be that

    @property
    def description(self) -> str:
        """Size and colour."""
        return f"{self.width}x{self.height} {self.color}, raw"

    def at(self, frames_per_second: float) -> Self:
        """Return the same film at another rate."""
        return replace(self, frames_per_second=frames_per_second)

    def render(self) -> list[NDArray[np.uint8]]:
        """Draw the frames, uint8 ``(height, width)`` or ``(height, width, 3)``."""
        size = self.width * self.height * (1 if self.color == "gray" else 3)
        arena = Arena(self._settings())
        return [arena.frame(index) for index in range(min(_MOST_FRAMES, max(_LEAST_FRAMES, _MOST_BYTES // size)))]

    def render_batches(self, color: Color) -> list[NDArray[np.uint8]]:
        """Draw the frames as a model of that colour takes them: uint8 ``(1, height, width, channels)``."""
        return [
            np.ascontiguousarray(to_model_color(image, guess_format(image), color))[np.newaxis]
            for image in self.render()
        ]

    def _settings(self) -> ArenaSettings:
        return ArenaSettings(self.width, self.height, self.frames_per_second, color=self.color)


def drifted(rate: float, drift: float, place: int) -> float:
    """Return the rate of the camera at a place, where each is slower than the one before by a part of it."""
    return rate * (1 - drift * place)


def paced(times: int, per_second: float, start_ns: int, each: Callable[[int], None]) -> None:
    """Call ``each`` with 0 to times - 1 at that rate, from a moment of `poseloop.now_ns` on."""
    time.sleep(max(0, start_ns - now_ns()) / 1e9)
    schedule = Schedule(per_second)
    for index in range(times):
        schedule.wait()
        each(index)

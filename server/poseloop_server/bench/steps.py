"""An animal that steps into a zone and out of it, so that a loop can be timed: what is filmed, and when it steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.images import Color, guess_format, to_model_color

KEYPOINT: Final = "body_centre"
# In fractions of the frame's width and height; the radius in fractions of the width.
ZONE_CENTER: Final = (0.25, 0.65)
ZONE_RADIUS: Final = 0.125
# The animal steps well over the border, so that no error of the model makes or unmakes a step.
_INSIDE, _OUTSIDE = 0.6, 1.6  # of the radius
_WALK_FRAMES_PER_SECOND: Final = 30.0
_EACH: Final = 60
# Frames outside before a step, and inside after it.
_AWAY: Final = (5, 12)
_THERE: Final = (3, 5)


@dataclass(frozen=True, slots=True)
class StepFilm:
    """Frames of the synthetic arena with the animal inside and outside the zone.

    Attributes:
        width, height: of the frames, in pixels.
        color: of the frames.
        seed: of the walk and of when the animal steps.
    """

    width: int
    height: int
    color: Color
    seed: int = 0

    def render(self) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
        """Draw frames with the animal outside, and frames with it inside; uint8 ``(height, width[, 3])``."""
        arena = self._arena()
        part = arena.keypoint_names.index(KEYPOINT)
        frames = int(arena.period_s * _WALK_FRAMES_PER_SECOND)
        places = np.array([arena.keypoints(index)[part] for index in range(frames)])
        center = np.array(ZONE_CENTER) * (self.width, self.height)
        away = np.hypot(*(places - center).T) / (ZONE_RADIUS * self.width)
        outside, inside = np.flatnonzero(away > _OUTSIDE), np.flatnonzero(away < _INSIDE)
        return [arena.frame(int(i)) for i in _spread(outside)], [arena.frame(int(i)) for i in _spread(inside)]

    def render_batches(self, color: Color) -> list[NDArray[np.uint8]]:
        """Draw the frames as a model of that colour takes them: uint8 ``(1, height, width, channels)``."""
        outside, inside = self.render()
        return [
            np.ascontiguousarray(to_model_color(image, guess_format(image), color))[np.newaxis]
            for image in (*outside, *inside)
        ]

    def steps(self, trials: int) -> NDArray[np.bool_]:
        """Return for each frame whether the animal is inside; it steps in so many times, and out after each."""
        draw = np.random.default_rng(self.seed)
        runs = [[False] * 10]
        for _ in range(trials):
            runs += [[False] * int(draw.integers(*_AWAY)), [True] * int(draw.integers(*_THERE))]
        return np.array([inside for run in [*runs, [False] * 10] for inside in run])

    def _arena(self) -> Arena:
        return Arena(ArenaSettings(self.width, self.height, _WALK_FRAMES_PER_SECOND, self.seed, self.color))


def _spread(indices: NDArray[np.int_]) -> NDArray[np.int_]:
    """Choose some of the frames, spread evenly over all."""
    return np.asarray(indices[np.linspace(0, len(indices) - 1, _EACH).astype(int)])


def first_inside(inside: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Return the frames with which the animal steps in."""
    return np.flatnonzero(inside[1:] & ~inside[:-1]) + 1

"""The One-Euro filter: calm at rest, quick in movement."""

from __future__ import annotations

import math
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from poseloop_server.stages.base import StageContext
from poseloop_server.stages.filtering import Array, FilterConfig, Mask, PointFilter, Sight

Hertz = Annotated[float, Field(gt=0, allow_inf_nan=False)]

TURN: Final = 2 * math.pi


class OneEuroConfig(FilterConfig):
    """What the One-Euro filter is told: ``min_cutoff_hz`` for a calm rest, ``beta_per_diagonal`` against lag."""

    min_cutoff_hz: Hertz = Field(0.5, description="Cutoff of the low-pass at rest; the lower, the calmer.")
    beta_per_diagonal: float = Field(
        130.0,
        ge=0,
        allow_inf_nan=False,
        description="By how many hertz the cutoff rises for each diagonal of the frame moved in a second.",
    )
    speed_cutoff_hz: Hertz = Field(1.5, description="Cutoff of the low-pass on the speed.")


class OneEuro(PointFilter):
    """A low-pass whose cutoff rises with the keypoint's speed (Casiez, Roussel and Vogel, CHI 2012, algorithm 1).

    The speed is that of the point, not of each axis: so a keypoint is filtered alike in whatever direction it moves,
    and trembles less for the same lag. It is measured from the latest filtered place, as in the paper.
    """

    config = OneEuroConfig

    def __init__(self, config: OneEuroConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._min_cutoff = config.min_cutoff_hz
        self._beta = config.beta_per_diagonal
        self._speed_cutoff = config.speed_cutoff_hz

    def _start(self, animals: int, keypoints: int) -> None:
        self._place = np.zeros((animals * keypoints, 2))
        self._velocity = np.zeros((animals * keypoints, 2))  # pixels a second, low-passed

    def _step(self, sight: Sight) -> tuple[Array, Mask]:
        place, velocity = self._place, self._velocity
        np.copyto(place, sight.points, where=sight.fresh[:, None])
        np.copyto(velocity, 0.0, where=sight.fresh[:, None])
        later = (sight.seen & (sight.since_s > 0) & ~sight.fresh)[:, None]
        interval = np.where(later[:, 0], sight.since_s, 1.0)
        moved = np.where(later, sight.points - place, 0.0)
        velocity += _share(self._speed_cutoff, interval)[:, None] * np.where(
            later, moved / interval[:, None] - velocity, 0
        )
        speed = np.sqrt(np.square(velocity).sum(axis=1)) / sight.diagonal
        place += _share(self._min_cutoff + self._beta * speed, interval)[:, None] * moved
        return place, sight.seen


def _share(cutoff_hz: Array | float, interval_s: Array) -> Array:
    """Return the weight of a new value in a low-pass of that cutoff, so long after the value before it."""
    turned = TURN * cutoff_hz * interval_s
    return turned / (1.0 + turned)

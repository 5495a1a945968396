"""A Kalman filter for each keypoint, of constant velocity or constant acceleration."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from poseloop_server.stages.base import StageContext
from poseloop_server.stages.filtering import Array, FilterConfig, Mask, PointFilter, Sight

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

LEAST_CONFIDENCE: Final = 0.05  # below it, the noise is not taken to grow any more
# What is known of a keypoint at its first sighting, in frame diagonals a second and a second squared.
FIRST_SPEED: Final = 0.5
FIRST_ACCELERATION: Final = 2.0


class KalmanConfig(FilterConfig):
    """What the Kalman filter is told about the animal and about the measurement."""

    motion: Literal["velocity", "acceleration"] = Field(
        "velocity",
        description="What changes at random only: with velocity it is calmer, with acceleration closer in turns.",
    )
    noise_px: Positive = Field(
        1.0,
        description="Standard deviation of a measured x or y at confidence 1; at a lower one, noise_px / confidence.",
    )
    agility: Positive | None = Field(
        None,
        description="Standard deviation of how much the velocity changes within a second, in frame diagonals a second "
        "(0.5 unless given), or the acceleration, in frame diagonals a second squared (5 unless given).",
    )
    gate_sigmas: Positive = Field(
        6.0, description="A sighting farther from where it was expected, in standard deviations, counts as missing."
    )


class Kalman(PointFilter):
    """Estimates place and velocity, and acceleration where asked, from noisy sightings at irregular times.

    The state of a keypoint is ``(d, 2)``: place and its derivatives, for x and y. Both axes have the same noise, so
    they share one covariance ``(d, d)``. Process noise is white, in the highest derivative (Bar-Shalom, Li and
    Kirubarajan 2001, sections 6.2.2 and 6.2.3); the covariance is updated in Joseph's form, which keeps it positive.
    While a keypoint is missing it goes on as the model says.
    """

    config = KalmanConfig

    def __init__(self, config: KalmanConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._order = 2 if config.motion == "velocity" else 3
        self._agility = config.agility or (0.5 if self._order == 2 else 5.0)
        self._noise = config.noise_px**2
        self._gate = config.gate_sigmas**2

    def _start(self, animals: int, keypoints: int) -> None:
        count = animals * keypoints
        self._state = np.zeros((count, self._order, 2))
        self._covariance = np.zeros((count, self._order, self._order))

    def _step(self, sight: Sight) -> tuple[Array, Mask]:
        self._predict(sight)
        noise = self._noise / np.square(np.maximum(sight.confidence, LEAST_CONFIDENCE))
        known = sight.seen & ~sight.fresh
        apart = np.where(known[:, None], sight.points - self._state[:, 0], 0.0)
        spread = self._covariance[:, 0, 0] + np.where(known, noise, 1.0)
        believed = known & (np.square(apart).sum(axis=1) <= self._gate * spread)
        self._correct(apart, spread, noise, believed)
        self._initialise(sight, noise)
        return self._state[:, 0], believed | sight.fresh

    def _predict(self, sight: Sight) -> None:
        if sight.interval_s == 0.0:
            return
        advance, noise = _motion(self._order, sight.interval_s, (self._agility * sight.diagonal) ** 2)
        self._state = advance @ self._state
        self._covariance = advance @ self._covariance @ advance.T + noise

    def _correct(self, apart: Array, spread: Array, noise: Array, believed: Mask) -> None:
        gain = np.where(believed[:, None], self._covariance[:, :, 0] / spread[:, None], 0.0)
        noise = np.where(believed, noise, 0.0)
        self._state += gain[:, :, None] * apart[:, None, :]
        # Joseph's (I - g h) P (I - g h)' + g R g', where h takes the first component.
        before = self._covariance
        half = before - gain[:, :, None] * before[:, :1, :]
        after = half - half[:, :, :1] * gain[:, None, :] + (noise[:, None] * gain)[:, :, None] * gain[:, None, :]
        self._covariance = (after + after.transpose(0, 2, 1)) / 2  # rounding leaves it askew

    def _initialise(self, sight: Sight, noise: Array) -> None:
        if not sight.fresh.any():
            return
        first = np.zeros_like(self._covariance[sight.fresh])
        first[:, 0, 0] = noise[sight.fresh]
        first[:, 1, 1] = (FIRST_SPEED * sight.diagonal) ** 2
        if self._order == 3:
            first[:, 2, 2] = (FIRST_ACCELERATION * sight.diagonal) ** 2
        self._covariance[sight.fresh] = first
        self._state[sight.fresh] = 0.0
        self._state[sight.fresh, 0] = sight.points[sight.fresh]


def _motion(order: int, interval_s: float, density: float) -> tuple[Array, Array]:
    """Return the transition and the process noise, ``(order, order)`` each, over an interval.

    Args:
        order: 2 for constant velocity, 3 for constant acceleration.
        interval_s: of any length.
        density: power spectral density of the white noise in the highest derivative.
    """
    t = interval_s
    if order == 2:
        advance = np.array([[1, t], [0, 1]])
        noise = np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
    else:
        advance = np.array([[1, t, t**2 / 2], [0, 1, t], [0, 0, 1]])
        noise = np.array([[t**5 / 20, t**4 / 8, t**3 / 6], [t**4 / 8, t**3 / 3, t**2 / 2], [t**3 / 6, t**2 / 2, t]])
    return advance, density * noise

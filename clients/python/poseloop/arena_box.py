"""The synthetic box: bedding, walls, light and the camera's noise, drawn once for all frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseloop.arena_paint import blurred

WALL: Final = 0.045  # of the shorter side
NOISE_CUT: Final = 3.2  # standard deviations
NOISE_SHIFTS: Final = 61  # rows and columns by which the noise is moved from frame to frame


@dataclass(frozen=True, slots=True)
class Light:
    """The light's unevenness: a slope across the box and a darker rim.

    Attributes:
        width, height: of the frame, in pixels.
        slope_x, slope_y: change of the relative light from the middle of the frame to its border.
        rim: how much darker the middle of a border is.
    """

    width: int
    height: int
    slope_x: float
    slope_y: float
    rim: float

    @classmethod
    def of(cls, width: int, height: int, strength: float, seed: int) -> Light:
        """Light of a strength in [0, 1] from a side that the seed decides."""
        angle = float(np.random.default_rng([seed, 3]).uniform(0.0, 2 * math.pi))
        slope = 0.35 * strength
        return cls(width, height, slope * math.cos(angle), slope * math.sin(angle), 0.12 * strength)

    def at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Relative light at places of the frame, in pixels; 1 in its middle."""
        across = 2 * np.asarray(x, np.float64) / (self.width - 1) - 1
        down = 2 * np.asarray(y, np.float64) / (self.height - 1) - 1
        return 1.0 + self.slope_x * across + self.slope_y * down - self.rim * (across * across + down * down)


def draw_box(
    width: int, height: int, bedding: NDArray[np.float32], contrast: float, light: Light, seed: int
) -> NDArray[np.float32]:
    """Draw the empty box, float32 ``(channels, height, width)``, not yet clipped to a range.

    Args:
        width, height: in pixels.
        bedding: its mean colour, ``(channels, 1, 1)``.
        contrast: strength of its texture, 0 to 1.
        light: that falls on it.
        seed: decides the texture.
    """
    rng = np.random.default_rng([seed, 4])
    grain = height / 480
    texture = 0.5 * _unit(blurred(rng.standard_normal((height, width)), 18 * grain, 18 * grain))
    for angle in (np.arange(4) + rng.uniform(0, 1, 4)) * math.pi / 4:
        chips = _unit(blurred(rng.standard_normal((height, width)), 3.2 * grain, 0.8 * grain, angle))
        texture += 0.4 * np.sign(chips) * np.square(chips)
    floor = 1.0 + 0.10 * contrast * texture
    _scatter_droppings(floor, rng, grain)
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    floor = _add_walls(floor, x, y) * light.at(x, y)
    return np.asarray(floor[None] * bedding, np.float32)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values / values.std())


def _scatter_droppings(floor: NDArray[np.float64], rng: np.random.Generator, grain: float) -> None:
    height, width = floor.shape
    reach = math.ceil(6 * grain)
    for _ in range(7):
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        angle = rng.uniform(0, math.pi)
        rows = np.arange(max(int(y) - reach, 0), min(int(y) + reach + 1, height))[:, None]
        columns = np.arange(max(int(x) - reach, 0), min(int(x) + reach + 1, width))[None, :]
        along = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
        across = (rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)
        inside = np.clip(2.2 * grain - np.hypot(along / 2.0, across) + 0.5, 0.0, 1.0)
        floor[rows, columns] *= 1.0 - 0.55 * inside


def _add_walls(floor: NDArray[np.float64], x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.float64]:
    height, width = floor.shape
    thick = WALL * min(width, height)
    to_side, to_end = np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)
    depth = np.minimum(to_side, to_end) - thick
    wall = np.where(to_end < to_side, 0.62, 0.54)
    contact = 1.0 - 0.35 * np.exp(-np.maximum(depth, 0.0) / (0.35 * thick))
    return np.asarray(wall + np.clip(depth + 0.5, 0.0, 1.0) * (floor * contact - wall))


class SensorNoise:
    """Adds a camera's noise: a stored field of Gaussian noise, moved differently for every frame.

    Args:
        shape: of the frames, ``(height, width)`` or ``(height, width, 3)``.
        sigma: in grey levels.
        seed: decides field and moves.
    """

    def __init__(self, shape: tuple[int, ...], sigma: float, seed: int) -> None:
        self.largest = math.ceil(NOISE_CUT * sigma)
        self._height, self._width = shape[:2]
        self._seed = seed
        field = (shape[0] + NOISE_SHIFTS, shape[1] + NOISE_SHIFTS, *shape[2:])
        normal = np.random.default_rng([seed, 5]).standard_normal(field, dtype=np.float32)
        whole = np.rint(np.clip(normal * sigma, -self.largest, self.largest)).astype(np.int16)
        # Kept modulo 256: adding it to a uint8 frame that leaves room for it wraps to the right sum, without a clip.
        self._field = (whole % 256).astype(np.uint8)

    def add(self, image: NDArray[np.uint8], index: int) -> None:
        """Add the noise of frame ``index`` in place; the image must lie within [largest, 255 - largest]."""
        if self.largest == 0:
            return
        mixed = _mix(self._seed, index)
        down, right = mixed % NOISE_SHIFTS, (mixed >> 32) % NOISE_SHIFTS
        np.add(image, self._field[down : down + self._height, right : right + self._width], out=image)


def _mix(seed: int, index: int) -> int:
    """Hash to 64 well-mixed bits (SplitMix64; Steele, Lea and Flood, 2014)."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1B54A32D192ED03) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)

"""How the synthetic animal moves: a closed walk with pauses, turns and glances, known at every moment without replay.

The path is a closed curve through random places of the box. How fast it is walked is a function of the place: a
cruising speed that varies, slower in tight turns, down to a stop at the places where the animal rests. All of it is
computed once, for one round, so any frame of any recording is found by a look-up, the same in every process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poseloop.arena_body import Posture, keypoints_of

Array = NDArray[np.float64]

WAYPOINTS: Final = 44
PATH_POINTS: Final = 16384
TABLE_RATE_HZ: Final = 240

# In body lengths and seconds: a mouse of 9 cm that walks 9 to 30 cm/s.
CRUISE_SPEEDS: Final = (1.0, 3.3)
ACCELERATION: Final = 9.0
CREEP_SPEED: Final = 0.05
TURN_RATE: Final = 5.5  # rad/s
REST_EVERY: Final = 7.0
REST_SECONDS: Final = (0.5, 2.6)
STRIDE_LENGTH: Final = 0.62
MOST_BEND: Final = 0.85  # curvature of the spine times body length

EDGE_PX: Final = 3.0  # keypoints stay this far inside the frame


@dataclass(frozen=True, slots=True)
class _Path:
    """A closed curve at equal steps of its length: places, heading (unwrapped) and curvature."""

    length: float
    x: Array
    y: Array
    heading: Array
    curvature: Array


class Motion:
    """Postures of the animal over time, one closed round of ``period_s`` seconds after the other.

    Args:
        width, height: of the frame, in pixels.
        body_length: snout to tail base, in pixels.
        seed: decides the whole walk.
    """

    def __init__(self, width: int, height: int, body_length: float, seed: int) -> None:
        room = 1.0
        while True:
            self._table = _round_of(width, height, body_length, seed, room)
            if room < 0.1 or _stays_inside(self._table, width, height, body_length):
                break
            room *= 0.9
        self.period_s = (len(self._table) - 1) / TABLE_RATE_HZ

    def at(self, seconds: float) -> Posture:
        """Return the posture at a time from the start, by linear interpolation between 240 postures a second."""
        place = (seconds % self.period_s) * TABLE_RATE_HZ
        row = min(int(place), len(self._table) - 2)
        share = place - row
        values = self._table[row] * (1.0 - share) + self._table[row + 1] * share
        return Posture(*values.tolist())


def _round_of(width: int, height: int, body_length: float, seed: int, room: float) -> Array:
    """One round as a table ``(times, fields of Posture)``; the last row continues the first without a jump."""
    rng = np.random.default_rng([seed, 1])
    inset = 0.75 * body_length
    half = np.array([max(width / 2 - inset, 1.0), max(height / 2 - inset, 1.0)]) * room
    path = _closed_path(rng, (width - 1) / 2, (height - 1) / 2, half, body_length)
    walked = _walk(rng, path, body_length)
    return _postures(rng, path, walked, body_length)


def _closed_path(rng: np.random.Generator, centre_x: float, centre_y: float, half: Array, body_length: float) -> _Path:
    curve = _trigonometric(rng.uniform(-1.2, 1.2, (WAYPOINTS, 2)), PATH_POINTS)
    # What would leave the box is bent into a walk along its wall, as mice like it.
    curve = half * curve / (1.0 + curve**6) ** (1 / 6)
    steps = np.hypot(*(np.roll(curve, -1, axis=0) - curve).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(along[-1])
    even = np.linspace(0.0, length, PATH_POINTS, endpoint=False)
    closed = np.vstack([curve, curve[:1]])
    x, y = (np.interp(even, along, closed[:, axis]) for axis in (0, 1))
    step = length / PATH_POINTS
    width = 0.22 * body_length / step
    x, y = _smooth(x, width), _smooth(y, width)
    heading = np.unwrap(np.arctan2(np.roll(y, -1) - np.roll(y, 1), np.roll(x, -1) - np.roll(x, 1)))
    turns = round((heading[-1] - heading[0]) / (2 * math.pi)) * 2 * math.pi
    drift = turns * np.arange(PATH_POINTS) / PATH_POINTS
    heading = _smooth(heading - drift, 0.12 * body_length / step) + drift
    ahead = np.append(heading[1:], heading[0] + turns)
    return _Path(length, centre_x + x, centre_y + y, heading, (ahead - heading) / step)


def _walk(rng: np.random.Generator, path: _Path, body_length: float) -> Array:
    """Return the distance walked, as a fraction of the path, at each row of the table of one round."""
    step = path.length / PATH_POINTS
    places = np.arange(PATH_POINTS) * step
    rests = max(2, round(path.length / (REST_EVERY * body_length)))
    rest_at = np.sort((np.arange(rests) + rng.uniform(0.1, 0.9, rests)) / rests) * path.length
    rest_for = rng.uniform(*REST_SECONDS, rests)
    slow, fast = CRUISE_SPEEDS
    cruise = slow + (fast - slow) * (0.5 + 0.5 * _wander(rng, PATH_POINTS, 5 * rests))
    apart = np.abs(places[:, None] - rest_at[None, :])
    to_rest = np.minimum(apart, path.length - apart).min(axis=1) / body_length
    speed = np.minimum(cruise, CREEP_SPEED + np.sqrt(2 * ACCELERATION * to_rest))
    speed = np.minimum(speed, TURN_RATE / np.maximum(np.abs(path.curvature) * body_length, 1e-9))
    seconds = np.concatenate([[0.0], np.cumsum(step / (speed * body_length))])
    ends = np.append(places, path.length)
    rest_starts = np.interp(rest_at, ends, seconds)
    before = np.concatenate([[0.0], np.cumsum(rest_for)])
    waited = before[np.searchsorted(rest_at, ends)]
    knots_t = np.concatenate([seconds + waited, rest_starts + before[:-1], rest_starts + before[1:]])
    knots_s = np.concatenate([ends, rest_at, rest_at])
    order = np.argsort(knots_t, kind="stable")
    rows = round(float(knots_t.max()) * TABLE_RATE_HZ)
    times = np.linspace(0.0, knots_t.max(), rows + 1)
    return np.asarray(np.interp(times, knots_t[order], knots_s[order]) / path.length)


def _postures(rng: np.random.Generator, path: _Path, walked: Array, body_length: float) -> Array:
    rows = len(walked) - 1
    seconds = rows / TABLE_RATE_HZ
    points = np.arange(PATH_POINTS + 1) / PATH_POINTS
    turns = round((path.heading[-1] - path.heading[0]) / (2 * math.pi)) * 2 * math.pi

    def follow(values: Array, carried: float = 0.0) -> Array:
        return np.asarray(np.interp(walked, points, np.append(values, values[0] + carried)))

    def sway(per_second: float) -> Array:
        slow = _wander(rng, rows, max(3, round(per_second * seconds)))
        return np.append(slow, slow[0])

    speed = np.gradient(walked) * path.length / body_length * TABLE_RATE_HZ
    stride = np.clip(speed / 2.0, 0.0, 1.0)
    bend = np.tanh(follow(path.curvature) * body_length / MOST_BEND) * MOST_BEND
    bend = np.append(_smooth(bend[:-1], 0.06 * TABLE_RATE_HZ), 0.0)
    bend[-1] = bend[0]
    steps = max(1, round(path.length / (STRIDE_LENGTH * body_length)))
    gait = walked * steps * 2 * math.pi
    wiggle = 0.10 * stride * np.sin(gait)
    head_turn = sway(0.7) * (1.9 - 1.2 * stride) + 0.5 * bend
    tail_bend = -0.30 * bend + 0.42 * sway(0.35) + 0.5 * wiggle
    tail_hook = 0.40 * sway(0.25)
    columns = (
        follow(path.x),
        follow(path.y),
        follow(path.heading, turns) + 0.15 * wiggle,
        (bend + wiggle) / body_length,
        head_turn / body_length,
        gait,
        stride,
        tail_bend / body_length,
        tail_hook / body_length**2,
    )
    return np.stack(columns, axis=1)


def _stays_inside(table: Array, width: int, height: int, body_length: float) -> bool:
    every = max(1, TABLE_RATE_HZ // 30)
    points = np.concatenate([keypoints_of(Posture(*row), body_length) for row in table[::every].tolist()])
    low, high = points.min(axis=0) - EDGE_PX, points.max(axis=0) + EDGE_PX
    return bool((low >= 0).all() and high[0] <= width - 1 and high[1] <= height - 1)


def _trigonometric(values: Array, points: int) -> Array:
    """Interpolate periodic samples ``(n, 2)`` by the smooth curve through them that has no frequency above theirs."""
    spectrum = np.fft.rfft(values, axis=0)
    padded = np.zeros((points // 2 + 1, values.shape[1]), dtype=complex)
    padded[: len(spectrum)] = spectrum
    return np.asarray(np.fft.irfft(padded, n=points, axis=0) * (points / len(values)))


def _smooth(values: Array, sigma: float) -> Array:
    """Blur periodic samples with a Gaussian of ``sigma`` samples."""
    frequencies = np.fft.rfftfreq(len(values))
    transfer = np.exp(-2.0 * (math.pi * sigma * frequencies) ** 2)
    return np.asarray(np.fft.irfft(np.fft.rfft(values) * transfer, n=len(values)))


def _wander(rng: np.random.Generator, points: int, waves: int) -> Array:
    """Return smooth periodic noise in [-1, 1] of up to ``waves`` waves a period."""
    spectrum = np.zeros(points // 2 + 1, dtype=complex)
    count = min(waves, points // 2)
    spectrum[1 : count + 1] = rng.standard_normal(count) + 1j * rng.standard_normal(count)
    noise = np.fft.irfft(spectrum, n=points)
    return np.asarray(np.tanh(1.2 * noise / noise.std()))

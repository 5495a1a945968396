"""Recorded poses to run stages on, and every filter by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from poseloop_server.stages import offline
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.kinds import STAGES

SIZE = (640, 480)

# name: kind, settings
FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "one_euro": ("one_euro", {}),
    "velocity": ("kalman", {"motion": "velocity"}),
    "acceleration": ("kalman", {"motion": "acceleration"}),
    "median": ("median", {}),
    "predict": ("predict", {"actuator_delay_ms": 20.0}),
}


def made(kind: str, keypoints: int, **settings: Any) -> Any:
    """Return a stage of that kind for keypoints k0, k1 ..."""
    stage = STAGES[kind]
    return stage(stage.config(**settings), StageContext("cage", names(keypoints)))


def names(keypoints: int) -> tuple[str, ...]:
    return tuple(f"k{index}" for index in range(keypoints))


def run(
    name: str, times_s: ArrayLike, poses: NDArray[Any], size: tuple[int, int] = SIZE, **settings: Any
) -> NDArray[np.float32]:
    """Run the filter of that name in `FILTERS`, with other settings on top."""
    kind, own = FILTERS[name]
    keypoints = poses.shape[-2]
    stage = made(kind, keypoints, **{**own, **settings})
    return offline.run([stage], times_s, poses, size, names(keypoints), latency_ms=10.0)


def walk(seed: int, frames: int, keypoints: int = 3, animals: int = 1) -> NDArray[np.float32]:
    """Return poses of animals that walk about a frame of `SIZE`, all of them seen."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 3, (frames, animals, keypoints, 2))
    points = np.array([320, 240]) + np.cumsum(steps, axis=0)
    confidence = rng.uniform(0.6, 1, (frames, animals, keypoints, 1))
    return np.concatenate([points, confidence], axis=3).astype(np.float32)


def gone(poses: NDArray[np.float32], seed: int, share: float = 0.3) -> NDArray[np.float32]:
    """Return them with keypoints missing at random: absent, half absent, or of a low confidence."""
    rng = np.random.default_rng(seed)
    holes = poses.copy()
    missing = rng.random(poses.shape[:-1]) < share
    how = rng.integers(0, 3, poses.shape[:-1])
    holes[missing & (how == 0)] = (np.nan, np.nan, 0)
    holes[missing & (how == 1), 1] = np.nan
    holes[missing & (how == 2), 2] = 0.1
    return holes


@st.composite
def irregular_times(draw: st.DrawFn, frames: int) -> NDArray[np.float64]:
    """Times in seconds, 0 to 120 ms apart."""
    steps = draw(st.lists(st.integers(0, 120_000_000), min_size=frames - 1, max_size=frames - 1))
    return np.concatenate([[0], np.cumsum(steps)]) / 1e9

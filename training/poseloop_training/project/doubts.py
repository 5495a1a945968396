"""How doubtful a model's answer on each frame of a video is, by several measures on one scale: above 1 is an outlier.

Keypoints are float32 ``(frames, keypoints, 3)``: x, y, confidence; what is absent is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Of the animal's size: what nothing moves from one frame to the next, and what two opinions may differ by.
JUMP_OF_SIZE: Final = 0.5
DISAGREEMENT_OF_SIZE: Final = 0.1
LEAST_PX: Final = 3.0

Keypoints = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Doubt:
    """One measure over a video.

    Attributes:
        reason: its name, for people and programs.
        limit: what it is compared with, in its own unit.
        unit: ``"px"``, or ``""``.
        ratio: float64 ``(frames,)``; above 1 the frame is an outlier.
    """

    reason: str
    limit: float
    unit: str
    ratio: NDArray[np.float64]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which frames are outliers."""
        return self.ratio > 1


def animal_size(keypoints: Keypoints) -> float:
    """Return the usual diagonal of the box around the keypoints, in pixels; 0 where none is seen."""
    seen = keypoints[np.isfinite(keypoints).all(axis=(1, 2)), :, :2]
    if not len(seen):
        return 0.0
    return float(np.median(np.linalg.norm(seen.max(axis=1) - seen.min(axis=1), axis=1)))


def low_confidence(keypoints: Keypoints, limit: float) -> Doubt:
    """A keypoint is less certain than ``limit``; the ratio rises with how many are, and how far below."""
    confidence = np.nan_to_num(keypoints[..., 2].astype(np.float64))
    short = np.maximum(limit - confidence, 0) / max(limit, 1e-9)
    return Doubt("low confidence", limit, "", np.where(short.max(axis=1) > 0, 1 + short.sum(axis=1), 0.0))


def jumps(keypoints: Keypoints, limit_px: float | None = None) -> Doubt:
    """A keypoint lies farther from where it was in the frame before, or will be in the next, than ``limit_px``."""
    limit = _limit(limit_px, JUMP_OF_SIZE, keypoints)
    steps = np.linalg.norm(np.diff(keypoints[..., :2].astype(np.float64), axis=0), axis=2)
    largest = _largest(steps)
    ratio = np.zeros(len(keypoints))
    # Both sides of a jump are looked at, since either may be the wrong one.
    ratio[1:] = np.maximum(ratio[1:], largest)
    ratio[:-1] = np.maximum(ratio[:-1], largest)
    return Doubt("jump", limit, "px", ratio / limit)


def disagreement(reason: str, keypoints: Keypoints, others: list[Keypoints], limit_px: float | None = None) -> Doubt:
    """Another opinion on the same frame places a keypoint farther away than ``limit_px``."""
    limit = _limit(limit_px, DISAGREEMENT_OF_SIZE, keypoints)
    apart = np.zeros(len(keypoints))
    for other in others:
        distance = np.linalg.norm((keypoints[..., :2] - other[..., :2]).astype(np.float64), axis=2)
        apart = np.maximum(apart, _largest(distance))
    return Doubt(reason, limit, "px", apart / limit)


def score(doubts: list[Doubt]) -> NDArray[np.float64]:
    """Return ``(frames,)``: 0 where nothing is flagged; each reason adds 1 and up to 1 more for its extent."""
    total = np.zeros_like(doubts[0].ratio)
    for doubt in doubts:
        total += np.where(doubt.flagged, 2 - 1 / np.maximum(doubt.ratio, 1), 0)
    return total


def _limit(limit_px: float | None, part: float, keypoints: Keypoints) -> float:
    return limit_px if limit_px is not None else max(part * animal_size(keypoints), LEAST_PX)


def _largest(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(distances).max(axis=1), dtype=np.float64)

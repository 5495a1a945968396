"""What confidences are worth: how often a keypoint of a given confidence lies within the radius that it speaks of.

Unlabelled keypoints have no part in it: labellers leave out what is hidden and what they forgot alike, so nobody knows
where these are. Of them the mean confidence alone is told.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.types import ModelSpec

from poseloop_training.evaluate import EvaluationResult
from poseloop_training.metrics import PCK_FRACTIONS, animal_extents

# A keypoint is right within this part of the animal's extent, the strictest of the PCK's, but never less than what a
# heatmap resolves: two network pixels, half a cell of the default stride.
RADIUS_EXTENT = PCK_FRACTIONS[0]
LEAST_RADIUS_NETWORK_PX = 2.0
# Where no frame has two keypoints there is no extent: this part of the frame's diagonal.
RADIUS_DIAGONAL = 0.01
# Points of the curve, keypoints in each of them, and how far they lie apart at least in confidence.
MOST_BINS = 10
LEAST_IN_BIN = 20
LEAST_BIN_DISTANCE = 0.03
# File of the drawn curve.
RELIABILITY = "reliability.png"
# Confidences of exactly 0 and 1 would make the logarithmic loss infinite.
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Bin:
    """Keypoints of similar confidence: their mean confidence, and the part within the radius with its 95 % interval."""

    keypoints: int
    confidence: float
    within_radius: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidences of labelled keypoints beside what became of them.

    Attributes:
        radius_px: in pixels of the frame.
        calibrated: the model says that its confidence is the probability of lying within this radius.
        confidences: ``(labelled keypoints,)``, 0 where the model found nothing.
        within: ``(labelled keypoints,)``: which lie within the radius.
        unlabelled: confidences of the keypoints without a label.
    """

    radius_px: float
    calibrated: bool
    confidences: NDArray[np.float64]
    within: NDArray[np.bool_]
    unlabelled: NDArray[np.float64]

    @property
    def brier(self) -> float:
        """Mean squared difference of confidence and outcome (Brier 1950)."""
        return float(np.mean((self.confidences - self.within) ** 2))

    @property
    def log_loss(self) -> float:
        """Mean negative logarithm of the probability given to what happened."""
        given = np.where(self.within, self.confidences, 1 - self.confidences)
        return float(-np.log(given.clip(min=LEAST_PROBABILITY)).mean())

    @property
    def calibration_error(self) -> float:
        """Mean distance of the curve from the diagonal, each point weighted by its keypoints (ECE, Naeini 2015)."""
        return sum(abs(b.confidence - b.within_radius) * b.keypoints for b in self.bins) / len(self.confidences)

    @property
    def bins(self) -> tuple[Bin, ...]:
        """The curve: bins of equal numbers of keypoints, the least confident first; those of like confidence joined."""
        count = min(max(len(self.confidences) // LEAST_IN_BIN, 1), MOST_BINS)
        first, *others = np.array_split(np.argsort(self.confidences, kind="stable"), count)
        groups = [first]
        for rows in others:
            near = self.confidences[rows].mean() - self.confidences[groups[-1]].mean() < LEAST_BIN_DISTANCE
            if near:
                groups[-1] = np.concatenate((groups[-1], rows))
            else:
                groups.append(rows)
        return tuple(_bin(self.confidences[rows], self.within[rows]) for rows in groups)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "calibrated": self.calibrated,
            "radius_px": self.radius_px,
            "keypoints": len(self.confidences),
            "mean_confidence": float(self.confidences.mean()),
            "within_radius": float(self.within.mean()),
            "brier": self.brier,
            "log_loss": self.log_loss,
            "expected_calibration_error": self.calibration_error,
            "curve": [asdict(one) for one in self.bins],
            "unlabelled": {
                "keypoints": len(self.unlabelled),
                "mean_confidence": float(self.unlabelled.mean()) if len(self.unlabelled) else None,
            },
        }

    def __str__(self) -> str:
        """Return it as a sentence."""
        kind = "calibrated" if self.calibrated else "not calibrated"
        return (
            f"Confidence ({kind}): {self.confidences.mean():.3f} on average, and {self.within.mean():.1%} of the "
            f"keypoints lie within {self.radius_px:g} px; calibration error {self.calibration_error:.3f}."
        )


def reliability_of(result: EvaluationResult, spec: ModelSpec) -> Reliability:
    """Compare the confidences of a model's predictions with their distances from the labels.

    The radius is the model's own; where its confidence is not calibrated, the one that calibration would choose for
    the labels of these frames.
    """
    calibrated = spec.confidence is not None
    if spec.confidence is not None:
        radius = spec.confidence.radius_px
    else:
        radius = radius_px(result.labels, spec.native_width, spec.native_height, spec.decode.input_scale)
    # What was not found is NaN, of confidence 0, and a comparison with NaN is false.
    confidences = np.nan_to_num(result.predictions[..., 2].astype(np.float64)).clip(0, 1)
    return Reliability(
        radius,
        calibrated,
        confidences[result.labelled],
        result.distances[result.labelled] <= radius,
        confidences[~result.labelled],
    )


def radius_px(labels: NDArray[np.floating], width: int, height: int, input_scale: float) -> float:
    """Return how far from its label a keypoint may lie and still be right, in pixels of the frame.

    Args:
        labels: ``(frames, keypoints, 2)``, NaN where unlabelled.
        width: of most frames.
        height: of most frames.
        input_scale: network pixels a frame pixel.
    """
    extents = animal_extents(labels)
    known = bool(np.isfinite(extents).any())
    wanted = RADIUS_EXTENT * float(np.nanmedian(extents)) if known else RADIUS_DIAGONAL * math.hypot(width, height)
    return round(max(wanted, LEAST_RADIUS_NETWORK_PX / input_scale), 1)


def _bin(confidences: NDArray[np.float64], within: NDArray[np.bool_]) -> Bin:
    """Sum up a bin; the interval of a proportion is Wilson's (1927), which holds for few keypoints and at 0 and 1."""
    n, part, z = len(within), float(within.mean()), 1.96
    middle = (part + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(part * (1 - part) / n + z * z / (4 * n * n))
    # Rounding must not leave the mean outside, nor a bound beyond 0 or 1.
    low, high = max(min(middle - half, part), 0.0), min(max(middle + half, part), 1.0)
    return Bin(n, float(confidences.mean()), part, low, high)

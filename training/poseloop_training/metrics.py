"""How far predictions lie from labels, in pixels of the original image.

Every labelled keypoint counts, however unsure the model is of it: a cut-off by confidence would hide the worst errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Radii in pixels, and in fractions of the animal's extent, at which correct keypoints are counted.
PCK_RADII_PX = (2.5, 5.0, 10.0, 20.0)
PCK_FRACTIONS = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Distances between prediction and label, summed up; NaN where nothing is labelled.

    Attributes:
        labelled: number of labelled keypoints.
        missed: how many of them have no prediction (NaN); they are in no error, and wrong in each PCK.
        mean_px: mean Euclidean distance.
        median_px: median Euclidean distance.
        rmse_px: square root of the mean squared distance.
        pck_radius: part of the labelled keypoints within each radius in pixels.
        pck_fraction: part of them within each fraction of the animal's extent (`animal_extents`).
    """

    labelled: int
    missed: int
    mean_px: float
    median_px: float
    rmse_px: float
    pck_radius: dict[float, float]
    pck_fraction: dict[float, float]


def distances_px(predicted: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Euclidean distances ``(...)`` of two arrays ``(..., 2)``; NaN where either is NaN."""
    # float64: the squares of float32 coordinates in large frames lose the hundredths.
    difference = predicted.astype(np.float64) - labels.astype(np.float64)
    return np.hypot(difference[..., 0], difference[..., 1])


def animal_extents(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the diagonal of the box around each frame's labels in pixels: ``(frames, keypoints, 2)`` to ``(frames,)``.

    A frame with less than two different labels has the median of the others; all are NaN where no frame has two.
    """
    labelled = np.isfinite(labels).all(axis=2)
    low = np.where(labelled[..., None], labels, np.inf).min(axis=1)
    high = np.where(labelled[..., None], labels, -np.inf).max(axis=1)
    extents: NDArray[np.float64] = np.hypot(*(high - low).astype(np.float64).T)
    extended = (labelled.sum(axis=1) >= 2) & (extents > 0)
    extents[~extended] = np.median(extents[extended]) if extended.any() else np.nan
    return extents


def summarize(
    distances: NDArray[np.float64], labelled: NDArray[np.bool_], extents: NDArray[np.float64]
) -> ErrorSummary:
    """Sum up the distances of some frames.

    Args:
        distances: ``(frames, keypoints)`` in pixels, NaN where label or prediction is missing.
        labelled: ``(frames, keypoints)``: which keypoints count.
        extents: ``(frames,)`` the animal's extent in each frame, in pixels.
    """
    count = int(labelled.sum())
    found = distances[labelled & np.isfinite(distances)]
    relative = (distances / extents[:, None])[labelled & np.isfinite(extents)[:, None]]
    some = len(found) > 0
    return ErrorSummary(
        labelled=count,
        missed=count - len(found),
        mean_px=float(found.mean()) if some else float("nan"),
        median_px=float(np.median(found)) if some else float("nan"),
        rmse_px=float(np.sqrt(np.mean(found**2))) if some else float("nan"),
        pck_radius=_parts_within(distances[labelled], PCK_RADII_PX),
        pck_fraction=_parts_within(relative, PCK_FRACTIONS),
    )


def _parts_within(values: NDArray[np.float64], limits: Sequence[float]) -> dict[float, float]:
    # A comparison with NaN is false, so what was missed counts as wrong.
    return {limit: float((values <= limit).mean()) if len(values) else float("nan") for limit in limits}

"""Straight lines through the latest sightings of keypoints, and how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from poseloop_server.stages.filtering import Array

LEAST_POSES: Final = 3  # for a slope, and for what speaks against it


@dataclass(frozen=True, slots=True)
class Lines:
    """One line a keypoint, x and y over time, by least squares; all 0 where there are too few sightings.

    Attributes:
        slope: float64 ``(n, 2)``, in pixels a second.
        explained: float64 ``(n, 2)``: the sums of squares that the line accounts for, in pixels squared.
        whole: float64 ``(n, 2)``: those of the sightings about their mean.
        freedom: float64 ``(n,)``: sightings less the two of a line; 0 where there is no line.
    """

    slope: Array
    explained: Array
    whole: Array
    freedom: Array

    @classmethod
    def through(cls, seconds: Array, points: Array) -> Lines:
        """Lay the lines through ``(times, n, 2)`` points, NaN where there is none, at their times ``(times,)``.

        The points should be small numbers, such as differences from the latest, since sums of squares are subtracted.
        """
        times, count, _ = points.shape
        there = np.isfinite(points)
        points = np.where(there, points, 0.0)
        powers = np.array([np.ones(times), seconds, seconds * seconds])
        # Sums over the sightings; those of a keypoint's times stand twice, for x and for y.
        sightings, sum_t, sum_tt = (powers @ there.reshape(times, -1)).reshape(3, count, 2)
        sum_x, sum_tx = (powers[:2] @ points.reshape(times, -1)).reshape(2, count, 2)
        mean_t = sum_t / np.maximum(sightings, 1.0)
        spread = sum_tt - sum_t * mean_t
        enough = (sightings >= LEAST_POSES) & (spread > 0)
        shared = sum_tx - mean_t * sum_x
        slope = np.divide(shared, spread, out=np.zeros_like(shared), where=enough)
        whole = np.square(points).sum(axis=0) - sum_x * sum_x / np.maximum(sightings, 1.0)
        return cls(slope, slope * shared, enough * whole, enough[:, 0] * (sightings[:, 0] - 2.0))

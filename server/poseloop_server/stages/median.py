"""The median of the latest sightings: single wild keypoints vanish, corners stay sharp."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from poseloop_server.stages.base import StageContext
from poseloop_server.stages.filtering import Array, FilterConfig, Mask, PointFilter, Sight
from poseloop_server.stages.recent import Recent


class MedianConfig(FilterConfig):
    """What the median filter is told."""

    window_ms: float = Field(
        100.0, gt=0, le=10_000, description="The sightings of so long before the pose are taken together with its own."
    )


class Median(PointFilter):
    """The median of x and that of y over the latest sightings; where two stand in the middle, their mean."""

    config = MedianConfig

    def __init__(self, config: MedianConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._window_ns = round(config.window_ms * 1e6)

    def _start(self, animals: int, keypoints: int) -> None:
        self._recent = Recent(self._window_ns, animals * keypoints)
        self._place = np.zeros((animals * keypoints, 2))

    def _step(self, sight: Sight) -> tuple[Array, Mask]:
        recent = self._recent.take_in(sight)
        count = np.isfinite(recent[:, :, 0]).sum(axis=0)
        ordered = np.sort(recent, axis=0)  # NaN goes to the end
        upper, lower = count // 2, np.maximum(count - 1, 0) // 2
        keypoint = np.arange(len(count))
        median = (ordered[lower, keypoint] + ordered[upper, keypoint]) / 2
        np.copyto(self._place, median, where=(count > 0)[:, None])
        return self._place, sight.seen

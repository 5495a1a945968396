"""What all filters share: which keypoints are seen, and for how long a gap is bridged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import Milliseconds, StageConfig, StageContext

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FORGET_NS: Final = 500_000_000  # after so long without a pose, what came before tells nothing about where things are


class FilterConfig(StageConfig):
    """What every filter is told."""

    confidence: float = Field(0.5, ge=0, le=1, description="From which on a keypoint counts as seen.")
    bridge_ms: Milliseconds = Field(100.0, description="For how long a keypoint is still given after it was last seen.")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a filter gets to see at one pose, for all ``n`` = instances x keypoints in one row.

    Attributes:
        now_ns: when the frame was captured.
        interval_s: since the pose before; 0 at the first one.
        since_s: float64 ``(n,)``: since each keypoint was last seen; meaningless where ``fresh``.
        points: float64 ``(n, 2)``: x, y in pixels; meaningless where not ``seen``.
        confidence: float64 ``(n,)``.
        seen: bool ``(n,)``: the keypoint is there, and confident enough.
        fresh: bool ``(n,)``: seen for the first time, or again after it was given up.
        diagonal: of the frame, in pixels.
    """

    now_ns: int
    interval_s: float
    since_s: Array
    points: Array
    confidence: Array
    seen: Mask
    fresh: Mask
    diagonal: float


class PointFilter(ABC):
    """A stage that estimates every keypoint by itself from its sightings, by their times of capture.

    A keypoint that is missing, or below ``confidence``, is given where the filter expects it, with confidence 0 since
    nobody saw it there, until ``bridge_ms`` after it was last seen; then it is absent, and its next sighting starts it
    anew. All keypoints start anew when the frame's or the pose's size changes, when time goes back, and when no pose
    came for longer than both 500 ms and ``bridge_ms``.
    """

    config: ClassVar[type[FilterConfig]] = FilterConfig

    def __init__(self, config: FilterConfig, context: StageContext) -> None:
        del context
        self._confidence = config.confidence
        self._bridge_ns = round(config.bridge_ms * 1e6)
        self._shape: tuple[int, ...] = ()
        self._now_ns = 0

    def reset(self) -> None:
        """Forget all poses."""
        self._shape = ()

    def process(self, pose: LoopPose) -> LoopPose:
        """Give the pose the estimates in place of its keypoints."""
        if not self._goes_on(pose):
            self._begin(pose)
        sight = self._look(pose)
        estimate, accepted = self._step(sight)
        self._alive &= pose.captured_ns - self._seen_ns <= self._bridge_ns
        self._alive |= accepted
        self._seen_ns[accepted] = pose.captured_ns
        keypoints = np.empty((len(estimate), 3), np.float32)
        keypoints[:, :2] = estimate
        keypoints[:, 2] = np.where(accepted, sight.confidence, 0.0)
        if not self._alive.all():
            keypoints[~self._alive] = (np.nan, np.nan, 0)
        pose.keypoints = keypoints.reshape(pose.keypoints.shape)
        return pose

    @abstractmethod
    def _start(self, animals: int, keypoints: int) -> None:
        """Make the state of ``animals`` x ``keypoints`` keypoints, none of them seen."""

    @abstractmethod
    def _step(self, sight: Sight) -> tuple[Array, Mask]:
        """Return the estimates ``(n, 2)``, of any value for keypoints never seen, and which sightings were believed."""

    def _goes_on(self, pose: LoopPose) -> bool:
        since_ns = pose.captured_ns - self._now_ns
        shape = (pose.width, pose.height, *pose.keypoints.shape)
        return shape == self._shape and 0 <= since_ns <= max(FORGET_NS, self._bridge_ns)

    def _begin(self, pose: LoopPose) -> None:
        animals, keypoints = pose.keypoints.shape[:2]
        count = animals * keypoints
        self._shape = (pose.width, pose.height, *pose.keypoints.shape)
        self._now_ns = pose.captured_ns
        self._seen_ns = np.full(count, pose.captured_ns, np.int64)
        self._alive = np.zeros(count, bool)
        self._diagonal = float(np.hypot(pose.width, pose.height))
        self._start(animals, keypoints)

    def _look(self, pose: LoopPose) -> Sight:
        keypoints = pose.keypoints.reshape(-1, 3).astype(np.float64)
        points, confidence = keypoints[:, :2], keypoints[:, 2]
        seen = np.isfinite(points).all(axis=1) & (confidence >= self._confidence)
        interval_s = (pose.captured_ns - self._now_ns) / 1e9
        since_s = (pose.captured_ns - self._seen_ns) / 1e9
        self._now_ns = pose.captured_ns
        return Sight(
            pose.captured_ns, interval_s, since_s, points, confidence, seen, seen & ~self._alive, self._diagonal
        )

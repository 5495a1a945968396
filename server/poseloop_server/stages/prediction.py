"""The pose at the time at which what it causes takes effect."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import Milliseconds, StageContext
from poseloop_server.stages.filtering import Array, FilterConfig, Mask, PointFilter, Sight
from poseloop_server.stages.lines import LEAST_POSES, Lines
from poseloop_server.stages.recent import Recent


class PredictionConfig(FilterConfig):
    """What the prediction is told."""

    actuator_delay_ms: Milliseconds = Field(
        0.0, description="From the decision to the effect: of the output and valve."
    )
    max_horizon_ms: Milliseconds = Field(150.0, description="No farther after its capture is a pose predicted.")
    window_ms: float = Field(
        80.0,
        gt=0,
        le=10_000,
        description="The velocity is that of so long before the pose, and of three poses at least.",
    )
    caution: float = Field(
        24.0,
        ge=0,
        allow_inf_nan=False,
        description="How many times its scatter a movement has to exceed before it is followed at all; 0 follows any.",
    )


class Prediction(PointFilter):
    """Carries each keypoint on, from capture to effect, as far as the animal's movement can be told from scatter.

    The effect comes ``actuator_delay_ms`` after the decision; the pose's own latency, from capture to decision, is
    added. Through the sightings of the window a line is laid for each keypoint, by least squares. Over all keypoints of
    an animal, what the lines explain is set against what they leave, the F statistic of the regression, and the
    velocities are multiplied by ``max(0, 1 - caution / F)``: the form of the positive-part James-Stein estimator
    (Efron and Morris 1973). So an animal at rest is left exactly where it was seen, whatever the noise, the frame
    rate and the size of the animal; one whose movement is steady is carried on by all of its velocity.
    """

    config = PredictionConfig

    def __init__(self, config: PredictionConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._delay_ns = round(config.actuator_delay_ms * 1e6)
        self._most_ns = round(config.max_horizon_ms * 1e6)
        self._window_ns = round(config.window_ms * 1e6)
        self._caution = config.caution
        self._horizon_ns = 0

    def process(self, pose: LoopPose) -> LoopPose:
        """Give the pose the places of its keypoints at the time of the effect, and that time."""
        effect_ns = max(pose.decided_ns - pose.captured_ns, 0) + self._delay_ns
        self._horizon_ns = min(effect_ns, self._most_ns)
        pose = super().process(pose)
        pose.time_ns = pose.captured_ns + self._horizon_ns
        return pose

    def _start(self, animals: int, keypoints: int) -> None:
        self._animals = animals
        self._recent = Recent(self._window_ns, animals * keypoints, LEAST_POSES)
        self._place = np.zeros((animals * keypoints, 2))  # as last seen
        self._velocity = np.zeros((animals * keypoints, 2))  # pixels a second, as far as it is to be followed

    def _step(self, sight: Sight) -> tuple[Array, Mask]:
        seen = sight.seen[:, None]
        self._recent.take_in(sight)
        np.copyto(self._place, sight.points, where=seen)
        np.copyto(self._velocity, self._movement(), where=seen)
        ahead_s = np.where(sight.seen, 0.0, sight.since_s) + self._horizon_ns / 1e9
        return self._place + ahead_s[:, None] * self._velocity, sight.seen

    def _movement(self) -> Array:
        """Return the velocities ``(n, 2)`` to follow; 0 where a keypoint was seen too seldom to tell."""
        times = np.array(self._recent.times_ns)
        lines = Lines.through((times - times[-1]) / 1e9, self._recent.points - self._place)
        explained, whole, free, told = (
            part.reshape(self._animals, -1).sum(axis=1)
            for part in (lines.explained, lines.whole, lines.freedom, lines.freedom > 0)
        )
        scatter = np.maximum(whole - explained, 0.0) / np.maximum(free, 1.0)
        signal = explained / np.maximum(told, 1.0)
        # Where nothing moved, there is nothing to follow.
        doubt = np.divide(self._caution * scatter, signal, out=np.ones_like(signal), where=signal > 0)
        share: Array = np.maximum(1.0 - doubt, 0.0)
        return (lines.slope.reshape(self._animals, -1) * share[:, None]).reshape(-1, 2)

"""The One-Euro filter beside a scalar one written after the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_server.stages.one_euro import OneEuroConfig
from pydantic import ValidationError

from tests.server.stages.recordings import irregular_times, run, walk

FRAMES = 20


class PaperOneEuro:
    """Casiez et al. 2012, algorithms 1 and 2, with the 2-D speed in place of |dx|."""

    def __init__(self, min_cutoff, beta, speed_cutoff):
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.place, self.velocity = None, (0.0, 0.0)

    def filter(self, point, interval):
        if self.place is None:
            self.place = point
        elif interval > 0:
            weight = self.alpha(self.speed_cutoff, interval)
            derivative = [(new - old) / interval for new, old in zip(point, self.place, strict=True)]
            self.velocity = tuple(weight * d + (1 - weight) * v for d, v in zip(derivative, self.velocity, strict=True))
            weight = self.alpha(self.min_cutoff + self.beta * math.hypot(*self.velocity), interval)
            self.place = tuple(weight * new + (1 - weight) * old for new, old in zip(point, self.place, strict=True))
        return self.place

    @staticmethod
    def alpha(cutoff, interval):
        return 1 / (1 + (1 / (2 * math.pi * cutoff)) / interval)


@settings(max_examples=30)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999), min_cutoff=st.floats(0.1, 10), beta=st.floats(0, 300))
def test_does_what_the_paper_says(times, seed, min_cutoff, beta):
    poses = walk(seed, FRAMES, keypoints=2)
    staged = run("one_euro", times, poses, min_cutoff_hz=min_cutoff, beta_per_diagonal=beta, speed_cutoff_hz=2)
    for keypoint in range(2):
        paper = PaperOneEuro(min_cutoff, beta / 800, 2)
        for frame in range(FRAMES):
            interval = times[frame] - times[frame - 1] if frame else 0.0
            x, y = paper.filter(tuple(poses[frame, 0, keypoint, :2].tolist()), interval)
            np.testing.assert_allclose(staged[frame, 0, keypoint, :2], [x, y], rtol=1e-5)


def test_a_missing_frame_is_a_longer_interval():
    poses = walk(1, 20)
    times = np.arange(20) / 50
    holes = poses.copy()
    holes[7, :, 1, 2] = 0
    without = np.delete(np.arange(20), 7)
    staged = run("one_euro", times, holes)
    np.testing.assert_allclose(
        staged[without, :, 1], run("one_euro", times[without], poses[without])[:, :, 1], rtol=1e-6
    )


def test_follows_a_fast_keypoint_sooner_than_a_slow_one():
    times = np.arange(60) / 60
    behind = []
    for speed in (5.0, 200.0):
        poses = np.ones((60, 1, 1, 3), np.float32)
        poses[:, 0, 0, 0] = speed * times
        behind.append((poses - run("one_euro", times, poses))[-1, 0, 0, 0] / speed)
    assert behind[0] > 5 * behind[1]
    assert behind[1] < 0.006


@pytest.mark.parametrize("wrong", [{"min_cutoff_hz": 0}, {"beta_per_diagonal": -1}, {"speed_cutoff_hz": float("inf")}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        OneEuroConfig(**wrong)

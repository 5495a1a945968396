"""The median beside NumPy's, over every window by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_server.loop.pose import LoopPose

from tests.server.stages.recordings import gone, irregular_times, made, names, run, walk

FRAMES = 25


@settings(max_examples=20)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999), window_ms=st.integers(1, 300))
def test_is_the_median_of_the_sightings_of_the_window(times, seed, window_ms):
    poses = gone(walk(seed, FRAMES, keypoints=2), seed)
    staged = run("median", times, poses, window_ms=window_ms, bridge_ms=10_000)
    times_ns = np.round(times * 1e9).astype(np.int64)
    seen = np.isfinite(poses[..., :2]).all(axis=-1) & (poses[..., 2] >= 0.5)
    for frame in range(FRAMES):
        window = times_ns[: frame + 1] >= times_ns[frame] - window_ms * 10**6
        for keypoint in range(2):
            used = poses[: frame + 1, 0, keypoint, :2][window & seen[: frame + 1, 0, keypoint]].astype(float)
            if len(used):
                np.testing.assert_allclose(staged[frame, 0, keypoint, :2], np.median(used, axis=0), rtol=1e-6)


def test_a_single_wild_keypoint_vanishes():
    poses = np.tile(np.array([50, 60, 0.9], np.float32), (30, 1, 1, 1))
    poses[15, ..., :2] = 600
    staged = run("median", np.arange(30) / 50, poses)
    np.testing.assert_array_equal(staged[..., :2], np.tile([50, 60], (30, 1, 1, 1)))


def test_poses_at_one_moment_do_not_pile_up():
    stage = made("median", 3, window_ms=100)
    for index in range(1000):
        stage.process(LoopPose("cage", index, 5, 5, 5, 640, 480, names(3), walk(1, 1)[0]))
    assert len(stage._recent.points) <= 256

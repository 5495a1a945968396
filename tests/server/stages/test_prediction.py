"""Poses at the time of the effect: by which time, in which direction, and when not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.lines import Lines

from tests.server.stages.recordings import gone, irregular_times, made, names, run, walk

FRAMES = 25


def straight(times, velocity=(120.0, -40.0), keypoints=2):
    """Poses that move at even speed."""
    poses = np.full((len(times), 1, keypoints, 3), 0.9)
    poses[..., :2] = np.array([100, 200]) + (np.asarray(times)[:, None] * np.array(velocity))[:, None, None]
    return poses


def processed(stage, captured_ns, poses, latency_ns=0):
    *_, last = (
        stage.process(
            LoopPose("cage", index, time, time + latency_ns, time, 640, 480, names(poses.shape[2]), keypoints)
        )
        for index, (time, keypoints) in enumerate(zip(captured_ns, poses.astype(np.float32), strict=True))
    )
    return last


@settings(max_examples=20)
@given(times=irregular_times(FRAMES), latency=st.integers(0, 60), delay=st.integers(0, 60))
def test_even_movement_is_carried_on_by_latency_and_delay(times, latency, delay):
    captured = [round(time * 1e9) for time in times]
    stage = made("predict", 2, actuator_delay_ms=delay)
    pose = processed(stage, captured, straight(times), latency_ns=latency * 1_000_000)
    assert pose.time_ns == captured[-1] + (latency + delay) * 1_000_000
    if min(np.diff(captured[-3:])) >= 1_000_000:  # nearer ones tell a speed no better than float32 rounds places
        effect = [times[-1] + (latency + delay) / 1e3]
        np.testing.assert_allclose(pose.keypoints[..., :2], straight(effect)[0, ..., :2], atol=1e-2)


@pytest.mark.parametrize(
    ("latency_ms", "delay_ms", "ahead_ms"), [(10, 0, 10), (10, 30, 40), (400, 0, 150), (-5, 20, 20)]
)
def test_the_horizon_is_bounded(latency_ms, delay_ms, ahead_ms):
    times = np.arange(10) / 100
    pose = processed(
        made("predict", 2, actuator_delay_ms=delay_ms), [i * 10_000_000 for i in range(10)], straight(times),
        latency_ns=latency_ms * 1_000_000,
    )  # fmt: skip
    assert pose.time_ns == 90_000_000 + ahead_ms * 1_000_000
    np.testing.assert_allclose(pose.keypoints[0, :, 0], 100 + 120 * (0.09 + ahead_ms / 1e3), rtol=1e-5)


def test_noise_about_one_place_is_left_alone():
    rng = np.random.default_rng(3)
    poses = np.full((600, 1, 5, 3), 0.9, np.float32)
    poses[..., :2] = 200 + rng.normal(0, 1.5, (600, 1, 5, 2))
    staged = run("predict", np.arange(600) / 60, poses)
    moved = (staged != poses).any(axis=(1, 2, 3))
    assert moved.mean() < 0.03


def test_one_keypoint_that_jumps_moves_nothing():
    poses = np.full((30, 1, 4, 3), 0.9)
    poses[..., :2] = 150
    poses[10:, :, 2, 0] = 300
    staged = run("predict", np.arange(30) / 30, poses)
    np.testing.assert_array_equal(staged, poses.astype(np.float32))


def test_noise_takes_only_part_of_a_movement():
    times, rng = np.arange(200) / 60, np.random.default_rng(5)
    poses = straight(times, (60.0, 0.0), keypoints=6)
    clear = poses + np.concatenate([rng.normal(0, 0.05, (200, 1, 6, 2)), np.zeros((200, 1, 6, 1))], axis=3)
    vague = poses + np.concatenate([rng.normal(0, 0.8, (200, 1, 6, 2)), np.zeros((200, 1, 6, 1))], axis=3)
    ahead = [(run("predict", times, one) - one)[20:, 0, :, 0].mean() / (60 * 0.03) for one in (clear, vague)]
    assert ahead[0] > 0.9
    assert 0 <= ahead[1] < ahead[0]


def test_a_missing_keypoint_goes_on_moving_while_it_is_bridged():
    times = np.arange(40) / 50
    poses = straight(times)
    holes = poses.copy()
    holes[30:34, :, 1, 2] = 0
    staged = run("predict", times, holes)
    np.testing.assert_allclose(staged[30:34, 0, 1, :2], straight(times[30:34] + 0.03)[:, 0, 1, :2], atol=1e-3)


def test_needs_three_sightings():
    times = np.arange(4) / 50
    moved = (run("predict", times, straight(times)) - straight(times))[:, 0, 0, 0]
    np.testing.assert_allclose(moved, [0, 0, 3.6, 3.6], atol=1e-4)


@settings(max_examples=20)
@given(times=irregular_times(12), seed=st.integers(0, 999))
def test_lines_are_those_of_polyfit(times, seed):
    poses = gone(walk(seed, 12, keypoints=2), seed)
    seen = np.isfinite(poses[..., :2]).all(axis=-1) & (poses[..., 2] >= 0.5)
    points = np.where(seen[..., None], poses[..., :2], np.nan)[:, 0].astype(float) - 300
    lines = Lines.through(times - times[-1], points)
    for keypoint in range(2):
        used = seen[:, 0, keypoint]
        if used.sum() < 3 or np.ptp(times[used]) < 1e-3:
            continue
        slope, _ = np.polyfit(times[used], points[used, keypoint], 1)
        apart = points[used, keypoint] - points[used, keypoint].mean(axis=0)
        residual = np.polyfit(times[used], points[used, keypoint], 1, full=True)[1]
        np.testing.assert_allclose(lines.slope[keypoint], slope, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(lines.whole[keypoint], np.square(apart).sum(axis=0), rtol=1e-6)
        np.testing.assert_allclose(lines.whole[keypoint] - lines.explained[keypoint], residual, rtol=1e-4, atol=1e-6)
        assert lines.freedom[keypoint] == used.sum() - 2

"""The Kalman filter beside a textbook one, and what it does with wild keypoints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_server.stages import offline

from tests.server.stages.recordings import irregular_times, made, names, run, walk

FRAMES = 20
NO_GATE = 1e6


def textbook(times, points, confidence, order, noise_px, agility):
    """x and y in one state of 2 x order, with the covariance after the equations of any textbook."""
    size = 2 * order
    state, covariance, places = np.zeros(size), np.zeros((size, size)), []
    observe = np.zeros((2, size))
    observe[0, 0] = observe[1, order] = 1
    for frame, (point, trust) in enumerate(zip(points, confidence, strict=True)):
        noise = np.eye(2) * (noise_px / trust) ** 2
        if frame == 0:
            state[0], state[order] = point
            first = [(noise_px / trust) ** 2, (0.5 * 800) ** 2, (2.0 * 800) ** 2][:order]
            covariance = np.diag(first * 2)
        else:
            t = times[frame] - times[frame - 1]
            advance = np.array([[1, t, t * t / 2], [0, 1, t], [0, 0, 1]])[:order, :order]
            # The integral of white noise in the highest derivative, by quadrature.
            nodes, weights = np.polynomial.legendre.leggauss(4)
            late = (nodes + 1) / 2 * t
            input_of = np.stack([late ** (order - 1 - row) / [1, 1, 2][order - 1 - row] for row in range(order)])
            drift = (input_of * weights * t / 2) @ input_of.T * (agility * 800) ** 2
            full, full_drift = np.kron(np.eye(2), advance), np.kron(np.eye(2), drift)
            state, covariance = full @ state, full @ covariance @ full.T + full_drift
            gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + noise)
            state = state + gain @ (point - observe @ state)
            covariance = (np.eye(size) - gain @ observe) @ covariance
        places.append(observe @ state)
    return np.array(places)


@pytest.mark.parametrize("name", ["velocity", "acceleration"])
@settings(max_examples=20)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999), noise=st.floats(0.1, 10), agility=st.floats(0.1, 10))
def test_does_what_the_textbook_says(name, times, seed, noise, agility):
    poses = walk(seed, FRAMES, keypoints=2)
    staged = run(name, times, poses, noise_px=noise, agility=agility, gate_sigmas=NO_GATE)
    order = 2 if name == "velocity" else 3
    for keypoint in range(2):
        points, confidence = poses[:, 0, keypoint, :2].astype(float), poses[:, 0, keypoint, 2].astype(float)
        expected = textbook(times, points, confidence, order, noise, agility)
        np.testing.assert_allclose(staged[:, 0, keypoint, :2], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["velocity", "acceleration"])
def test_a_wild_keypoint_leaves_no_trace(name):
    times, poses = np.arange(40) / 100, walk(2, 40) * np.array([0.1, 0.1, 1], np.float32)
    missing, wild = poses.copy(), poses.copy()
    missing[20, :, 1, 2] = 0
    wild[20, :, 1, :2] += 300
    np.testing.assert_array_equal(run(name, times, wild), run(name, times, missing))


@pytest.mark.parametrize("name", ["velocity", "acceleration"])
def test_what_stays_elsewhere_is_believed_after_the_bridge(name):
    poses = np.tile(np.array([50, 50, 0.9], np.float32), (60, 1, 1, 1))
    poses[20:, ..., :2] = 300
    x = run(name, np.arange(60) / 100, poses, bridge_ms=100)[:, 0, 0, 0]
    np.testing.assert_allclose(x[20:30], 50, atol=1e-3)
    assert np.isnan(x[30])
    np.testing.assert_allclose(x[31:], 300, atol=1e-3)


def test_a_gap_is_bridged_along_the_movement():
    times = np.arange(50) / 100
    poses = np.ones((50, 1, 1, 3), np.float32)
    poses[:, 0, 0, 0] = 100 + 200 * times
    holes = poses.copy()
    holes[40:46, ..., 2] = 0
    staged = run("velocity", times, holes)
    np.testing.assert_allclose(staged[40:46, 0, 0, 0], poses[40:46, 0, 0, 0], atol=0.5)


def test_the_less_confident_the_less_it_follows():
    poses = np.tile(np.array([100, 100, 0.95], np.float32), (30, 1, 2, 1))
    poses[-1, 0, :, 0] = 103
    poses[-1, 0, 1, 2] = 0.55
    x = run("velocity", np.arange(30) / 100, poses)[-1, 0, :, 0]
    assert 100 < x[1] < x[0] < 103


def test_the_covariance_stays_positive_and_symmetric_over_an_hour():
    stage = made("kalman", 2, motion="acceleration", noise_px=1e-3)
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice([1e-4, 1e-2, 0.4], 9000))
    poses = np.tile(walk(4, 90, keypoints=2), (100, 1, 1, 1))
    assert np.isfinite(offline.run([stage], times, poses, (640, 480), names(2))).any()
    covariance = stage._covariance
    np.testing.assert_array_equal(covariance, covariance.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(covariance) > 0).all()

"""What holds for every filter: constants, gaps, restarts, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages import offline

from tests.server.stages.recordings import FILTERS, gone, irregular_times, made, names, run, walk

every_filter = pytest.mark.parametrize("name", FILTERS)
FRAMES = 25
ABSENT = np.array([np.nan, np.nan, 0], np.float32)


@every_filter
@settings(max_examples=15)
@given(times=irregular_times(FRAMES), x=st.floats(-10, 4000), y=st.floats(-10, 4000))
def test_an_animal_that_stands_still_stays_where_it_is(name, times, x, y):
    pose = np.array([[[x, y, 0.9], [x / 2, y, 0.7]]], np.float32)
    poses = np.repeat(pose[None], FRAMES, axis=0)
    np.testing.assert_allclose(run(name, times, poses), poses, rtol=1e-6, atol=1e-5)


@every_filter
@settings(max_examples=15)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999), share=st.floats(0, 1))
def test_a_keypoint_is_either_there_or_absent(name, times, seed, share):
    poses = gone(walk(seed, FRAMES), seed, share)
    staged = run(name, times, poses, bridge_ms=50)
    there = np.isfinite(staged[..., 0])
    assert np.isfinite(staged[there]).all()
    unseen = ~(np.isfinite(poses[..., :2]).all(axis=-1) & (poses[..., 2] >= 0.5))
    assert not staged[unseen][:, 2].any()  # what a gap is bridged with was seen by nobody
    np.testing.assert_array_equal(staged[~there], np.broadcast_to(ABSENT, staged[~there].shape))


@every_filter
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999))
@settings(max_examples=10)
def test_what_is_seen_stays_seen(name, times, seed):
    poses = gone(walk(seed, FRAMES), seed)
    seen = np.isfinite(poses[..., :2]).all(axis=-1) & (poses[..., 2] >= 0.5)
    staged = run(name, times, poses, **({"gate_sigmas": 1e6} if FILTERS[name][0] == "kalman" else {}))
    np.testing.assert_array_equal(staged[seen][:, 2], poses[seen][:, 2])


@every_filter
@settings(max_examples=10)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999))
def test_moved_and_turned_frames_give_moved_and_turned_poses(name, times, seed):
    poses = gone(walk(seed, FRAMES), seed)
    shift = np.array([64, -32, 0], np.float32)
    expected = run(name, times, poses)
    np.testing.assert_allclose(run(name, times, poses + shift), expected + shift, atol=1e-3)
    turned = run(name, times, poses[..., [1, 0, 2]], size=(480, 640))
    np.testing.assert_allclose(turned, expected[..., [1, 0, 2]], atol=1e-3)


@every_filter
@settings(max_examples=10)
@given(times=irregular_times(FRAMES), seed=st.integers(0, 999))
def test_defaults_do_not_depend_on_the_resolution(name, times, seed):
    poses = gone(walk(seed, FRAMES), seed)
    noise = {"noise_px": 2.0} if FILTERS[name][0] == "kalman" else {}
    twice = run(name, times, poses * np.array([2, 2, 1], np.float32), size=(1280, 960), **noise)
    np.testing.assert_allclose(twice, run(name, times, poses) * [2, 2, 1], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "predict"])
def test_keypoints_do_not_touch_each_other(name):
    times, poses = np.arange(40) / 30, gone(walk(1, 40, keypoints=4), 2)
    alone = run(name, times, np.ascontiguousarray(poses[:, :, 2:3]))
    np.testing.assert_array_equal(run(name, times, poses)[:, :, 2:3], alone)


@every_filter
def test_animals_do_not_touch_each_other(name):
    times, poses = np.arange(40) / 30, gone(walk(1, 40, animals=3), 2)
    together = run(name, times, poses)
    for animal in range(3):
        np.testing.assert_array_equal(together[:, animal], run(name, times, poses[:, animal]))


@every_filter
@pytest.mark.parametrize("missing", [ABSENT, np.array([5, np.nan, 0.9]), np.array([5, 5, 0.2])])
def test_a_gap_is_bridged_for_the_stated_time_to_the_millisecond(name, missing):
    poses = np.tile(np.array([100, 50, 0.8], np.float32), (60, 1, 1, 1))
    poses[20:50] = missing
    staged = run(name, np.arange(60) / 100, poses, bridge_ms=80)
    np.testing.assert_allclose(staged[:20, 0, 0], np.tile([100, 50, 0.8], (20, 1)), atol=1e-3)
    np.testing.assert_allclose(staged[20:28, 0, 0], np.tile([100, 50, 0], (8, 1)), atol=1e-3)
    np.testing.assert_array_equal(staged[28:50, 0, 0], np.tile(ABSENT, (22, 1)))
    np.testing.assert_allclose(staged[50:, 0, 0], np.tile([100, 50, 0.8], (10, 1)), atol=1e-3)


@every_filter
def test_without_bridging_nothing_is_made_up(name):
    poses = gone(walk(3, 50), 4)
    staged = run(name, np.arange(50) / 30, poses, bridge_ms=0)
    missing = ~(np.isfinite(poses[..., :2]).all(axis=-1) & (poses[..., 2] >= 0.5))
    np.testing.assert_array_equal(staged[missing], np.broadcast_to(ABSENT, staged[missing].shape))


@every_filter
def test_after_a_gap_too_long_to_bridge_a_keypoint_starts_anew(name):
    poses = walk(5, 40)
    poses[10:30, :, 1] = ABSENT
    times = np.arange(40) / 100
    staged = run(name, times, poses, bridge_ms=50)
    if name == "predict":
        np.testing.assert_array_equal(staged[30, :, 1], poses[30, :, 1])
        return
    np.testing.assert_array_equal(staged[30:, :, 1:2], run(name, times[30:], poses[30:, :, 1:2]))


def live(stage, captured_ns, poses, size=(640, 480)):
    staged = []
    for index, (time, keypoints) in enumerate(zip(captured_ns, poses, strict=True)):
        pose = LoopPose("cage", index, time, time, time, *size, names(poses.shape[2]), keypoints.copy())
        staged.append(stage.process(pose).keypoints)
    return np.stack(staged)


@every_filter
@pytest.mark.parametrize("what", ["time goes back", "a long gap", "another size", "reset"])
def test_starts_anew(name, what):
    kind, own = FILTERS[name]
    stage, poses = made(kind, 3, **own), walk(6, 20)
    times = [10**12 + index * 10_000_000 for index in range(20)]
    fresh = live(made(kind, 3, **own), times, poses)
    live(stage, times, walk(7, 20), size=(320, 240) if what == "another size" else (640, 480))
    if what == "reset":
        stage.reset()
    later = {"time goes back": 0, "a long gap": 800_000_000}.get(what, 200_000_000)
    np.testing.assert_array_equal(live(stage, [time + later for time in times], poses), fresh)


@every_filter
def test_does_not_write_into_the_pose_it_was_given(name):
    kind, own = FILTERS[name]
    given_keypoints = walk(8, 1)[0]
    pose = LoopPose("cage", 0, 0, 5_000_000, 0, 640, 480, names(3), given_keypoints)
    before = given_keypoints.copy()
    staged = made(kind, 3, **own).process(pose).keypoints
    assert staged is not given_keypoints
    assert staged.dtype == np.float32
    np.testing.assert_array_equal(given_keypoints, before)


def test_stages_run_one_after_the_other():
    times, poses = np.arange(30) / 50, gone(walk(9, 30), 9)
    both = offline.run([made("median", 3), made("one_euro", 3)], times, poses, (640, 480), names(3))
    np.testing.assert_array_equal(both, run("one_euro", times, run("median", times, poses)))
    np.testing.assert_array_equal(offline.run([], times, poses, (640, 480), names(3)), poses)


@pytest.mark.parametrize(
    ("times", "shape", "sentence"),
    [
        ([0, 1], (2, 1, 4, 3), "array of .* not"),
        ([0, 1], (2, 3, 2), "array of .* not"),
        ([0, 1, 2], (2, 1, 3, 3), "2 recorded poses need as many times"),
        ([0, np.nan], (2, 1, 3, 3), "not a finite number"),
        ([1, 0], (2, 1, 3, 3), "go back at pose 1"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(times, shape, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        offline.run([], times, np.zeros(shape), (640, 480), names(3))


def test_an_empty_recording_stays_empty():
    assert offline.run([made("kalman", 3)], [], np.zeros((0, 1, 3, 3)), (640, 480), names(3)).shape == (0, 1, 3, 3)

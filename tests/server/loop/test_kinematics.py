from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.loop.kinematics import GAP_S
from poseloop_server.loop.kinematics.timeline import Timeline, Window

from tests.server.loop.scenes import evaluated, names, pose

NAN = math.nan
intervals = st.lists(st.integers(500, 40_000), min_size=2, max_size=60)  # microseconds


def times_of(steps: list[int]) -> list[float]:
    return [each * 1e-6 for each in itertools.accumulate(steps)]


@given(intervals, st.floats(-500, 500), st.floats(-500, 500), st.integers(5, 300))
def test_steady_motion_has_its_velocity_whatever_the_times(
    steps: list[int], right: float, down: float, window_ms: int
) -> None:
    timeline = Timeline()
    window = Window(timeline, window_ms / 1e3)
    xs, ys = timeline.column(window_ms / 1e3), timeline.column(window_ms / 1e3)
    for index, time in enumerate(times_of(steps)):
        timeline.advance(round(time * 1e9))
        xs.append(100 + right * time)
        ys.append(50 + down * time)
        window.update()
        if index:
            assert window.slope(xs) == pytest.approx(right, abs=1e-6)
            assert window.slope(ys) == pytest.approx(down, abs=1e-6)
    assert all(len(column) == len(timeline.times) for column in (xs, ys))


@given(intervals, st.lists(st.one_of(st.just(NAN), st.floats(-100, 100)), min_size=60, max_size=60))
def test_a_slope_is_the_least_squares_line_through_what_is_there(steps: list[int], given_: list[float]) -> None:
    timeline = Timeline()
    window = Window(timeline, 0.1)
    column = timeline.column(0.1)
    stamps = times_of(steps)
    for index, time in enumerate(stamps):
        timeline.advance(round(time * 1e9))
        column.append(given_[index])
        window.update()
    seen = [(t, v) for t, v in zip(stamps, given_, strict=False) if not math.isnan(v)]
    inside = [(t, v) for t, v in seen if t >= stamps[-1] - 0.1 - 1e-6]
    if len(inside) == 1 and len(seen) > 1 and inside[0][0] - seen[-2][0] <= GAP_S:
        inside = seen[-2:]
    slope = window.slope(column)
    if math.isnan(given_[len(stamps) - 1]) or len(inside) < 2:
        assert math.isnan(slope)
    else:
        expected = np.polyfit(*zip(*[(t - stamps[-1], v) for t, v in inside], strict=True), 1)[0]
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_velocity_speed_and_center() -> None:
    poses = [pose(n / 100, {"snout": (3 * n, 4 * n), "neck": (n, 0)}) for n in range(20)]
    for text, value in {
        "velocity_x(snout)": 300,
        "velocity_y(snout, 100 ms)": 400,
        "speed(snout)": 500,
        "velocity_x(center(snout, neck))": 200,
        "x(center(neck, snout))": 38,
        "moved(snout, 0.1 s)": 50,
        "moved(snout, 105 ms)": 52.5,
        "mean(speed(snout), 100 ms)": 500,
        "rate(x(snout))": 300,
        "rate(speed(snout), 100 ms)": 0,
    }.items():
        first, *_, last = evaluated(text, poses)
        assert last == pytest.approx(value, abs=1e-3), text
        assert math.isnan(first) == (text != "x(center(neck, snout))")


@pytest.mark.parametrize(
    "text",
    [
        *("x(snout)", "confidence(snout)", "x(center(snout, neck))", "x(center)", "confidence(center)"),
        *("speed(snout)", "speed(center)", "rate(x(snout))", "moved(snout, 50 ms)", "mean(x(snout), 30 ms)"),
        *("distance(snout, neck)", "angle(snout, neck, tailbase)", "heading(neck, snout)", "turn_rate(neck, snout)"),
        *("time_in(snout, corner)", "time_since_left(snout, corner)"),
        *("distance_to(snout, corner)", "distance_to(snout, port)"),
    ],
)
def test_what_is_missing_is_unknown_and_comes_back(text: str) -> None:
    places = {"snout": (20, 30), "neck": (25, 31), "left ear": (3, 3), "tailbase": (40, 35)}
    without = {name: place for name, place in places.items() if name != "snout"}
    poses = [
        pose(n / 100, without if 10 <= n < 13 else {k: (x + n, y) for k, (x, y) in places.items()}) for n in range(20)
    ]
    values = evaluated(text, [pose(-0.01, {"snout": (0, 0)}), pose(-0.005, {"snout": (199, 99)}), *poses])[2:]
    assert all(math.isnan(value) for value in values[10:13])
    assert not any(math.isnan(value) for value in values[6:10] + values[18:])


@pytest.mark.parametrize("bad", [(NAN, 1.0), (1.0, NAN), (math.inf, 1.0), (1.0, -math.inf)])
def test_a_coordinate_that_is_not_finite_makes_the_keypoint_missing(bad: tuple[float, float]) -> None:
    assert evaluated("snout in corner", [pose(0, {"snout": bad})]) == [None]
    assert math.isnan(evaluated("speed(snout)", [pose(0, {"snout": (1, 1)}), pose(0.01, {"snout": bad})])[-1])


def test_a_pose_without_instances_is_missing_whole() -> None:
    empty = pose(0)
    empty.keypoints = np.zeros((0, 4, 3), np.float32)
    assert evaluated("snout in corner", [empty]) == [None]


def test_velocity_over_a_gap_is_unknown() -> None:
    places = [pose(t, {"snout": (100 * t, 0)}) for t in (0, 0.01, 0.02, 0.7, 0.71)]
    values = evaluated("speed(snout, 2 s)", places)
    assert [math.isnan(value) for value in values] == [True, False, False, True, False]
    slow = [pose(t / 3, {"snout": (30 * t, 0)}) for t in range(4)]
    assert evaluated("speed(snout)", slow)[1:] == pytest.approx([90, 90, 90])


def test_angles_are_those_of_the_image() -> None:
    places = {"neck": (10, 10), "snout": (20, 10), "tailbase": (10, 0), "left ear": (10, 20)}
    for text, value in {
        "heading(neck, snout)": 0,
        "heading(neck, 'left ear')": 90,
        "heading(neck, tailbase)": -90,
        "heading(snout, neck)": 180,
        "angle(snout, neck, 'left ear')": 90,
        "angle('left ear', neck, tailbase)": 180,
        "angle(snout, neck, snout)": 0,
        "angle(snout, neck, center(port))": pytest.approx(math.degrees(math.atan2(39.5, 89.5))),
        "angle_between(170, -170 deg)": 20,
        "angle_between(heading(snout, neck), -90)": 90,
    }.items():
        assert evaluated(text, [pose(0, places)]) == [value], text
    assert math.isnan(evaluated("angle(neck, neck, snout)", [pose(0, places)])[0])
    assert math.isnan(evaluated("heading(neck, neck)", [pose(0, places)])[0])


@pytest.mark.parametrize("rate", [720.0, -720.0])
def test_a_turn_rate_goes_on_through_180_degrees(rate: float) -> None:
    def turned(seconds: float) -> Any:
        turn = math.radians(rate * seconds)
        return pose(seconds, {"neck": (50, 50), "snout": (50 + 20 * math.cos(turn), 50 + 20 * math.sin(turn))})

    values = evaluated("turn_rate(neck, snout)", [turned(n / 100) for n in range(300)])
    assert values[1:] == pytest.approx([rate] * 299, abs=0.1)


def test_time_in_a_zone_counts_from_the_first_pose_inside() -> None:
    inside, outside, missing = {"snout": (10, 10)}, {"snout": (90, 90)}, {}
    story = [
        (0.0, outside),
        (0.1, inside),
        (0.3, inside),
        (0.4, missing),
        (0.5, inside),
        (0.6, outside),
        (0.8, outside),
    ]
    story += [(0.9, inside), (1.0, inside), (1.6, inside), (1.7, inside)]
    poses = [pose(time, places) for time, places in story]
    staying = [0, 0, 0.2, NAN, 0.4, 0, 0, 0, 0.1, 0, 0.1]
    assert evaluated("time_in(snout, corner)", poses) == pytest.approx(staying, nan_ok=True)
    left = [NAN, 0, 0, NAN, 0, 0, 0.2, 0, 0, 0, 0]
    assert evaluated("time_since_left(snout, corner)", poses) == pytest.approx(left, nan_ok=True)
    assert evaluated("snout in corner", poses)[:5] == [False, True, True, None, True]


def test_distance_to_a_zone_is_negative_inside() -> None:
    poses = [pose(0, {"snout": place}) for place in ((60, 20), (50, 20), (40, 20), (53, 54))]
    assert evaluated("distance_to(snout, corner)", poses) == [10, 0, -10, 5]


def test_a_mean_is_unknown_until_the_window_was_seen_and_where_half_is_missing() -> None:
    values = {0.0: 1.0, 0.1: 2.0, 0.2: 3.0, 0.3: NAN, 0.4: NAN, 0.5: 6.0, 0.6: NAN, 0.7: 8.0}
    poses = [pose(time, values={"energy": value}) for time, value in values.items()]
    means = evaluated("mean(energy, 200 ms)", poses, names(values=["energy"]))
    assert means == pytest.approx([NAN, NAN, 2, NAN, NAN, NAN, NAN, 7], nan_ok=True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=30, max_size=200))
def test_a_mean_is_that_of_its_window_to_the_end(values: list[float]) -> None:
    poses = [pose(n / 100, values={"energy": value}) for n, value in enumerate([1e30, *values])]
    last = evaluated("mean(energy, 100 ms)", poses, names(values=["energy"]))[-1]
    assert last == pytest.approx(math.fsum(values[-11:]) / 11, abs=1e-9)


def test_time_that_goes_back_replaces_what_it_does_not_follow() -> None:
    steady = [pose(t, {"snout": (1000 * t, 0)}) for t in (0, 0.01, 0.02, 0.03, 0.027, 0.04)]
    assert evaluated("speed(snout)", steady)[1:] == pytest.approx([1000] * 5, abs=0.01)
    again = [*steady, *(pose(t - 100, {"snout": (10, 10)}) for t in (0, 0.01, 0.02))]
    assert evaluated("time_in(snout, corner)", again)[-1] == pytest.approx(0.02)
    assert evaluated("moved(snout, 10 ms)", again)[-1] == 0


def test_what_is_kept_is_bounded() -> None:
    timeline = Timeline()
    column = timeline.column(0.1)
    for n in range(20_000):
        timeline.advance(n * 1_000_000)
        column.append(float(n))
    assert len(column) == len(timeline.times) < 1500
    assert timeline.times[-1] - timeline.times[timeline.since(0.1)] == pytest.approx(0.1)


def test_lengths_may_be_in_centimetres() -> None:
    known = names(unit="cm", pixels_per_cm=20.0)
    poses = [pose(n / 100, {"snout": (2 * n, 0), "neck": (2 * n, 40)}) for n in range(10)]
    assert evaluated("distance(snout, neck)", poses, known)[-1] == pytest.approx(2)
    assert evaluated("speed(snout)", poses, known)[-1] == pytest.approx(10)
    assert evaluated("distance_to(snout, corner)", poses, known)[-1] == pytest.approx(0)
    assert evaluated("distance(snout, neck) > 39 px and speed(snout) < 101 mm/s", poses, known)[-1] is True
    in_pixels = names(pixels_per_cm=20.0)
    assert evaluated("distance(snout, neck) == 2 cm", poses, in_pixels)[-1] is True

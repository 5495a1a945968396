"""The parts of `poseloop bench loop` that need no process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.arena import Arena, ArenaSettings
from poseloop_server.bench.loop import match
from poseloop_server.bench.steps import KEYPOINT, ZONE_CENTER, ZONE_RADIUS, StepFilm, first_inside

MS = 1_000_000


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_animal_steps_in_as_often_as_asked_and_out_again(seed: int, trials: int) -> None:
    inside = StepFilm(320, 240, "gray", seed).steps(trials)
    assert len(first_inside(inside)) == trials
    assert not inside[0]
    assert not inside[-1]


def test_every_frame_shows_the_animal_where_it_is_said_to_be() -> None:
    film = StepFilm(160, 120, "gray")
    outside, inside = film.render()
    arena = Arena(ArenaSettings(160, 120, 30.0))
    part = arena.keypoint_names.index(KEYPOINT)
    frames = {arena.frame(index).tobytes(): index for index in range(int(arena.period_s * 30))}
    for images, is_inside in ((outside, False), (inside, True)):
        for image in images:
            x, y = arena.keypoints(frames[image.tobytes()])[part]
            away = np.hypot(x - ZONE_CENTER[0] * 160, y - ZONE_CENTER[1] * 120)
            assert (away < ZONE_RADIUS * 160) == is_inside


@pytest.mark.parametrize(
    ("arrived", "times", "left_over"),
    [
        ([12, 105], [2, 5], 0),
        ([12], [2], 0),  # a step without a byte
        ([12, 13, 105], [2, 5], 1),  # a second byte
        ([3, 12, 105], [2, 5], 1),  # a byte before the first step
        ([], [], 0),
    ],
)
def test_each_step_gets_the_first_byte_before_the_next(arrived: list[int], times: list[float], left_over: int) -> None:
    steps = np.array([10, 100], np.int64) * MS
    found, others = match(steps, np.array(arrived, np.int64) * MS)
    assert found.tolist() == times
    assert others == left_over

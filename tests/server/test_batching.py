from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.errors import PoseloopError
from poseloop_server import batching
from poseloop_server.batching import MARGIN, BatchPlan, measure, plan

CURVES = st.builds(
    lambda alone, ratios: {1: alone} | {2**power: alone * ratio for power, ratio in enumerate(ratios, 1)},
    st.floats(0.1, 500),
    st.lists(st.floats(0.5, 20), max_size=4),
)


def _round(found: BatchPlan, waiting: int) -> float:
    """How long it takes until the last of so many frames is inferred."""
    total = 0.0
    while waiting:
        size = found.size(waiting)
        assert 1 <= size <= waiting
        total += found.times_ms[size]
        waiting -= size
    return total


@given(CURVES, st.integers(1, 40))
def test_only_measured_sizes_are_used_and_the_last_pose_never_gets_older(times: dict[int, float], waiting: int) -> None:
    found = plan(times, 100)
    assert found.size(waiting) in times
    assert _round(found, waiting) <= waiting * times[1] * (1 + 1e-9)


@given(CURVES)
def test_a_batch_is_formed_exactly_where_one_wins_by_the_margin(times: dict[int, float]) -> None:
    gains = [time < frames * times[1] * (1 - MARGIN) * (1 - 1e-9) for frames, time in times.items() if frames > 1]
    assert plan(times, 100).batches >= any(gains)
    loses = [time > frames * times[1] * (1 - MARGIN) * (1 + 1e-9) for frames, time in times.items() if frames > 1]
    if all(loses):
        assert not plan(times, 100).batches


@given(CURVES, st.integers(1, 16))
def test_no_other_way_to_split_a_round_is_shorter(times: dict[int, float], waiting: int) -> None:
    costs = {frames: time if frames == 1 else time / (1 - MARGIN) for frames, time in times.items()}

    def shortest(left: int) -> float:
        return min((costs[size] + shortest(left - size) for size in costs if size <= left), default=0.0)

    found = plan(times, 100)
    total, left = 0.0, min(waiting, max(times), 8)
    expected = shortest(left)
    while left:
        total += costs[found.size(left)]
        left -= found.size(left)
    assert total == pytest.approx(expected)


def test_nothing_measured_means_no_batches() -> None:
    assert not BatchPlan().batches
    assert BatchPlan().size(16) == 1


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], batching.Infer]:
    """Makes an inference that takes as many milliseconds as told, on a clock that nothing else moves."""
    now = [0]
    monkeypatch.setattr(batching, "now_ns", lambda: now[0])

    def make(time_ms: Callable[[int], float]) -> batching.Infer:
        def infer(images: np.ndarray) -> np.ndarray:
            now[0] += round(time_ms(len(images)) * 1e6)
            return np.zeros((len(images), 1, 1, 3), np.float32)

        return infer

    return make


IMAGE = np.zeros((1, 4, 6, 1), np.uint8)


def test_sizes_are_doubled_as_long_as_they_gain(clocked) -> None:
    found = measure(clocked(lambda frames: 10 + frames), IMAGE, 8)
    assert found.times_ms == pytest.approx({1: 11, 2: 12, 4: 14, 8: 18})
    assert [found.size(waiting) for waiting in (1, 2, 4, 8, 20)] == [1, 2, 4, 8, 8]
    assert found.largest_pixels == 24
    assert max(measure(clocked(lambda frames: 10 + frames), IMAGE, 5).sizes) == 4


def test_where_a_batch_takes_as_long_as_its_frames_the_search_ends_and_nothing_is_batched(clocked) -> None:
    found = measure(clocked(lambda frames: 5.0 * frames), IMAGE, 64)
    assert found.times_ms == pytest.approx({1: 5, 2: 10})
    assert not found.batches


def test_batches_of_a_second_are_not_tried(clocked) -> None:
    assert max(measure(clocked(lambda frames: 200.0), IMAGE, 64).times_ms) == 4


def test_a_graph_that_fails_on_a_batch_or_answers_one_frame_only_is_not_batched(clocked) -> None:
    def fails(images: np.ndarray) -> np.ndarray:
        if len(images) > 1:
            raise PoseloopError("no")
        return images

    assert not measure(fails, IMAGE, 8).batches
    assert not measure(lambda images: np.zeros((1, 1, 1, 3), np.float32), IMAGE, 8).batches

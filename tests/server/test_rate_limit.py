from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.rate_limit import RateLimit

RATES = st.integers(1, 500)


@given(RATES, st.lists(st.integers(0, 10**9), min_size=1, max_size=100), st.integers(0, 2**60))
def test_no_run_of_frames_is_faster_than_the_limit(fps: int, gaps: list[int], start: int) -> None:
    limit = RateLimit(fps)
    through = [captured for captured in accumulate(gaps, initial=start) if limit.admits(captured)]
    assert through[0] == start
    interval = Fraction(round(1e9 / fps))
    for first in range(len(through)):
        for last in range(first + 1, len(through)):
            frames = last - first + 1
            assert through[last] - through[first] >= (frames - Fraction(5, 4)) * interval - 1


@given(RATES, st.floats(1.0, 5.0), st.lists(st.floats(0, 0.24), min_size=1, max_size=100))
def test_a_camera_within_the_limit_loses_nothing(fps: int, slower: float, jitter: list[float]) -> None:
    limit = RateLimit(fps)
    interval = 1e9 / fps
    captured = [round((number * slower + late) * interval) for number, late in enumerate(jitter)]
    assert all(limit.admits(time) for time in captured)


@given(st.integers(2, 8), RATES)
def test_of_a_multiple_of_the_limit_every_nth_frame_goes_through(multiple: int, fps: int) -> None:
    limit = RateLimit(fps)
    captured = [round(number * 1e9 / (fps * multiple)) for number in range(20 * multiple)]
    through = sum(limit.admits(time) for time in captured)
    # A frame that is up to a quarter of an interval early is taken, so that the first may be one more.
    assert 20 <= through <= 21


def test_time_that_begins_anew_does_not_silence_a_stream() -> None:
    limit = RateLimit(10)
    assert limit.admits(10**15)
    assert not limit.admits(10**15 + 1)
    assert limit.admits(0)
    assert not limit.admits(10**6)
    assert limit.admits(10**8)

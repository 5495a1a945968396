from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from poseloop.beat import Beat

MS = 1_000_000
START = 10_000 * MS


def beat_of(*intervals_ms: float) -> tuple[Beat, int]:
    """Return a beat and its latest moment."""
    beat, moment = Beat(), START
    beat.note(moment)
    for interval in intervals_ms:
        moment += int(interval * MS)
        beat.note(moment)
    return beat, moment


def test_it_is_due_a_millisecond_before_the_next_moment() -> None:
    beat, last = beat_of(*[10] * 8)
    assert beat.warm_up_ns(last + 1 * MS) == last + 9 * MS
    assert beat.warm_up_ns(last + 9 * MS) == last + 9 * MS


def test_where_some_came_early_it_is_due_before_such_a_one() -> None:
    beat, last = beat_of(10, 9.5, 10.5, 10, 10, 10, 10, 10)
    assert beat.warm_up_ns(last) == last + int(8.5 * MS)


def test_once_done_the_moment_after_the_next_is_due() -> None:
    beat, last = beat_of(*[10] * 8)
    beat.warmed_up(last + 9 * MS)
    assert beat.warm_up_ns(last + 9 * MS) == last + 19 * MS
    beat.note(last + 10 * MS)
    assert beat.warm_up_ns(last + 10 * MS) == last + 19 * MS


def test_what_is_too_late_is_left_out() -> None:
    beat, last = beat_of(*[10] * 8)
    assert beat.warm_up_ns(last + 10 * MS) == last + 19 * MS


def test_a_moment_may_be_missing_but_not_many() -> None:
    beat, last = beat_of(*[10] * 8)
    assert beat.warm_up_ns(last + 25 * MS) == last + 29 * MS
    assert beat.warm_up_ns(last + 100 * MS) is None


def test_one_long_pause_ends_no_row() -> None:
    beat, last = beat_of(10, 10, 10, 300, 10, 10, 10, 10)
    assert beat.warm_up_ns(last) == last + 9 * MS


def test_nothing_is_foreseen_of_what_has_no_beat() -> None:
    for intervals in ([10] * 3, [2] * 8, [2000] * 8, [10, 30, 2, 50, 40, 3, 33, 29]):
        beat, last = beat_of(*intervals)
        assert beat.warm_up_ns(last) is None, intervals


@given(
    st.lists(st.integers(5 * MS, 1000 * MS), min_size=4, max_size=20),
    st.lists(st.integers(0, 2000 * MS), max_size=20),
)
def test_whoever_waits_for_what_is_due_does_it_once_for_each_moment(intervals: list[int], waits: list[int]) -> None:
    beat, last = beat_of(*(interval / MS for interval in intervals))
    now, done = last, []
    for wait in waits:
        now += wait
        due = beat.warm_up_ns(now)
        if due is None:
            continue
        assert due > last, "it would be for a moment that has passed"
        now = max(now, due)
        beat.warmed_up(now)
        done.append(due)
    assert done == sorted(set(done))

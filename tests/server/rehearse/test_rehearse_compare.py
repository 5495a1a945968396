"""Pairs of events of two rules."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.rehearse.compare import _paired, compare
from poseloop_server.rehearse.run import Event, Rehearsal, run

from tests.server.rehearse.recordings import Walk, rule

TIMES = st.lists(st.integers(0, 300), max_size=12).map(sorted)


def events(times: list[int]) -> list[Event]:
    return [Event(time, time, time, Decision("t", Edge.RISE, True, "", {})) for time in times]


def most_pairs(first: list[int], second: list[int], tolerance: int) -> int:
    """How many can be paired at most, in order, by trying everything."""
    best = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, mine in enumerate(first):
        for j, theirs in enumerate(second):
            near = abs(mine - theirs) <= tolerance
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + near)
    return best[-1][-1]


@given(TIMES, TIMES, st.integers(0, 50))
def test_each_event_is_in_one_pair_and_no_more_could_be_paired(
    first: list[int], second: list[int], tolerance: int
) -> None:
    pairs = list(_paired("t", Edge.RISE, events(first), events(second), tolerance))
    assert [pair.first.decided_ns for pair in pairs if pair.first] == first
    assert [pair.second.decided_ns for pair in pairs if pair.second] == second
    both = [pair for pair in pairs if pair.later_ns is not None]
    assert all(abs(pair.later_ns or 0) <= tolerance for pair in both)
    assert len(both) == most_pairs(first, second, tolerance)


def test_a_rule_that_holds_longer_comes_later_and_misses_what_is_short(tmp_path: Path) -> None:
    walk = Walk([0, 0, *[150] * 12, 0, 0, *[150] * 3, *[0] * 3])
    first = Rehearsal(rule(tmp_path), "cam0", walk)
    held = rule(tmp_path, ("entered:", "stays:"), ("when:", "hold_ms: 50\n        when:"), name="held.yaml")
    second = Rehearsal(held, "cam0", walk)
    run([first, second], walk)
    pairs = compare(first, second, 60_000_000)
    assert [(pair.trigger, pair.edge.value, pair.later_ns) for pair in pairs] == [
        ("entered", "rise", 50_000_000), ("entered", "fall", 0), ("entered", "rise", None), ("entered", "fall", None)
    ]  # fmt: skip
    assert [pair.later_ns for pair in compare(first, second, 40_000_000)][:2] == [None, None]
    same = compare(first, first, 0)
    assert [pair.later_ns for pair in same] == [0] * len(first.events)

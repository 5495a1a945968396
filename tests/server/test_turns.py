from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.turns import Turns

STREAMS = st.lists(st.integers(-2, 2), min_size=1, max_size=6)  # the priority of each


@given(STREAMS, st.data())
def test_the_highest_priority_is_served_and_within_it_who_waited_longest(priorities: list[int], data) -> None:
    turns: Turns[int] = Turns()
    waiting: list[int] = []  # in the order of arrival
    for _ in range(data.draw(st.integers(0, 40))):
        idle = [stream for stream in range(len(priorities)) if stream not in waiting]
        if idle and (not waiting or data.draw(st.booleans())):
            stream = data.draw(st.sampled_from(idle))
            turns.add(priorities[stream], stream)
            waiting.append(stream)
        else:
            highest = max(priorities[stream] for stream in waiting)
            expected = next(stream for stream in waiting if priorities[stream] == highest)
            assert turns.peers(highest)[0] == expected
            assert turns.next() == expected
            waiting.remove(expected)
        assert bool(turns) == bool(waiting)


@given(STREAMS, st.integers(1, 5))
def test_streams_of_one_priority_that_are_always_ready_take_turns(priorities: list[int], rounds: int) -> None:
    turns: Turns[int] = Turns()
    for stream, priority in enumerate(priorities):
        turns.add(priority, stream)
    best = [stream for stream, priority in enumerate(priorities) if priority == max(priorities)]
    served = []
    for _ in range(rounds * len(best)):
        stream = turns.next()
        served.append(stream)
        turns.add(priorities[stream], stream)
    assert served == best * rounds


def test_one_may_be_taken_out_before_its_turn() -> None:
    turns: Turns[str] = Turns()
    for name in "abc":
        turns.add(0, name)
    turns.remove(0, "b")
    assert [turns.next(), turns.next()] == ["a", "c"]
    assert not turns
    assert turns.peers(0) == []

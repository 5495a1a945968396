import threading

from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.record.backlog import Backlog, Item


@given(st.integers(1, 9), st.lists(st.booleans() | st.integers(1, 5), max_size=80))
def test_what_is_missing_stands_where_it_was(limit: int, acts: list[bool | int]) -> None:
    """Numbered items: those taken and those that a gap counts are all of them, each gap between its neighbours."""
    backlog, written, put = Backlog(limit), [], 0
    for act in acts:
        if isinstance(act, bool):
            backlog.put(Item("pose", "a" if act else "", put))
            put += 1
        else:
            written += backlog.take(act)
        assert len(backlog) <= limit + 1
    backlog.say_what_is_missing()
    written += backlog.take(1000)
    expected = 0
    for item in written:
        if item.kind == "lost":
            assert item.content["entries"]["pose"] > 0
            assert item.content["from_ns"] <= item.content["to_ns"]
            expected += item.content["entries"]["pose"]
        else:
            assert item.content == expected
            expected += 1
    assert expected == put
    assert backlog.lost == put - sum(item.kind == "pose" for item in written)


def test_a_gap_names_the_streams_that_lack_something() -> None:
    backlog = Backlog(1)
    for stream in ("a", "b", "", "c", "b"):
        backlog.put(Item("pose" if stream else "outcome", stream, None))
    backlog.say_what_is_missing()
    gap = backlog.take(9)[-1].content
    assert gap["streams"] == ["b", "c"]
    assert gap["entries"] == {"pose": 3, "outcome": 1}


def test_many_threads_lose_nothing_uncounted() -> None:
    backlog, done = Backlog(50), threading.Event()
    taken: list[Item] = []

    def take() -> None:
        while not done.is_set() or len(backlog):
            taken.extend(backlog.take(7))

    def put() -> None:
        for number in range(3000):
            backlog.put(Item("pose", "", number))

    taker = threading.Thread(target=take)
    putters = [threading.Thread(target=put) for _ in range(3)]
    for thread in (taker, *putters):
        thread.start()
    for thread in putters:
        thread.join()
    backlog.say_what_is_missing()
    done.set()
    taker.join()
    gaps = [item.content["entries"]["pose"] for item in taken if item.kind == "lost"]
    assert sum(gaps) == backlog.lost
    assert sum(item.kind == "pose" for item in taken) + backlog.lost == 9000


def test_the_decisions_that_are_lost_with_their_cause_are_counted_with_it() -> None:
    backlog = Backlog(1)
    for item in (
        Item("account", "", None),
        Item("pose", "a", None, 3),
        Item("pose", "a", None),
        Item("ended", "a", None, 1),
    ):
        backlog.put(item)
    backlog.count_lost(Item("armed", "a", None))
    backlog.say_what_is_missing()
    gap = backlog.take(9)[-1].content
    assert gap["entries"] == {"pose": 2, "decision": 4, "ended": 1, "armed": 1}
    assert backlog.lost == 8

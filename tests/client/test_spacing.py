from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.spacing import Spacing

MS = 1_000_000


class Link:
    """A link that carries one frame after the other, and an answer that comes a fixed time after each."""

    def __init__(self, ns_per_byte: float, delay_ns: int) -> None:
        self.ns_per_byte = ns_per_byte
        self.delay_ns = delay_ns
        self.free_ns = 0.0

    def answer_ns(self, size: int, now_ns: int) -> int:
        self.free_ns = max(self.free_ns, now_ns) + size * self.ns_per_byte
        return round(self.free_ns) + self.delay_ns


class World:
    """A camera that offers frames to a link, newest wins; in simulated time."""

    def __init__(self, link: Link, interval_ns: int, window: int = 2, size: int = 1000) -> None:
        self.link = link
        self.spacing = Spacing()
        self.now_ns = 0
        self._interval_ns, self._window, self._size = interval_ns, window, size
        self._next_frame_ns, self._sequence = 0, 0
        self._waiting: int | None = None
        self._answers: list[tuple[int, int]] = []

    def film(self, frames: int) -> list[float]:
        """Offer so many frames; returns the round trip of each that left."""
        round_trips = []
        until = self._sequence + frames
        while self._sequence < until:
            self.now_ns = min([self._next_frame_ns, *(at for at, _ in self._answers)])
            for at, answered in list(self._answers):
                if at <= self.now_ns:
                    self._answers.remove((at, answered))
                    self.spacing.answered(answered, at)
            if self.now_ns >= self._next_frame_ns:
                self._waiting, self._next_frame_ns = self._sequence, self._next_frame_ns + self._interval_ns
                self._sequence += 1
            has_room = len(self._answers) < self._window and self.spacing.may_follow(self.now_ns)
            if self._waiting is not None and has_room:
                at = self.link.answer_ns(self._size, self.now_ns)
                self.spacing.sent(self._waiting, self._size, self.now_ns)
                self._answers.append((at, self._waiting))
                round_trips.append(float(at - self.now_ns))
                self._waiting = None
        return round_trips

    def rest(self) -> int:
        """Wait for every answer; returns a moment at which nothing is under way."""
        for at, answered in sorted(self._answers):
            self.spacing.answered(answered, at)
            self.now_ns = at
        self._answers.clear()
        return self.now_ns


@settings(max_examples=150)
@given(transfer_ms=st.floats(5, 500), share=st.floats(0.02, 0.9), delay_ms=st.floats(0.1, 50), window=st.integers(2, 8))
def test_on_a_slow_link_a_frame_hardly_queues(transfer_ms: float, share: float, delay_ms: float, window: int) -> None:
    link = Link(transfer_ms * MS / 1000, round(delay_ms * MS))
    interval_ns = max(MS, round(share * transfer_ms * MS))
    round_trips = World(link, interval_ns, window).film(max(400, math.ceil(60 / share)))
    alone_ns = (transfer_ms + delay_ms) * MS
    assert sorted(round_trips)[len(round_trips) // 2] < 1.25 * alone_ns + 2.5 * MS
    if window == 2:  # the server's default; with more, more frames leave before a spacing that is too short shows
        assert sorted(round_trips)[len(round_trips) * 9 // 10] < alone_ns + (0.9 * transfer_ms + 2.5) * MS


@settings(max_examples=100)
@given(transfer_ms=st.floats(0.05, 10), delay_ms=st.floats(0.1, 200))
def test_on_a_link_that_carries_every_frame_none_is_held_back_in_the_end(transfer_ms: float, delay_ms: float) -> None:
    link = Link(transfer_ms * MS / 1000, round(delay_ms * MS))
    interval_ns = round(max(2 * transfer_ms, (transfer_ms + delay_ms) / 2 + 0.1) * MS)
    world = World(link, interval_ns)
    world.film(100)
    round_trips = world.film(100)
    assert len(round_trips) >= 98


def test_until_the_first_answer_no_frame_follows_another() -> None:
    spacing = Spacing()
    assert spacing.may_follow(0)
    spacing.sent(0, 1000, 0)
    assert not spacing.may_follow(10**15)
    spacing.answered(0, 5 * MS)
    assert spacing.may_follow(5 * MS)


def test_a_link_that_becomes_slower_and_faster_is_learned_anew() -> None:
    link = Link(1, MS)
    world = World(link, 5 * MS)
    medians = []
    for transfer_ms in (10, 100, 10):
        link.ns_per_byte = transfer_ms * MS / 1000
        round_trips = world.film(4000)
        medians.append(sorted(round_trips)[len(round_trips) // 2] / MS)
    for transfer_ms, usual_ms in zip((10, 100, 10), medians, strict=True):
        assert transfer_ms < usual_ms < 1.3 * transfer_ms + 3


def test_a_large_frame_among_small_ones_is_waited_for() -> None:
    world = World(Link(10 * MS / 1000, MS), 5 * MS)  # ten milliseconds for 1000 bytes
    world.film(200)
    now_ns = world.rest()
    world.spacing.sent(1000, 16_000, now_ns)
    assert not world.spacing.may_follow(now_ns + 50 * MS), "the small frames' time is not the large one's"
    assert world.spacing.may_follow(now_ns + 200 * MS)


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    spacing = Spacing()
    spacing.answered(7, MS)
    assert spacing.may_follow(0)

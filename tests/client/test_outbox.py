from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from poseloop.outbox import Outbox
from poseloop.types import Counters, Policy


class OutboxWorld(RuleBasedStateMachine):
    """A source, an outbox and a server that keeps to the contract, with connections that break at any moment."""

    @initialize(policy=st.sampled_from(Policy))
    def begin(self, policy: Policy) -> None:
        self.policy = policy
        self.outbox: Outbox[int] = Outbox(policy)
        self.is_open = False
        self.window = 0
        self.offered = 0
        self.at_server: list[int] = []  # taken in this session, not answered
        self.unanswered_live: int = 0
        self.server = Counters()
        self.taken_in_session: list[int] = []
        self.answered: set[int] = set()

    @rule(window=st.integers(0, 5))
    def open(self, window: int) -> None:
        if not self.is_open:
            self.is_open, self.window, self.server = True, max(1, window), Counters()
            self.taken_in_session = []
            self.outbox.opened(window)

    @precondition(lambda self: self.outbox.has_room)
    @rule()
    def offer(self) -> None:
        assert self.outbox.offer(self.offered) == self.offered
        self.offered += 1

    @rule()
    def take(self) -> None:
        outgoing = self.outbox.take()
        if outgoing is None:
            return
        assert self.is_open
        assert outgoing.sequence == outgoing.payload
        assert outgoing.sent == self.offered
        if self.taken_in_session:
            assert outgoing.sequence > self.taken_in_session[-1]
        if self.policy is Policy.LIVE:
            assert outgoing.sequence == self.offered - 1, "a live outbox sends the newest frame"
        self.taken_in_session.append(outgoing.sequence)
        self.at_server.append(outgoing.sequence)
        self.server = replace(self.server, received=self.server.received + 1)

    @precondition(lambda self: self.at_server)
    @rule(fate=st.sampled_from(["published", "dropped_rate", "dropped_mailbox", "failed"]))
    def answer(self, fate: str) -> None:
        if self.policy is Policy.LOSSLESS and fate.startswith("dropped"):
            fate = "published"
        sequence = self.at_server.pop(0)
        self.server = replace(self.server, **{fate: getattr(self.server, fate) + 1})
        assert self.outbox.acknowledge(sequence, self.server)
        assert not self.outbox.acknowledge(sequence, self.server), "a second answer changes nothing"
        self.answered.add(sequence)

    @precondition(lambda self: self.is_open)
    @rule()
    def break_connection(self) -> None:
        before = self.outbox.counters
        cost = self.outbox.broke()
        if self.policy is Policy.LIVE:
            assert cost.lost == len(self.at_server)
            assert cost.to_resend == 0
        else:
            assert cost.lost == 0
            assert cost.to_resend == len(self.at_server)
        assert self.outbox.counters.lost_connection == before.lost_connection + cost.lost
        self.at_server.clear()
        self.is_open = False

    @invariant()
    def account_is_exact(self) -> None:
        counters = self.outbox.counters
        waiting = counters.in_flight - self.outbox.unacknowledged
        assert counters.sent == self.offered
        assert waiting >= 0
        assert self.outbox.idle == (counters.in_flight == 0)
        if self.policy is Policy.LIVE:
            assert waiting <= 1
        else:
            assert counters.dropped_outbox == counters.lost_connection == 0

    @invariant()
    def window_holds(self) -> None:
        assert self.outbox.unacknowledged <= self.window
        assert self.outbox.unacknowledged == len(self.at_server)

    def teardown(self) -> None:
        """Lossless: with a connection that holds, every frame is answered in the end."""
        if not hasattr(self, "policy") or self.policy is Policy.LIVE:
            return
        self.open(1)
        for _ in range(4 * self.offered + 4):
            self.take()
            if self.at_server:
                self.answer("published")
        assert self.outbox.idle
        assert self.answered == set(range(self.offered))


TestOutbox = OutboxWorld.TestCase
TestOutbox.settings = settings(max_examples=60, stateful_step_count=40)


def test_live_counts_frames_of_unknown_fate_as_lost() -> None:
    outbox: Outbox[int] = Outbox(Policy.LIVE)
    outbox.opened(3)
    for sequence in range(3):
        outbox.offer(sequence)
        outbox.take()
    # All three were received, so all are acknowledged; one is published, one replaced, and nobody knows of the third.
    for sequence in range(3):
        outbox.acknowledge(sequence, Counters(received=sequence + 1, published=1, dropped_mailbox=1))
    assert outbox.broke().lost == 1
    assert outbox.counters.in_flight == 0


def test_an_older_account_does_not_undo_a_newer_one() -> None:
    outbox: Outbox[int] = Outbox(Policy.LIVE)
    outbox.opened(2)
    outbox.offer(0)
    outbox.take()
    outbox.acknowledge(0, Counters(received=1, published=1))
    outbox.acknowledge(0, Counters(received=1, published=0))
    assert outbox.counters.published == 1


def test_a_full_lossless_outbox_refuses() -> None:
    outbox: Outbox[int] = Outbox(Policy.LOSSLESS)
    outbox.offer(0)
    with pytest.raises(RuntimeError):
        outbox.offer(1)


def test_giving_up_counts_what_waits() -> None:
    outbox: Outbox[int] = Outbox(Policy.LIVE)
    outbox.offer(0)
    assert outbox.give_up() == 1
    assert outbox.counters.dropped_outbox == 1
    assert outbox.idle

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.types import PixelFormat, Policy
from poseloop_server.frames import IncomingFrame
from poseloop_server.stream import ClientAccount, Stream, StreamIdentity, make_mailbox
from poseloop_server.stream_table import StreamTable


class World:
    """Programs that send one stream, one after the other, each over one session or several."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.table = StreamTable()
        self.sessions = itertools.count(1)
        self.dropped = 0  # by all programs together

    def session(self, *accounts: ClientAccount) -> None:
        identity = StreamIdentity("cam0", next(self.sessions), "spot", Policy.LIVE, False, "test")
        stream = Stream(identity, make_mailbox(Policy.LIVE, 1), self.loop, lambda _: None)
        self.table.add(stream)
        for account in accounts:
            before = self.told
            stream.put(IncomingFrame(account.sent - 1, 2, 1, PixelFormat.GRAY8, b"ab", 10, 5, 5, 0), account)
            assert self.told >= before, "a counter never falls"
        open_still = self.told
        self.table.remove(stream)
        assert self.told == open_still

    @property
    def told(self) -> int:
        totals = self.table.totals().get("cam0")
        return 0 if totals is None else totals.dropped_outbox


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()


def test_drops_are_counted_over_the_programs_that_send_a_stream(world: World) -> None:
    world.session(ClientAccount(1), ClientAccount(5000, 1000))
    assert world.told == 1000
    world.session(ClientAccount(5001, 1000), ClientAccount(6000, 1100))  # the same program, connected again
    assert world.told == 1100
    world.session()  # connected, and broken before a frame came
    world.session(ClientAccount(6100, 1150))
    assert world.told == 1150
    world.session(ClientAccount(1), ClientAccount(2000, 400))  # another one
    assert world.told == 1550
    world.session(ClientAccount(1), ClientAccount(9000, 8000))  # and one that sends more than all before it
    assert world.told == 9550


@given(st.lists(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=3), max_size=4))
def test_no_drop_is_forgotten_or_counted_twice(programs: list[list[list[int]]]) -> None:
    world = World()
    for sessions in programs:
        sent = dropped = known = 0
        for session in sessions:
            accounts = []
            for drops in session:
                dropped += drops if sent else 0
                sent += 1 + (drops if sent else 0)
                accounts.append(ClientAccount(sent, dropped))
                known = dropped
            world.session(*accounts)
        world.dropped += known
        assert world.told == world.dropped
    world.loop.close()

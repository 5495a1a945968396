"""One open stream: who it is, what waits, and its account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from poseloop.beat import Beat
from poseloop.clock import now_ns
from poseloop.crop import Crop
from poseloop.types import Counters, PixelFormat, Policy, SessionCounters

from poseloop_server.frames import IncomingFrame
from poseloop_server.mailbox import LiveMailbox, LosslessMailbox, Mailbox
from poseloop_server.rate_limit import RateLimit
from poseloop_server.statistics import Latencies

Reply = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """What does not change while a stream is open."""

    name: str
    session_id: int
    model: str
    policy: Policy
    return_poses: bool
    peer: str
    priority: int = 0  # higher ones are served first
    max_fps: float = 0.0  # by capture time; 0: no limit
    crop: Crop | None = None  # follows one animal; None: the model sees whole frames


class ClientAccount(NamedTuple):
    """What the client knows of its stream, as of its latest frame; replaced as a whole."""

    sent: int = 0
    dropped_outbox: int = 0
    lost_connection: int = 0


@dataclass(slots=True)
class Stream:
    """The state of one open stream.

    Two threads write here, each its own counters: the event loop's what it received, the model's what it did with it;
    of frames that come through shared memory the model's thread does both. No counter has two writers, so none needs a
    lock, and `counters` reads them in an order in which nothing can be counted as done before it was counted as sent.
    """

    identity: StreamIdentity
    mailbox: Mailbox
    loop: asyncio.AbstractEventLoop
    reply: Reply  # hands the bytes of a TrackReply to the call; on the loop's thread only
    latencies: Latencies = field(default_factory=Latencies)
    opened_ns: int = field(default_factory=now_ns)
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    # Written by the thread that receives the frames:
    beat: Beat = field(default_factory=Beat)  # when those came that were let in
    client: ClientAccount = field(default_factory=ClientAccount)
    first_sent: int = 0  # the client's count of sent frames with the first that came
    received: int = 0
    dropped_rate: int = 0
    dropped_mailbox: int = 0
    limit: RateLimit | None = field(init=False)
    clock_uncertainty_ns: int = 0  # the most that a frame's time of capture was wrong by
    format: PixelFormat | None = None
    width: int = 0
    height: int = 0
    waiters: int = 0  # how many await `progress`
    # Written by the model's thread:
    published: int = 0
    failed: int = 0
    failing: bool = False  # the latest frame failed
    answered: int = 0  # published or failed, and the reply handed over

    def __post_init__(self) -> None:
        self.limit = RateLimit(self.identity.max_fps) if self.identity.max_fps else None

    @property
    def is_drained(self) -> bool:
        """Whether every frame received has been dealt with."""
        return self.answered + self.dropped_rate + self.dropped_mailbox == self.received

    def counters(self) -> Counters:
        """Return the account at this moment."""
        published, failed = self.published, self.failed
        dropped_rate, dropped_mailbox = self.dropped_rate, self.dropped_mailbox
        received, client = self.received, self.client
        return SessionCounters(
            sent=client.sent,
            published=published,
            dropped_outbox=client.dropped_outbox,
            lost_connection=client.lost_connection,
            dropped_mailbox=dropped_mailbox,
            failed=failed,
            received=received,
            dropped_rate=dropped_rate,
        )

    def put(self, frame: IncomingFrame, client: ClientAccount, gave_way: int = 0) -> bool:
        """Take in a frame; on the loop's thread, or the model's where that fetches them.

        Returns:
            Whether the stream has to be put into its model's queue.
        """
        # Counted as sent and received first: the model's thread may publish it before this function returns.
        self.client = client
        self.first_sent = self.first_sent or client.sent - gave_way
        self.received += 1 + gave_way
        self.dropped_mailbox += gave_way
        self.format, self.width, self.height = frame.format, frame.width, frame.height
        self.clock_uncertainty_ns = max(self.clock_uncertainty_ns, frame.clock_uncertainty_ns)
        if self.limit is not None and not self.limit.admits(frame.captured_client_ns):
            self.dropped_rate += 1
            return False
        self.beat.note(frame.received_ns)
        done = self.mailbox.put(frame)
        if done.replaced:
            self.dropped_mailbox += 1
        return done.was_empty

    def answer(self, message: bytes | None) -> None:
        """Hand a reply, if there is one, to the call, and count the frame as done with; on the model's thread.

        In this order: the reply's callback stands in the loop's queue before the stream can count as drained.
        """
        if message is not None:
            self.loop.call_soon_threadsafe(self.reply, message)
        self.answered += 1
        if self.waiters:
            self.loop.call_soon_threadsafe(self.progress.set)

    async def drained(self) -> None:
        """Wait on the loop until every frame received is dealt with and its reply given to the call."""
        await self.wait_until(lambda: self.is_drained)
        # The last replies' callbacks may still stand in the loop's queue; it runs them before it comes back here.
        await asyncio.sleep(0)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait on the loop until the model's thread has made a condition true."""
        self.waiters += 1
        try:
            while not condition():
                await self.progress.wait()
                self.progress.clear()
        finally:
            self.waiters -= 1


def make_mailbox(policy: Policy, capacity: int) -> Mailbox:
    """Return the mailbox of a policy; ``capacity`` is that of a lossless one."""
    return LiveMailbox() if policy is Policy.LIVE else LosslessMailbox(capacity)

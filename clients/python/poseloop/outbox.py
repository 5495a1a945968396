"""The bookkeeping of one sender, without any I/O: sequence numbers, the window, what waits, what is lost.

Whoever does the I/O calls `offer` for each frame of the source, `take` for the next frame that may leave, `acknowledge`
for each answer, `opened` and `broke` as connections come and go. Not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from poseloop.types import Counters, Policy

Payload = TypeVar("Payload")


class Outgoing(NamedTuple, Generic[Payload]):
    """A frame on its way out, with the client's counters as of this frame."""

    sequence: int
    payload: Payload
    sent: int
    dropped_outbox: int
    lost_connection: int


@dataclass(frozen=True, slots=True)
class Break:
    """What one broken connection cost: frames lost with it, and frames that will be sent again."""

    lost: int
    to_resend: int


class Outbox(Generic[Payload]):
    """Holds the frames that wait and those that are on their way.

    Live: one frame waits, the newest; a frame that it replaces is counted in ``dropped_outbox``. Lossless: one frame
    waits, and `has_room` says when the source may offer the next. At most ``window`` frames are unacknowledged.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._waiting: deque[tuple[int, Payload]] = deque()
        self._unacknowledged: dict[int, Payload | None] = {}  # in live mode without the payload
        self._window = 0  # no frame may leave before the stream is open
        self._next_sequence = 0
        self._dropped = 0
        self._lost = 0
        self._left_in_session = 0
        self._session = Counters()  # what the server said last of this session
        self._earlier = Counters()  # what the server said of the sessions before it

    @property
    def has_room(self) -> bool:
        """Whether the source may offer a frame; always so in live mode."""
        return self._policy is Policy.LIVE or not self._waiting

    @property
    def may_leave(self) -> bool:
        """Whether a frame that is offered now could be taken at once."""
        return len(self._unacknowledged) < self._window and not (self._policy is Policy.LOSSLESS and self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not self._waiting and not self._unacknowledged

    @property
    def unacknowledged(self) -> int:
        """Frames that left and are not answered."""
        return len(self._unacknowledged)

    @property
    def last_sequence(self) -> int | None:
        """The newest frame's sequence number, or None before the first frame."""
        return self._next_sequence - 1 if self._next_sequence else None

    @property
    def counters(self) -> Counters:
        """The account of the whole stream, over every session: sent = published + every drop + in flight."""
        now, before = self._session, self._earlier
        return Counters(
            sent=self._next_sequence,
            published=before.published + now.published,
            dropped_outbox=self._dropped,
            lost_connection=self._lost,
            dropped_mailbox=before.dropped_mailbox + now.dropped_mailbox,
            failed=before.failed + now.failed,
            received=before.received + now.received,
            dropped_rate=before.dropped_rate + now.dropped_rate,
        )

    def offer(self, payload: Payload) -> int:
        """Take a frame from the source and return its sequence number.

        Raises:
            RuntimeError: lossless, and `has_room` is false.
        """
        if not self.has_room:
            raise RuntimeError("a lossless outbox was offered a frame while it had no room")
        if self._policy is Policy.LIVE and self._waiting:
            self._waiting.clear()
            self._dropped += 1
        sequence = self._next_sequence
        self._next_sequence += 1
        self._waiting.append((sequence, payload))
        return sequence

    def take(self) -> Outgoing[Payload] | None:
        """Return the frame that has to leave now, or None: nothing waits, or the window is full."""
        if not self._waiting or len(self._unacknowledged) >= self._window:
            return None
        sequence, payload = self._waiting.popleft()
        # A live frame is never sent again.
        self._unacknowledged[sequence] = None if self._policy is Policy.LIVE else payload
        self._left_in_session += 1
        return Outgoing(sequence, payload, self._next_sequence, self._dropped, self._lost)

    def acknowledge(self, sequence: int, server: Counters) -> bool:
        """Note that the server answered a frame, and the session's counters that came with it.

        In live mode the answer goes for those before it too. Returns whether the frame was waiting for its answer: a
        live frame may be answered twice, by its acknowledgement and by its pose.
        """
        self._session = _newest(self._session, server)
        was_waiting = sequence in self._unacknowledged
        self._unacknowledged.pop(sequence, None)
        if self._policy is Policy.LIVE:
            forget_up_to(sequence, self._unacknowledged)
        return was_waiting

    def opened(self, window: int) -> None:
        """A session begins, and at most ``window`` frames may be unacknowledged in it."""
        self._window = max(1, window)
        self._left_in_session = 0

    def resize(self, window: int) -> None:
        """Let at most ``window`` frames be unacknowledged from now on in this session."""
        self._window = max(1, window)

    def closed(self, server: Counters) -> None:
        """The server ended the session and sent its last counters."""
        self._session = _newest(self._session, server)

    def broke(self) -> Break:
        """The session is gone.

        Live: every frame that left in it and that is not known to be published or dropped counts as lost. Lossless:
        the unacknowledged frames wait again, in their order, before any newer one.
        """
        session = self._session
        if self._policy is Policy.LOSSLESS:
            to_resend = len(self._unacknowledged)
            acknowledged = self._left_in_session - to_resend
            # Frames that are sent again will be counted by the next session, even if this one did publish them.
            session = replace(session, published=min(session.published, max(0, acknowledged - session.failed)))
            unanswered = [
                (sequence, payload) for sequence, payload in self._unacknowledged.items() if payload is not None
            ]
            self._waiting.extendleft(reversed(unanswered))
            lost = 0
        else:
            to_resend = 0
            dropped = session.dropped_rate + session.dropped_mailbox + session.failed
            lost = self._left_in_session - session.published - dropped
        self._unacknowledged.clear()
        self._earlier = replace(
            self._earlier,
            published=self._earlier.published + session.published,
            dropped_mailbox=self._earlier.dropped_mailbox + session.dropped_mailbox,
            failed=self._earlier.failed + session.failed,
            received=self._earlier.received + session.received,
            dropped_rate=self._earlier.dropped_rate + session.dropped_rate,
        )
        self._session = Counters()
        self._left_in_session = 0
        self._window = 0
        self._lost += max(0, lost)
        return Break(max(0, lost), to_resend)

    def give_up(self) -> int:
        """Drop what still waits, since nobody will send it any more; returns how many frames that were."""
        abandoned = len(self._waiting)
        self._waiting.clear()
        self._dropped += abandoned
        return abandoned


def forget_up_to(sequence: int, numbered: dict[int, Any]) -> None:
    """Remove what has that number or a lower one from a dictionary in the order of its numbers."""
    while numbered and (first := next(iter(numbered))) <= sequence:
        del numbered[first]


def _newest(known: Counters, told: Counters) -> Counters:
    # An acknowledgement and a pose may overtake each other; counters only rise.
    return Counters(
        published=max(known.published, told.published),
        dropped_mailbox=max(known.dropped_mailbox, told.dropped_mailbox),
        failed=max(known.failed, told.failed),
        received=max(known.received, told.received),
        dropped_rate=max(known.dropped_rate, told.dropped_rate),
    )

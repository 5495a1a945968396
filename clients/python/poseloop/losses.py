"""What a subscriber did not get, and why: told from the numbers that poses carry, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from poseloop.types import Counters, Pose


@dataclass(frozen=True, slots=True)
class Losses:
    """Frames of one stream, or of several, that have no pose here.

    Attributes:
        missed: published, but they did not arrive here: this subscriber was too slow, or the network failed.
        dropped_outbox: replaced in the client's outbox by newer frames.
        lost_connection: in flight between client and server when that connection broke.
        dropped_rate: over the stream's rate limit.
        dropped_mailbox: replaced in the server's mailbox by newer frames.
        failed: inference failed on them.
        unexplained: of an earlier session, whose last counters never arrived here: what became of them is not known.
    """

    missed: int = 0
    dropped_outbox: int = 0
    lost_connection: int = 0
    dropped_mailbox: int = 0
    failed: int = 0
    unexplained: int = 0
    dropped_rate: int = 0

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.missed + other.missed,
            self.dropped_outbox + other.dropped_outbox,
            self.lost_connection + other.lost_connection,
            self.dropped_mailbox + other.dropped_mailbox,
            self.failed + other.failed,
            self.unexplained + other.unexplained,
            self.dropped_rate + other.dropped_rate,
        )

    @property
    def total(self) -> int:
        """All frames without a pose here."""
        return (
            self.missed
            + self.dropped_outbox
            + self.lost_connection
            + self.dropped_rate
            + self.dropped_mailbox
            + self.failed
            + self.unexplained
        )

    def __str__(self) -> str:
        reasons = {
            "missed here": self.missed,
            "dropped in the outbox": self.dropped_outbox,
            "lost with a connection": self.lost_connection,
            "over the rate limit": self.dropped_rate,
            "dropped in the mailbox": self.dropped_mailbox,
            "failed": self.failed,
            "unexplained": self.unexplained,
        }
        return ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count) or "none"


@dataclass(frozen=True, slots=True)
class Restart:
    """A stream's poses began to come from another session: its server or its sender was started or connected anew.

    Attributes:
        stream: the stream's name.
        server_restarted: whether the server is a new one.
        sender_restarted: whether the sender is a new one, which counts its frames from 0 again.
        losses: the frames between the last pose before and the first one after; of a sender that is new, only those
            that it offered itself.
    """

    stream: str
    server_restarted: bool
    sender_restarted: bool
    losses: Losses

    def __str__(self) -> str:
        is_new = {"server": self.server_restarted, "sender": self.sender_restarted}
        who = [name for name, new in is_new.items() if new]
        what = f"new {' and '.join(who)}" if who else "the sender connected again"
        return f"stream {self.stream}: {what}; frames without a pose: {self.losses.total} ({self.losses})"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of the last pose."""

    sequence: int
    captured_client_ns: int
    server_id: str
    session_id: int
    counters: Counters

    @classmethod
    def of(cls, pose: Pose) -> _Seen:
        stamps = pose.stamps
        return cls(pose.sequence, stamps.captured_client_ns, pose.server_id, pose.session_id, pose.counters)


class StreamLedger:
    """Follows the poses of one stream as they arrive."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._last: _Seen | None = None
        self._skipped = 0
        self.losses = Losses()
        self.repeated = 0
        self.received = 0

    def skip(self) -> None:
        """Note a pose that did arrive but was passed over for a newer one."""
        self._skipped += 1

    def note(self, pose: Pose) -> Restart | None:
        """Account for the frames between the last pose and this one; a restart is returned when there was one."""
        last, skipped = self._last, self._skipped
        self._skipped = 0
        self._last = _Seen.of(pose)
        self.received += 1
        if last is None:
            return None
        if (pose.server_id, pose.session_id) == (last.server_id, last.session_id):
            self.losses += _between(last.counters, pose.counters, skipped)
            return None
        # `repeats` said no, so a sequence that does not rise is another sender's.
        sender_restarted = pose.counters.sent < last.counters.sent or pose.sequence <= last.sequence
        losses = _across(last, pose, skipped, sender_restarted)
        self.losses += losses
        return Restart(self._stream, pose.server_id != last.server_id, sender_restarted, losses)

    def repeats(self, pose: Pose) -> bool:
        """Whether this pose is of a frame that already had one: a lossless frame that was sent again after a break."""
        last = self._last
        if last is None or pose.counters.sent < last.counters.sent or not _is_of_no_later_frame(pose, last):
            return False
        self.repeated += 1
        self._last = replace(last, server_id=pose.server_id, session_id=pose.session_id, counters=pose.counters)
        return True


def _is_of_no_later_frame(pose: Pose, last: _Seen) -> bool:
    # A new sender numbers its frames from 0 again, but it captures them later.
    captured_ns = pose.stamps.captured_client_ns
    if pose.sequence == last.sequence:
        return captured_ns == last.captured_client_ns
    return pose.sequence < last.sequence and captured_ns <= last.captured_client_ns


def _between(before: Counters, after: Counters, skipped: int) -> Losses:
    """What happened between two poses of one session."""
    return Losses(
        missed=max(0, after.published - before.published - 1 - skipped),
        dropped_outbox=max(0, after.dropped_outbox - before.dropped_outbox),
        lost_connection=max(0, after.lost_connection - before.lost_connection),
        dropped_mailbox=max(0, after.dropped_mailbox - before.dropped_mailbox),
        failed=max(0, after.failed - before.failed),
        dropped_rate=max(0, after.dropped_rate - before.dropped_rate),
    )


def _across(last: _Seen, pose: Pose, skipped: int, sender_restarted: bool) -> Losses:
    """What happened between the last pose of one session and the first of another."""
    after = pose.counters
    gap = max(0, (pose.sequence if sender_restarted else pose.sequence - last.sequence - 1) - skipped)
    known = Losses(
        missed=max(0, after.published - 1 - skipped),
        dropped_outbox=max(0, after.dropped_outbox - (0 if sender_restarted else last.counters.dropped_outbox)),
        dropped_mailbox=after.dropped_mailbox,
        failed=after.failed,
        dropped_rate=after.dropped_rate,
    )
    # The sender counts a frame as lost when its answer was; where the pose did arrive here, the gap is smaller.
    broken = max(0, after.lost_connection - (0 if sender_restarted else last.counters.lost_connection))
    known += Losses(lost_connection=min(broken, max(0, gap - known.total)))
    return known + Losses(unexplained=max(0, gap - known.total))

"""A stream over all its sessions: which frames are left out between its poses, and the sums of its accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_OF_THE_CLIENT: Final = ("sent", "dropped_outbox", "lost_connection")


@dataclass(slots=True)
class _Session:
    anew: bool  # by another sender than the session before
    has_pose: bool = False
    first_sent: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)


class StreamSessions:
    """Tells a sender that came back, whose numbers go on, from another one, which counts its frames from 0."""

    def __init__(self) -> None:
        self._sessions = [_Session(anew=True)]
        self._last: tuple[int, int] | None = None  # sequence and capture of the last pose

    def open(self, continues: bool) -> None:
        """Begin a session; ``continues`` is as in the log: without it no earlier sender can have come back."""
        self._sessions.append(_Session(anew=not continues))

    def pose(self, sequence: int, captured_ns: int, uncertainty_ns: int) -> int:
        """Take in a pose.

        Args:
            sequence: of its frame.
            captured_ns: when that was taken.
            uncertainty_ns: by how much that may be wrong.

        Returns:
            How many frames are left out between this pose and the last one of the same sender.
        """
        session, last = self._sessions[-1], self._last
        is_first, session.has_pose = not session.has_pose, True
        self._last = (sequence, captured_ns)
        if last is None:
            return 0
        if is_first and sequence <= last[0]:
            # A lossless sender sends again what was not answered; what another one sends was captured later.
            session.anew |= captured_ns > last[1] + uncertainty_ns
        return 0 if is_first and session.anew else max(0, sequence - last[0] - 1)

    def account(self, counters: Mapping[str, int]) -> None:
        """Take in what the log says of the session's frames so far."""
        session = self._sessions[-1]
        if counters.get("received", 0) < session.counters.get("received", 0):
            session = _Session(anew=False)  # the log lacks that the stream was opened again
            self._sessions.append(session)
        session.first_sent = session.first_sent or counters.get("sent", 0)
        session.counters = counters

    def sums(self) -> dict[str, int]:
        """Return the account over all sessions: the server counts each anew, and a sender goes on from its last one."""
        sums: Counter[str] = Counter()
        before: Mapping[str, int] = {}
        for session in self._sessions:
            if not session.first_sent:
                continue  # not one frame came
            if session.anew or session.first_sent < before.get("sent", 0):
                before = {}
            for name, count in session.counters.items():
                sums[name] += max(0, count - before.get(name, 0)) if name in _OF_THE_CLIENT else count
            before = session.counters
        return dict(sums)

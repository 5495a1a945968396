"""All streams of a server, and what those that closed have left behind for the metrics."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field

import grpc
from poseloop.types import Counters

from poseloop_server.refusal import RefusedError
from poseloop_server.statistics import Latencies
from poseloop_server.stream import Stream

_REMEMBERED_NAMES = 256


@dataclass(slots=True)
class Totals:
    """Sums over every session of one stream name, so that the metrics' counters never fall."""

    received: int = 0
    published: int = 0
    dropped_outbox: int = 0
    lost_connection: int = 0
    dropped_mailbox: int = 0
    failed: int = 0
    dropped_rate: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, counters: Counters, latencies: Latencies) -> None:
        """Add one session."""
        self.received += counters.received
        self.published += counters.published
        self.dropped_mailbox += counters.dropped_mailbox
        self.failed += counters.failed
        self.dropped_rate += counters.dropped_rate
        # The client counts across its sessions itself.
        self.dropped_outbox = max(self.dropped_outbox, counters.dropped_outbox)
        self.lost_connection = max(self.lost_connection, counters.lost_connection)
        self.latencies.merge(latencies)


class StreamTable:
    """The open streams by name; changed on the event loop's thread only."""

    def __init__(self) -> None:
        self._open: dict[str, Stream] = {}
        self._closed: OrderedDict[str, Totals] = OrderedDict()
        self._session_ids = itertools.count(1)

    def next_session_id(self) -> int:
        """Return a number that no stream of this server has had."""
        return next(self._session_ids)

    def require_free(self, name: str) -> None:
        """Check that no open stream has the name.

        Raises:
            RefusedError: one has.
        """
        if name in self._open:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS,
                "stream",
                f"the stream {name!r} is open already, by {self._open[name].identity.peer}; choose another name, or "
                "end the other one first.",
            )

    def add(self, stream: Stream) -> None:
        """Add a stream whose name is free."""
        self._open[stream.identity.name] = stream

    def remove(self, stream: Stream) -> None:
        """Forget a stream, but keep its sums."""
        name = stream.identity.name
        del self._open[name]
        totals = self._closed.pop(name, None) or Totals()
        totals.add(stream.counters(), stream.latencies)
        self._closed[name] = totals
        if len(self._closed) > _REMEMBERED_NAMES:
            self._closed.popitem(last=False)

    def open_streams(self) -> list[Stream]:
        """Return the streams that are open now; any thread may ask."""
        return list(self._open.values())

    def totals(self) -> dict[str, Totals]:
        """Return the sums by stream name, sessions that are still open included; any thread may ask."""
        sums: dict[str, Totals] = {}
        for name, closed in list(self._closed.items()):
            sums[name] = Totals()
            sums[name].add(_as_counters(closed), closed.latencies)
        for stream in self.open_streams():
            sums.setdefault(stream.identity.name, Totals()).add(stream.counters(), stream.latencies)
        return sums


def _as_counters(totals: Totals) -> Counters:
    return Counters(
        published=totals.published,
        dropped_outbox=totals.dropped_outbox,
        lost_connection=totals.lost_connection,
        dropped_mailbox=totals.dropped_mailbox,
        failed=totals.failed,
        received=totals.received,
        dropped_rate=totals.dropped_rate,
    )

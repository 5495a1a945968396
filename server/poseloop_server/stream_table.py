"""All streams of a server, and what those that closed have left behind for the metrics."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import grpc
from poseloop.types import Counters

from poseloop_server.refusal import RefusedError
from poseloop_server.statistics import Latencies
from poseloop_server.stream import ClientAccount, Stream

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
    client: ClientAccount = field(default_factory=ClientAccount)  # what the latest client said last

    def add(self, stream: Stream) -> None:
        """Add one session."""
        counters = stream.counters()
        self.received += counters.received
        self.published += counters.published
        self.dropped_mailbox += counters.dropped_mailbox
        self.failed += counters.failed
        self.dropped_rate += counters.dropped_rate
        self._add_client(stream.first_sent, counters)
        self.latencies.merge(stream.latencies)

    def copy(self) -> Totals:
        """Return the same sums, to which more can be added."""
        copied = replace(self, latencies=Latencies())
        copied.latencies.merge(self.latencies)
        return copied

    def _add_client(self, first_sent: int, counters: Counters) -> None:
        if not first_sent:
            return  # not one frame came
        # A client counts across its sessions itself; a new program, which begins anew, has sent less at first.
        before = self.client if first_sent > self.client.sent else ClientAccount()
        self.dropped_outbox += max(0, counters.dropped_outbox - before.dropped_outbox)
        self.lost_connection += max(0, counters.lost_connection - before.lost_connection)
        self.client = ClientAccount(counters.sent, counters.dropped_outbox, counters.lost_connection)


class StreamTable:
    """The open streams by name; changed on the event loop's thread only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a stream that closes is in the sums once, whoever asks meanwhile
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
        with self._lock:
            del self._open[name]
            totals = self._closed.pop(name, None) or Totals()
            totals.add(stream)
            self._closed[name] = totals
            if len(self._closed) > _REMEMBERED_NAMES:
                self._closed.popitem(last=False)

    def open_streams(self) -> list[Stream]:
        """Return the streams that are open now; any thread may ask."""
        return list(self._open.values())

    def totals(self) -> dict[str, Totals]:
        """Return the sums by stream name, sessions that are still open included; any thread may ask."""
        with self._lock:
            sums = {name: closed.copy() for name, closed in self._closed.items()}
            for stream in self.open_streams():
                sums.setdefault(stream.identity.name, Totals()).add(stream)
        return sums

"""What the streams of a server did lately: rates from the accounts that it told, one after the other."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from poseloop.client import Server, connect
from poseloop.documents import without_nan
from poseloop.errors import PoseloopError
from poseloop.types import Counters, StreamInfo

PLACES = {
    "outbox": "dropped_outbox",
    "connection": "lost_connection",
    "rate": "dropped_rate",
    "mailbox": "dropped_mailbox",
    "failed": "failed",
}
"""Where frames are dropped, and the counter of each place."""

_WINDOW_S = 5.0
_CLOSED_S = 30.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Frames a second over the last seconds, NaN before the second answer; ``dropped`` by the names of `PLACES`."""

    sent: float
    dropped: dict[str, float]


@dataclass(frozen=True, slots=True)
class StreamNow:
    """A stream, and what it does a second."""

    info: StreamInfo
    rates: Rates

    @property
    def queue(self) -> int:
        """Frames at the server that are neither published nor dropped: they wait, or are in inference."""
        counters = self.info.counters
        done = counters.published + counters.dropped_rate + counters.dropped_mailbox + counters.failed
        return max(0, counters.received - done)

    def to_json(self) -> dict[str, Any]:
        """Return what a program may want; NaN, where there are no poses, as None."""
        document = {**asdict(self.info), "queue": self.queue, "per_second": asdict(self.rates)}
        return dict(without_nan(document))


def stream_document(info: StreamInfo) -> dict[str, Any]:
    """Return a stream as JSON has it, where there is no NaN."""
    document: dict[str, Any] = without_nan(asdict(info))
    return document


class StreamsHistory:
    """Remembers the accounts of the last seconds."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, int], deque[tuple[float, Counters]]] = {}
        self._closed: dict[str, float] = {}
        self.now: list[StreamNow] = []

    def add(self, streams: list[StreamInfo], at_s: float) -> None:
        """Add what the server said at a time of ours."""
        keys = {(stream.name, stream.session_id) for stream in streams}
        names = {name for name, _ in keys}
        self._closed.update({name: at_s for name, _ in self._accounts.keys() - keys})
        self._closed = {
            name: closed_s
            for name, closed_s in self._closed.items()
            if name not in names and at_s - closed_s < _CLOSED_S
        }
        self._accounts = {key: self._accounts.get(key, deque()) for key in keys}
        self.now = []
        for stream in sorted(streams, key=lambda stream: stream.name):
            accounts = self._accounts[stream.name, stream.session_id]
            accounts.append((at_s, stream.counters))
            while at_s - accounts[0][0] > _WINDOW_S:
                accounts.popleft()
            self.now.append(StreamNow(stream, _rates(accounts)))

    def closed(self, at_s: float) -> dict[str, float]:
        """Return the streams that were closed lately, and how many seconds ago."""
        return {name: at_s - closed_s for name, closed_s in self._closed.items()}


def _rates(accounts: deque[tuple[float, Counters]]) -> Rates:
    (from_s, before), (to_s, after) = accounts[0], accounts[-1]
    seconds = to_s - from_s

    def per_second(counter: str) -> float:
        return (getattr(after, counter) - getattr(before, counter)) / seconds if seconds > 0 else math.nan

    return Rates(per_second("sent"), {place: per_second(counter) for place, counter in PLACES.items()})


class StreamsPoller:
    """Asks a server again and again on a thread of its own, and finds it again when it was away."""

    def __init__(self, address: str, every_s: float) -> None:
        self._address = address
        self._every_s = every_s
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._history = StreamsHistory()
        self._answered_s: float | None = None
        self._trouble = ""
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="poseloop-streams", daemon=True)
        self._thread.start()

    def look(self) -> tuple[list[StreamNow], dict[str, float]]:
        """Return the streams as of the last answer, and those that were closed lately."""
        with self._lock:
            return self._history.now, self._history.closed(time.monotonic())

    @property
    def has_answered(self) -> bool:
        """Whether the server ever answered."""
        return self._answered_s is not None

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer, or since the start."""
        return time.monotonic() - (self._started_s if self._answered_s is None else self._answered_s)

    @property
    def trouble(self) -> str:
        """Why the server does not answer, as a sentence; empty while it does."""
        return self._trouble

    def close(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._address, timeout_s=1.0) as server:
                    self._ask(server)
            except PoseloopError as error:
                self._trouble = str(error)
                self._stopping.wait(self._every_s)

    def _ask(self, server: Server) -> None:
        while not self._stopping.is_set():
            streams = server.streams()
            now_s = time.monotonic()
            with self._lock:
                self._history.add(streams, now_s)
                self._answered_s = now_s
            self._trouble = ""
            self._stopping.wait(self._every_s)

"""What a sink is: something that messages end in."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Protocol, runtime_checkable

_log = logging.getLogger(__name__)
STATUS_TOPIC = "status"


def pose_topic(stream: str) -> str:
    """Topic of a stream's poses; the payload is a `Pose`."""
    return f"pose/{stream}"


def event_topic(stream: str) -> str:
    """Topic of what happens to a stream; the payload is a `StreamEvent`."""
    return f"event/{stream}"


class Sink(Protocol):
    """Takes the bytes of protobuf messages by topic; any thread may call it, and it never waits for a consumer."""

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Pass a message on, or drop it where a consumer is too slow."""

    def close(self) -> None:
        """Let go of everything; nothing is published afterwards."""


@runtime_checkable
class _Counting(Protocol):
    """A sink that knows what it gave up."""

    @property
    def dropped(self) -> int: ...


class Sinks:
    """Several sinks as one; a sink that fails is reported once, counted, and does not touch the others.

    Attributes:
        failures: how often a sink raised, by its class's name.
    """

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks
        self._lock = threading.Lock()
        self.failures: Counter[str] = Counter()

    def add(self, sink: Sink) -> None:
        """Pass messages on to one more from now on."""
        self._sinks = (*self._sinks, sink)

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Pass a message on to each, to all in the same order: subscribers compare what two of them bring."""
        with self._lock:
            for sink in self._sinks:
                self._publish(sink, topic, payload)

    def _publish(self, sink: Sink, topic: bytes, payload: bytes) -> None:
        try:
            sink.publish(topic, payload)
        except Exception:  # whatever a sink raises, the loop goes on
            name = type(sink).__name__
            if not self.failures[name]:
                _log.exception("%s failed and goes on losing messages that it can't pass on", name)
            self.failures[name] += 1

    def lost(self) -> dict[str, int]:
        """Return how many messages each sink failed on or gave up, by its class's name.

        One that does not count what it gives up, such as a PUB socket, is told of only once it has failed.
        """
        failures = dict(self.failures)
        counted = {type(sink).__name__: sink.dropped for sink in self._sinks if isinstance(sink, _Counting)}
        return {name: counted.get(name, 0) + failures.get(name, 0) for name in (counted | failures)}

    def close(self) -> None:
        """Close each."""
        for sink in self._sinks:
            sink.close()

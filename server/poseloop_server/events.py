"""Says what happens to streams: to subscribers as messages, to the operator as log lines."""

from __future__ import annotations

import logging

from poseloop.clock import now_ns
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.sinks.base import Sink, event_topic
from poseloop_server.stream import Stream
from poseloop_server.wire import counters_to_wire

_log = logging.getLogger(__name__)


class Events:
    """Reports the events of streams; any thread may call it, and a log line is written on the event loop's thread."""

    def __init__(self, sink: Sink, server_id: str) -> None:
        self._sink = sink
        self._server_id = server_id

    def opened(self, stream: Stream) -> None:
        """A stream was opened."""
        identity = stream.identity
        self._publish(stream, pb.StreamEvent.KIND_OPENED, "")
        _log.info(
            "stream %s opened by %s: model %s, %s", identity.name, identity.peer, identity.model, identity.policy.value
        )

    def closed(self, stream: Stream, message: str) -> None:
        """A stream ended; ``message`` says why where it was not the client's wish."""
        counters = stream.counters()
        self._publish(stream, pb.StreamEvent.KIND_CLOSED, message)
        _log.info(
            "stream %s closed%s: %d received, %d published, %d dropped, %d failed",
            stream.identity.name,
            f" ({message})" if message else "",
            counters.received,
            counters.published,
            counters.dropped_rate + counters.dropped_mailbox,
            counters.failed,
        )

    def swapped(self, stream: Stream, message: str) -> None:
        """Another version of the model makes the stream's poses from now on."""
        self._publish(stream, pb.StreamEvent.KIND_SWAPPED, message)

    def failed(self, stream: Stream, message: str) -> None:
        """Inference on a frame failed."""
        self._publish(stream, pb.StreamEvent.KIND_FAILED, message)
        stream.loop.call_soon_threadsafe(_log.warning, "stream %s: %s", stream.identity.name, message)

    def _publish(self, stream: Stream, kind: pb.StreamEvent.Kind, message: str) -> None:
        event = pb.StreamEvent(
            stream=stream.identity.name,
            kind=kind,
            time_ns=now_ns(),
            message=message,
            server_id=self._server_id,
            session_id=stream.identity.session_id,
        )
        counters_to_wire(stream.counters(), event.counters)
        self._sink.publish(event_topic(stream.identity.name).encode(), event.SerializeToString())

"""Publishes the same messages as JSON, from a thread of its own."""

from __future__ import annotations

import logging
import threading
from queue import Empty, Full, Queue

import zmq

from poseloop_server.sinks.documents import to_json
from poseloop_server.sinks.zmq_publisher import ZmqPublisher

_CLOSE = (b"", b"")
_CLOSE_WITHIN_S = 5.0
_log = logging.getLogger(__name__)


class JsonPublisher:
    """Turns protobuf messages into JSON and publishes them.

    Writing JSON costs much more than passing a message on, so the threads that own models only leave the message here;
    where the writing can't keep up, the oldest message is dropped and counted. So is one that can't be written, of
    which the first is reported.

    Attributes:
        endpoint: where subscribers connect.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, queue_messages: int) -> None:
        self._publisher = ZmqPublisher(context, endpoint, queue_messages)
        self.endpoint = self._publisher.endpoint
        self._replaced = 0  # counted under the lock of whoever publishes
        self._unwritten = 0  # counted by the thread
        self._waiting: Queue[tuple[bytes, bytes]] = Queue(queue_messages)
        self._thread = threading.Thread(target=self._write_all, name="json publisher", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Messages given up on: there was no room for them, or they can't be written."""
        return self._replaced + self._unwritten

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Leave a message to be written."""
        while True:
            try:
                self._waiting.put_nowait((topic, payload))
            except Full:
                self._drop_oldest()
            else:
                return

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and close."""
        self.publish(*_CLOSE)
        self._thread.join(_CLOSE_WITHIN_S)
        self._publisher.close()

    def _drop_oldest(self) -> None:
        try:
            self._waiting.get_nowait()
        except Empty:
            return
        self._replaced += 1

    def _write_all(self) -> None:
        while (message := self._waiting.get()) != _CLOSE:
            self._write(*message)

    def _write(self, topic: bytes, payload: bytes) -> None:
        try:
            self._publisher.publish(topic, to_json(topic, payload))
        except Exception:  # whatever is wrong with one message, those after it have to be written
            if not self._unwritten:
                name = topic.decode(errors="replace")
                _log.exception("a message of %s can't be published as JSON; such are counted and left out", name)
            self._unwritten += 1

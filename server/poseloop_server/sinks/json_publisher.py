"""Publishes the same messages as JSON, from a thread of its own."""

from __future__ import annotations

import threading
from queue import Empty, Full, Queue

import zmq

from poseloop_server.sinks.documents import to_json
from poseloop_server.sinks.zmq_publisher import ZmqPublisher

_CLOSE = (b"", b"")


class JsonPublisher:
    """Turns protobuf messages into JSON and publishes them.

    Writing JSON costs much more than passing a message on, so the threads that own models only leave the message here;
    where the writing can't keep up, the oldest message is dropped and counted.

    Attributes:
        endpoint: where subscribers connect.
        dropped: messages given up on.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, queue_messages: int) -> None:
        self._publisher = ZmqPublisher(context, endpoint, queue_messages)
        self.endpoint = self._publisher.endpoint
        self.dropped = 0
        self._waiting: Queue[tuple[bytes, bytes]] = Queue(queue_messages)
        self._thread = threading.Thread(target=self._write_all, name="json publisher", daemon=True)
        self._thread.start()

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
        """Write what waits and close."""
        self._waiting.put(_CLOSE)
        self._thread.join()
        self._publisher.close()

    def _drop_oldest(self) -> None:
        try:
            self._waiting.get_nowait()
        except Empty:
            return
        self.dropped += 1

    def _write_all(self) -> None:
        while (message := self._waiting.get()) != _CLOSE:
            topic, payload = message
            self._publisher.publish(topic, to_json(topic, payload))

"""Publishes over ZeroMQ: two frames a message, the topic and the protobuf payload."""

from __future__ import annotations

import threading

import zmq
from poseloop.errors import InvalidInputError

_LINGER_MS = 200


def bind_publisher(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, queue_messages: int) -> zmq.Socket[bytes]:
    """Return a PUB socket bound to the endpoint; ``:*`` or ``:0`` as its port lets the system choose.

    Raises:
        InvalidInputError: the endpoint is taken or does not exist here.
    """
    socket: zmq.Socket[bytes] = context.socket(zmq.PUB)
    socket.setsockopt(zmq.SNDHWM, queue_messages)
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise InvalidInputError(
            f"poses can't be published at {endpoint}: {error.strerror}; is another server running? "
            "Choose another endpoint with --publish or --publish-json."
        ) from None
    return socket


class ZmqPublisher:
    """A PUB socket that several threads share.

    Sending to a PUB socket never waits: what a slow subscriber's queue can't hold is dropped for that subscriber. So
    a lock around it is held for some microseconds only, less than handing the message to a thread would take.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, queue_messages: int) -> None:
        self._socket = bind_publisher(context, endpoint, queue_messages)
        self._lock = threading.Lock()
        self.endpoint: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Send a message to whoever has subscribed to its topic."""
        with self._lock:
            if not self._socket.closed:
                self._socket.send_multipart((topic, payload), zmq.NOBLOCK)

    def close(self) -> None:
        """Send what is queued, briefly, and close."""
        with self._lock:
            self._socket.close()

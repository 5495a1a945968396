"""Poses through shared memory, from a server to the subscribers of its host, ahead of ZeroMQ.

Every pose is published over ZeroMQ as ever; a subscriber on the same host gets it here a few tenths of a millisecond
earlier. A message is what ZeroMQ carries, topic and payload, after a prefix::

    bytes 0-7    number of the message, from 0, little-endian
    bytes 8-11   length of the payload
    bytes 12-13  length of the topic
    from byte 14 the topic, then the payload

A subscriber that is too slow loses the oldest messages here, which it sees by their numbers; ZeroMQ still has them.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Any, Final

from poseloop.local import (
    LocalTransportError,
    NoRoomError,
    byte_messages,
    events,
    reclaim,
    require_room,
    tried,
    wait_for,
)

_PREFIX: Final = struct.Struct("<QIH")
_QUEUE: Final = 128
# More subscribers than these get their poses over ZeroMQ alone.
_MOST_SUBSCRIBERS: Final = 16
# Of memory for a message; the next multiple, so that memory taken ahead suits it.
_STEP_BYTES: Final = 1024
_SLOTS: Final = _MOST_SUBSCRIBERS * (_QUEUE + 2) + 2

Message = tuple[bytes, bytes]
"""Topic and payload."""


def service_name(server_id: str) -> str:
    """Return the name of a server's service."""
    return f"poseloop/{server_id}/poses"


class PosePort:
    """The server's side; any thread may publish.

    Attributes:
        dropped: messages that there was no room for.
    """

    def __init__(self, name: str) -> None:
        """Make the service.

        Raises:
            LocalTransportError: the host's shared memory can't be used, or has no room.
        """
        import iceoryx2 as iox2

        require_room(_SLOTS, _STEP_BYTES)
        messages = (
            byte_messages(name)
            .max_publishers(1)
            .max_subscribers(_MOST_SUBSCRIBERS)
            .history_size(0)
            .enable_safe_overflow(True)
            .subscriber_max_buffer_size(_QUEUE)
            .subscriber_max_borrowed_samples(2)  # the one before is let go when the next one is there
        )
        event = events(name).max_notifiers(1).max_listeners(_MOST_SUBSCRIBERS)
        self._messages = tried(messages.create, "made")
        self._event = tried(event.create, "made")
        publisher = (
            self._messages.publisher_builder()
            .initial_max_slice_len(_STEP_BYTES)
            .max_loaned_samples(2)
            .allocation_strategy(iox2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iox2.BackpressureStrategy.DiscardData)
        )
        self._publisher = tried(publisher.create, "made")
        self._notifier = tried(self._event.notifier_builder().create, "made")
        self._lock = threading.Lock()
        self._number = 0
        self._next: Any = None  # memory for the next message, taken while there is time
        self._next_bytes = 0
        self._closed = False
        self._checked_bytes = _STEP_BYTES
        self.dropped = 0

    def publish(self, topic: bytes, payload: bytes) -> None:
        """Leave a message for those who are attached, and wake them; without room for it they see a gap."""
        if self._closed or not self._messages.dynamic_config.number_of_subscribers:
            return
        room = -(-(_PREFIX.size + len(topic) + len(payload)) // _STEP_BYTES) * _STEP_BYTES
        with self._lock:
            if self._closed:
                return
            if room > self._checked_bytes and not self._has_room(room):
                self._number += 1
                self.dropped += 1
                return
            sample, self._next = self._next, None
            if sample is None or self._next_bytes != room:
                sample = self._publisher.loan_slice_uninit(room)
            message = pack(self._number, topic, payload)
            ctypes.memmove(sample.payload_ptr, message, len(message))
            sample.assume_init().send()
            self._number += 1
            self._notifier.notify()
            self._next, self._next_bytes = self._publisher.loan_slice_uninit(room), room

    def _has_room(self, room: int) -> bool:
        try:
            require_room(_SLOTS, room)
        except NoRoomError:
            return False
        self._checked_bytes = room
        return True

    def close(self) -> None:
        """Take the service away."""
        with self._lock:
            self._closed = True
            self._next = None
            self._publisher.delete()
            self._notifier.delete()


class PoseTap:
    """A subscriber's side; used by one thread.

    Attributes:
        complete: what `receive` returned last follows what it returned before; otherwise messages are missing between.
    """

    def __init__(self, name: str) -> None:
        """Attach to the service of that name.

        Raises:
            LocalTransportError: it is not there for this process, or has as many subscribers as it can.
        """
        reclaim()  # a subscriber that was killed holds a place until someone looks
        messages = tried(byte_messages(name).open, "opened")
        event = tried(events(name).open, "opened")
        self._listener = tried(event.listener_builder().create, "opened")
        self._subscriber = tried(messages.subscriber_builder().create, "opened")
        self._due: int | None = None  # the number of the next message
        self.complete = False

    def receive(self) -> list[Message]:
        """Return the messages that wait, in their order; where some are missing, those that came after them.

        Raises:
            LocalTransportError: what lies in the shared memory is no message, or it fails.
        """
        received: list[Message] = []
        self.complete = True
        while (sample := tried(self._subscriber.receive, "read")) is not None:
            number, message = unpack(ctypes.string_at(sample.payload_ptr, sample.header.number_of_elements))
            if number != self._due:
                self.complete = False
                received.clear()
            self._due = number + 1
            received.append(message)
        return received

    def wait(self, seconds: float) -> None:
        """Wait until a message comes, or for so long."""
        wait_for(self._listener, seconds)

    def close(self) -> None:
        """Let go of the shared memory."""
        self._subscriber.delete()
        self._listener.delete()


def pack(number: int, topic: bytes, payload: bytes) -> bytes:
    """Return the bytes of a message."""
    return _PREFIX.pack(number, len(payload), len(topic)) + topic + payload


def unpack(message: bytes) -> tuple[int, Message]:
    """Return the number of a message, and the message.

    Raises:
        LocalTransportError: it is none.
    """
    prefix = _PREFIX.size
    if len(message) < prefix:
        raise LocalTransportError(f"{len(message)} bytes in shared memory are no pose")
    number, payload_bytes, topic_bytes = _PREFIX.unpack_from(message)
    if prefix + topic_bytes + payload_bytes > len(message):
        raise LocalTransportError(f"{len(message)} bytes in shared memory are no whole pose")
    begin = prefix + topic_bytes
    return number, (message[prefix:begin], message[begin : begin + payload_bytes])

"""Where a subscription's messages come from: ZeroMQ, and this host's shared memory ahead of it.

ZeroMQ carries everything, in order. Shared memory carries the same poses earlier, to those who share the server's host;
a pose that came from there is left out when ZeroMQ brings it. So nothing depends on shared memory: where it overflows,
is not there, or its server was killed, the pose comes from ZeroMQ.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal

import zmq

from poseloop import local
from poseloop.clock import clock_id
from poseloop.inbox import PoseInbox
from poseloop.local import LocalTransportError
from poseloop.local_poses import PoseTap
from poseloop.v1 import poseloop_pb2 as pb

log = logging.getLogger(__name__)

PoseTransport = Literal["auto", "zeromq"]
"""How poses come; auto: through shared memory too where server and subscriber share a host."""

Message = tuple[bytes, ...]
"""The parts of a message: topic and payload, where it is one of ours."""

# While poses come from shared memory, this bounds how late what only ZeroMQ has is seen.
_LOOK_S: Final = 0.02
# Poses that ZeroMQ is still to bring again; with more of them nothing is taken ahead of it until it has caught up.
_MOST_AHEAD: Final = 1000
_MOST_PENDING: Final = 128


class PoseFeed:
    """Fills an inbox from a SUB socket and, where there is one, a tap of the server's shared memory; of one thread."""

    def __init__(self, socket: zmq.Socket[bytes], inbox: PoseInbox, transport: PoseTransport) -> None:
        self._socket = socket
        self._inbox = inbox
        self._may_tap = transport == "auto" and local.is_installed()
        self._status: pb.ServerStatus | None = None  # that was looked at last
        self._tap: PoseTap | None = None
        self._tap_of = ""
        self._tried: set[str] = set()  # ids of the servers whose shared memory was tried
        # Whether the next pose of shared memory is the one that follows the last pose that was put in.
        self._is_level = False
        self._pending: list[Message] = []  # what came from shared memory until then
        self._ahead: dict[Message, None] = {}  # what shared memory brought and ZeroMQ did not yet

    @property
    def transport(self) -> Literal["local", "zeromq"]:
        """What brings poses first."""
        return "zeromq" if self._tap is None else "local"

    def take_in(self, *, everything: bool) -> None:
        """Put what waits into the inbox: all of it, or at least one message if there is any.

        Raises:
            InvalidInputError: a message is no status.
        """
        if self._tap is None:
            while (message := self._receive()) is not None:
                if not self._came_before(message):
                    self._inbox.put(message)
                if not everything:
                    break
        else:
            try:
                self._take_in_both(self._tap)
            except LocalTransportError as error:
                log.warning("%s; poses come over ZeroMQ", error)
                self._let_go()
        if self._inbox.status is not self._status:
            self._look_at_status()

    def wait(self, seconds: float) -> None:
        """Wait until there may be something to take in, for no longer than that."""
        if self._tap is not None and self._is_level:
            self._tap.wait(min(seconds, _LOOK_S))
        else:
            # poll() takes milliseconds; rounded up, so that a short rest is not a busy loop.
            self._socket.poll(int(seconds * 1000) + 1)

    def came_from(self, server_id: str) -> None:
        """Note which server the latest pose is of: where it is another than the tap's, that one is gone."""
        if self._tap is not None and server_id != self._tap_of:
            self._let_go()

    def close(self) -> None:
        """Close the socket and let go of the shared memory."""
        self._let_go()
        self._socket.close()

    def _receive(self) -> Message | None:
        """Return the next message of ZeroMQ, or None."""
        try:
            return tuple(self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def _take_in_both(self, tap: PoseTap) -> None:
        """Put in what shared memory brings; where that is nothing, also what ZeroMQ has."""
        fresh = self._wanted(tap.receive())
        if not tap.complete or len(self._ahead) >= _MOST_AHEAD:
            self._is_level, self._pending = False, []
        if not self._is_level:
            self._find_level(fresh)
        elif fresh:
            self._put_ahead(fresh)
        else:
            self._catch_up(tap)

    def _find_level(self, fresh: list[Message]) -> None:
        """Take ZeroMQ's messages until one of them is in shared memory as well: what follows there comes next.

        Until then ZeroMQ may still carry what shared memory never had or has lost.
        """
        self._pending = [*self._pending, *fresh][-_MOST_PENDING:]
        while (message := self._receive()) is not None:
            if self._came_before(message):
                continue
            self._inbox.put(message)
            if message in self._pending:
                self._is_level = True
                self._put_ahead(self._pending[self._pending.index(message) + 1 :])
                self._pending = []
                # What ZeroMQ has by now may be in shared memory too, and not have been looked at there.
                return

    def _catch_up(self, tap: PoseTap) -> None:
        """Take from ZeroMQ what shared memory brought, and whatever only ZeroMQ has."""
        behind = [message for message in iter(self._receive, None) if not self._came_before(message)]
        # What ZeroMQ brought a moment ago was in shared memory before.
        fresh = self._wanted(tap.receive())
        if not tap.complete:
            self._is_level, self._pending = False, fresh
            fresh = []
        known = set(behind)
        for message in behind:
            self._inbox.put(message)
        self._put_ahead([message for message in fresh if message not in known])

    def _came_before(self, message: Message) -> bool:
        """Whether shared memory brought what ZeroMQ brings now; what it brought before that ZeroMQ has dropped."""
        if message not in self._ahead:
            return False
        while (oldest := next(iter(self._ahead))) != message:
            del self._ahead[oldest]
        del self._ahead[message]
        return True

    def _put_ahead(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._inbox.put(message)
            self._ahead[message] = None

    def _wanted(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if self._inbox.wants(message[0])]

    def _look_at_status(self) -> None:
        """Attach to the shared memory of the server that says its status, once."""
        status = self._status = self._inbox.status
        if status is None or not self._may_tap or status.server_id in self._tried:
            return
        self._tried.add(status.server_id)
        self._let_go()
        if not status.shared_memory or status.clock_id != clock_id():
            return
        try:
            self._tap, self._tap_of = PoseTap(status.shared_memory), status.server_id
        except LocalTransportError as error:
            log.info("%s; poses come over ZeroMQ", error)

    def _let_go(self) -> None:
        tap, self._tap = self._tap, None
        self._is_level, self._pending = False, []
        if tap is not None:
            tap.close()

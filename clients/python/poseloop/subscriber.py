"""Receives the poses that a server publishes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

import zmq

from poseloop import forks
from poseloop.addresses import DEFAULT_ENDPOINT, check_endpoint
from poseloop.errors import InvalidInputError, NoPoseError, ServerUnavailableError
from poseloop.inbox import PoseInbox
from poseloop.losses import Losses, Restart
from poseloop.pose_feed import PoseFeed, PoseTransport
from poseloop.types import Pose

log = logging.getLogger(__name__)

# Poses that may wait here before ZeroMQ drops further ones; about a kilobyte each.
_QUEUE = 10_000
# Waiting in slices lets Ctrl-C and `close` through on every platform.
_SLICE_S = 0.25

_SOCKET_OPTIONS: Final = (
    (zmq.RCVHWM, _QUEUE),
    (zmq.LINGER, 0),
    (zmq.RECONNECT_IVL, 20),
    (zmq.RECONNECT_IVL_MAX, 1000),
    # Without these a host that vanished looks like one that is quiet.
    (zmq.HEARTBEAT_IVL, 2000),
    (zmq.HEARTBEAT_TIMEOUT, 6000),
)


class Subscription:
    """The poses of one stream, or of all: an iterator and a context manager; made by `poseloop.subscribe`.

    It connects again by itself when the server was away. What it could not deliver is in `lost` and `losses`, and each
    new session of a stream in `restarts`.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        stream: str | None = None,
        *,
        latest: bool = False,
        timeout_s: float | None = None,
        transport: PoseTransport = "auto",
        on_restart: Callable[[Restart], None] | None = None,
    ) -> None:
        self._endpoint = check_endpoint(endpoint)
        self._stream = stream
        self._timeout_s = timeout_s
        self._inbox = PoseInbox(stream, latest=latest, on_restart=on_restart or log_restart)
        self._latest = latest
        self._forks = forks.count
        self._closed = False
        self._busy = threading.RLock()  # of the thread that receives; a callback of it may close
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        set_up_socket(socket, self._endpoint, self._inbox.topics)
        self._feed = PoseFeed(socket, self._inbox, check_transport(transport))

    @property
    def transport(self) -> Literal["local", "zeromq"]:
        """What brings poses now: shared memory, ahead of ZeroMQ, or ZeroMQ alone."""
        return self._feed.transport

    @property
    def lost(self) -> int:
        """Poses that were published but did not arrive here."""
        return self._inbox.losses.missed

    @property
    def losses(self) -> Losses:
        """Frames that have no pose here, by place."""
        return self._inbox.losses

    @property
    def repeated(self) -> int:
        """Poses of lossless frames that were sent again after a break and already had one; they are left out."""
        return self._inbox.repeated

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Each time that a stream's poses began to come from another session."""
        return tuple(self._inbox.restarts)

    def wait_until_ready(self, timeout_s: float = 10.0) -> None:
        """Wait until the server is known to send here, so that no pose published from now on is missed.

        Raises:
            ServerUnavailableError: nothing came within ``timeout_s``; a server says its status once a second.
            InvalidInputError: the subscription is closed, or another process made it.
        """
        self._check_process()
        deadline = time.monotonic() + timeout_s
        with self._busy:
            while not self._closed:
                if self._inbox.status is not None:
                    return
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise nobody_publishes(self._endpoint, timeout_s)
                self._feed.wait(min(left_s, _SLICE_S))
                self._feed.take_in(everything=True)
            self._feed.close()
        raise closed(self._endpoint)

    def receive(self, timeout_s: float | None = None) -> Pose | None:
        """Return the next pose, or None where none arrives within ``timeout_s``; None waits without end.

        Raises:
            InvalidInputError: what arrives at the endpoint is no pose, the subscription is closed, or another process
                made it.
        """
        self._check_process()
        with self._busy:
            return self._receive(timeout_s)

    def _receive(self, timeout_s: float | None) -> Pose | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._closed:
            if self._latest or self._inbox.is_empty:
                self._feed.take_in(everything=self._latest)
            pose = self._inbox.pop()
            if pose is not None:
                self._feed.came_from(pose.server_id)
                return pose
            left_s = _SLICE_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                return None
            self._feed.wait(min(left_s, _SLICE_S))
        self._feed.close()
        raise closed(self._endpoint)

    def close(self) -> None:
        """End the subscription; an iteration over it, in another thread too, ends.

        In a forked child its parent's socket and shared memory are left alone.
        """
        self._closed = True
        if self._forks != forks.count:
            return
        if self._busy.acquire(blocking=False):  # otherwise the thread that iterates lets go of everything
            try:
                self._feed.close()
            finally:
                self._busy.release()

    def _check_process(self) -> None:
        forks.check(self._forks, f"the subscription to {self._endpoint}")

    def __iter__(self) -> Self:
        """Return the subscription: its poses, one after the other."""
        return self

    def __next__(self) -> Pose:
        """Return the next pose.

        Raises:
            NoPoseError: none arrived within the subscription's ``timeout_s``.
        """
        try:
            pose = self.receive(self._timeout_s)
        except InvalidInputError:
            if self._closed:
                raise StopIteration from None
            raise
        if pose is None:
            raise no_pose(self._endpoint, self._stream, self._timeout_s)
        return pose

    def __enter__(self) -> Self:
        """Return the subscription."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the subscription."""
        self.close()
        if self._forks != forks.count:
            return
        with self._busy:  # neither the socket nor the memory may go while another thread waits for them
            self._feed.close()


def set_up_socket(socket: zmq.Socket[Any], endpoint: str, topics: list[bytes]) -> None:
    """Set a SUB socket up and connect it.

    Raises:
        InvalidInputError: ZeroMQ can't connect to such an endpoint.
    """
    for option, value in _SOCKET_OPTIONS:
        socket.setsockopt(option, value)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise InvalidInputError(f"{endpoint!r} can't be subscribed to: {error.strerror}") from None


def check_transport(transport: PoseTransport) -> PoseTransport:
    """Return it.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if transport not in get_args(PoseTransport):
        raise InvalidInputError(f"transport {transport!r} is unknown; use one of {', '.join(get_args(PoseTransport))}")
    return transport


def nobody_publishes(endpoint: str, timeout_s: float) -> ServerUnavailableError:
    """Return the error for a server that does not even say its status."""
    return ServerUnavailableError(
        f"No server publishes at {endpoint} within {timeout_s:g} s; start one with `poseloop serve` or check the "
        "endpoint."
    )


def closed(endpoint: str) -> InvalidInputError:
    """Return the error for a subscription that is used after its end."""
    return InvalidInputError(f"the subscription to {endpoint} is closed; make a new one")


def no_pose(endpoint: str, stream: str | None, timeout_s: float | None) -> NoPoseError:
    """Return the error for poses that do not come."""
    what = "any stream" if stream is None else f"stream {stream}"
    return NoPoseError(
        f"No pose of {what} came from {endpoint} within {timeout_s:g} s; `poseloop streams` tells what runs."
    )


def log_restart(restart: Restart) -> None:
    """Say it as a warning, for a subscriber who does not want to be told himself."""
    log.warning("%s", restart)


def subscribe(
    endpoint: str = DEFAULT_ENDPOINT,
    stream: str | None = None,
    *,
    latest: bool = False,
    timeout_s: float | None = None,
    transport: PoseTransport = "auto",
    on_restart: Callable[[Restart], None] | None = None,
) -> Subscription:
    """Follow the poses that a server publishes.

    Poses published before the subscription reached the server are not delivered, and not counted as lost.

    Args:
        endpoint: the server's ZeroMQ endpoint for protobuf, ``tcp://host:port``; this may be down yet.
        stream: the one to follow, or None for all of the server's.
        latest: give only the newest pose of each stream and pass over those that came while the last was handled.
        timeout_s: how long an iteration waits for a pose before it raises `NoPoseError`; for ever, unless given.
        transport: ``"auto"``: on the server's host poses come through shared memory ahead of ZeroMQ, where iceoryx2 is
            installed; ``"zeromq"``: through ZeroMQ alone.
        on_restart: called, in the iteration, with each `Restart`; they are logged as warnings unless given.

    Raises:
        InvalidInputError: the endpoint or the stream's name can't be right.
    """
    return Subscription(
        endpoint, stream, latest=latest, timeout_s=timeout_s, transport=transport, on_restart=on_restart
    )

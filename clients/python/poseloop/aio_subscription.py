"""The receiving side for asyncio; its public face is `poseloop.aio`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

import zmq
import zmq.asyncio

from poseloop.addresses import DEFAULT_ENDPOINT, check_endpoint
from poseloop.errors import InvalidInputError
from poseloop.inbox import PoseInbox
from poseloop.losses import Losses, Restart
from poseloop.subscriber import closed, log_restart, no_pose, nobody_publishes, set_up_socket
from poseloop.types import Pose


class AsyncSubscription:
    """The poses of one stream, or of all: an asynchronous iterator and context manager; see `poseloop.Subscription`.

    On Windows pyzmq needs asyncio's selector event loop, or the package tornado beside its own.
    """

    def __init__(self, endpoint: str, stream: str | None, inbox: PoseInbox, latest: bool, timeout_s: float | None):
        self._endpoint = check_endpoint(endpoint)
        self._stream = stream
        self._inbox = inbox
        self._latest = latest
        self._timeout_s = timeout_s
        self._socket: zmq.asyncio.Socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        set_up_socket(self._socket, self._endpoint, inbox.topics)

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
        """Poses of lossless frames that already had one; they are left out."""
        return self._inbox.repeated

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Each time that a stream's poses began to come from another session."""
        return tuple(self._inbox.restarts)

    async def wait_until_ready(self, timeout_s: float = 10.0) -> None:
        """Wait until the server is known to send here; see `poseloop.Subscription.wait_until_ready`."""
        deadline = self._deadline(timeout_s)
        while self._inbox.status is None:
            if not await self._take_in(deadline):
                raise nobody_publishes(self._endpoint, timeout_s)

    async def receive(self, timeout_s: float | None = None) -> Pose | None:
        """Return the next pose, or None where none arrives within ``timeout_s``; None waits without end.

        Raises:
            InvalidInputError: what arrives at the endpoint is no pose, or the subscription is closed.
        """
        deadline = self._deadline(timeout_s)
        if self._latest:
            await self._drain()
        while (pose := self._inbox.pop()) is None:
            if not await self._take_in(deadline):
                return None
        return pose

    def close(self) -> None:
        """End the subscription; an iteration over it, in another task too, ends."""
        self._socket.close()

    def __aiter__(self) -> Self:
        """Return the subscription: its poses, one after the other."""
        return self

    async def __anext__(self) -> Pose:
        """Return the next pose.

        Raises:
            NoPoseError: none arrived within the subscription's ``timeout_s``.
        """
        try:
            pose = await self.receive(self._timeout_s)
        except InvalidInputError:
            if self._socket.closed:
                raise StopAsyncIteration from None
            raise
        if pose is None:
            raise no_pose(self._endpoint, self._stream, self._timeout_s)
        return pose

    async def __aenter__(self) -> Self:
        """Return the subscription."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the subscription."""
        self.close()

    @staticmethod
    def _deadline(timeout_s: float | None) -> float | None:
        return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s

    async def _drain(self) -> None:
        while await self._receive_one():
            pass

    async def _take_in(self, deadline: float | None) -> bool:
        """Take in one message; false where none came before the deadline."""
        while not await self._receive_one():
            left_s = math.inf if deadline is None else deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            # Not a reception with a timeout: one that is cancelled may take its message with it.
            try:
                await self._socket.poll(None if deadline is None else math.ceil(left_s * 1000))
            except asyncio.CancelledError:
                if not self._socket.closed or _is_cancelled():
                    raise  # otherwise the socket's end cancelled it
        return True

    async def _receive_one(self) -> bool:
        if self._socket.closed:
            raise closed(self._endpoint)
        try:
            self._inbox.put(await self._socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return False
        return True


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def subscribe(
    endpoint: str = DEFAULT_ENDPOINT,
    stream: str | None = None,
    *,
    latest: bool = False,
    timeout_s: float | None = None,
    on_restart: Callable[[Restart], None] | None = None,
) -> AsyncSubscription:
    """Follow the poses that a server publishes; see `poseloop.subscribe`."""
    inbox = PoseInbox(stream, latest=latest, on_restart=on_restart or log_restart)
    return AsyncSubscription(endpoint, stream, inbox, latest, timeout_s)

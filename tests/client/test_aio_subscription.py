from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
from poseloop import aio
from poseloop.errors import InvalidInputError
from poseloop.types import Counters

from tests.client.test_losses import message


class Publisher:
    """A socket that publishes one pose after the other."""

    def __init__(self) -> None:
        self._socket = zmq.Context.instance().socket(zmq.PUB)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.sent = 0

    def publish(self) -> None:
        self._socket.send_multipart(message("cam0", self.sent, Counters(sent=self.sent + 1, published=self.sent + 1)))
        self.sent += 1

    def close(self) -> None:
        self._socket.close(linger=0)


@asynccontextmanager
async def following() -> AsyncIterator[tuple[Publisher, aio.AsyncSubscription]]:
    """A publisher and a subscription that is known to receive from it."""
    publisher = Publisher()
    async with aio.subscribe(publisher.endpoint, "cam0") as subscription:
        publisher.publish()
        while await subscription.receive(0.01) is None:
            publisher.publish()
        while await subscription.receive(0.1) is not None:
            pass
        yield publisher, subscription
    publisher.close()


def test_a_pose_that_comes_with_the_timeout_is_not_lost() -> None:
    async def run() -> None:
        async with following() as (publisher, subscription):
            first = publisher.sent

            def publish_and_hold_the_loop_up() -> None:
                publisher.publish()
                time.sleep(0.05)  # beyond the timeout: the loop then finds both at once

            for _ in range(5):
                asyncio.get_running_loop().call_later(0.001, publish_and_hold_the_loop_up)
                received = await subscription.receive(0.02)
                if received is None:
                    received = await subscription.receive(10)
                assert received is not None
                assert received.sequence == publisher.sent - 1
            assert publisher.sent == first + 5
            assert subscription.lost == 0

    asyncio.run(run())


def test_closing_a_subscription_ends_an_iteration_that_waits() -> None:
    async def run() -> None:
        async with following() as (_, subscription):

            async def follow() -> list[int]:
                return [pose.sequence async for pose in subscription]

            waiting = asyncio.create_task(follow())
            await asyncio.sleep(0.05)
            subscription.close()
            assert await asyncio.wait_for(waiting, 10) == []
            with pytest.raises(InvalidInputError, match="closed"):
                await subscription.receive(1)
            with pytest.raises(InvalidInputError, match="closed"):
                await subscription.wait_until_ready()

    asyncio.run(run())


def test_a_cancelled_iteration_stays_cancelled() -> None:
    async def run() -> None:
        async with following() as (_, subscription):
            waiting = asyncio.ensure_future(anext(subscription))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(run())

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop import aio


def images(count: int) -> list[np.ndarray]:
    return [np.full((48, 64), k % 256, np.uint8) for k in range(count)]


async def camera(count: int) -> AsyncIterator[np.ndarray]:
    for k in range(count):
        await asyncio.sleep(0)
        yield np.full((48, 64), k % 256, np.uint8)


def test_track_takes_both_kinds_of_iterables(server: Any) -> None:
    async def main() -> None:
        async with aio.connect(server.address) as connection:
            for frames in (images(60), camera(60)):
                tracking = connection.track(frames, "cam0", policy="lossless")
                assert [pose.sequence async for pose in tracking] == list(range(60))
                assert tracking.counters.published == 60

    asyncio.run(main())


def test_sender_and_subscriber(server: Any) -> None:
    async def main() -> None:
        connection = await aio.connect(server.address)
        async with aio.subscribe(server.endpoint, "cam1", timeout_s=20) as subscription:
            await subscription.wait_until_ready()
            for name in ("cam10", "cam1"):
                async with await connection.sender(name, policy="lossless") as sender:
                    for image in images(20):
                        await sender.send(image)
                    assert (await sender.close()).published == 20
            got = [(await anext(subscription)) for _ in range(20)]
            assert [(pose.stream, pose.sequence) for pose in got] == [("cam1", k) for k in range(20)]
            assert await subscription.receive(0.01) is None
            assert subscription.lost == 0
        assert [model.name for model in await connection.models()] == ["mean"]
        assert await connection.streams() == []
        await connection.close()

    asyncio.run(main())


def test_a_live_sender_never_holds_the_loop_up(server: Any) -> None:
    async def main() -> None:
        async with aio.connect(server.address) as connection, await connection.sender("cam0") as sender:
            for image in images(100):
                await sender.send(image)
            counters = await sender.close()
        assert counters.sent == 100 == counters.published + counters.dropped

    asyncio.run(main())


def test_latest(server: Any) -> None:
    async def main() -> None:
        async with (
            aio.connect(server.address) as connection,
            aio.subscribe(server.endpoint, "cam0", latest=True, timeout_s=20) as subscription,
        ):
            await subscription.wait_until_ready()
            async for _ in connection.track(images(30), "cam0", policy="lossless"):
                pass
            sequences = [(await anext(subscription)).sequence]
            while sequences[-1] < 29:
                sequences.append((await anext(subscription)).sequence)
            assert len(sequences) < 30

    asyncio.run(main())


def test_errors_are_the_same(server: Any, unused_address: str) -> None:
    async def broken() -> AsyncIterator[np.ndarray]:
        yield images(1)[0]
        raise OSError("the camera is on fire")

    async def main() -> None:
        with pytest.raises(poseloop.ServerUnavailableError):
            await aio.connect(unused_address, timeout_s=0.1)
        async with aio.connect(server.address) as connection:
            with pytest.raises(poseloop.RequestRefusedError, match="model"):
                await anext(connection.track(images(1), "cam0", model="absent"))
            with pytest.raises(OSError, match="on fire"):
                async for _ in connection.track(broken(), "cam0"):
                    pass
            with pytest.raises(poseloop.InvalidInputError):
                await connection.sender("a b")
        with pytest.raises(poseloop.NoPoseError):
            async with aio.subscribe(server.endpoint, "nobody", timeout_s=0.05) as subscription:
                await anext(subscription)

    asyncio.run(main())


def test_leaving_the_loop_early(server: Any) -> None:
    async def main() -> None:
        async with aio.connect(server.address) as connection:
            async with connection.track(camera(10**6), "cam0") as tracking:
                async for pose in tracking:
                    if pose.sequence > 3:
                        break
            with pytest.raises(StopAsyncIteration):
                await anext(tracking)

    asyncio.run(main())

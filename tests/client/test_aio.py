from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop import aio
from poseloop.sender import FrameSender


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


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_sources_error_comes_after_every_pose(make_server: Any, asynchronous: bool) -> None:
    slow = make_server("--inference-ms", "5")

    async def breaking() -> AsyncIterator[np.ndarray]:
        for image in images(10):
            yield image
        raise OSError("the camera is on fire")

    def breaking_too() -> Iterator[np.ndarray]:
        yield from images(10)
        raise OSError("the camera is on fire")

    async def main() -> None:
        async with aio.connect(slow.address) as connection:
            frames = breaking() if asynchronous else breaking_too()
            tracking = connection.track(frames, "cam0", policy="lossless")
            assert [(await anext(tracking)).sequence for _ in range(10)] == list(range(10))
            with pytest.raises(OSError, match="on fire"):
                await anext(tracking)

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


class HeldUp:
    """Opening a stream waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go, self.opened = threading.Event(), threading.Event()
        held_up = self

        class Late(FrameSender):
            def __init__(self, *arguments: Any) -> None:
                assert held_up.let_go.wait(30)
                super().__init__(*arguments)
                held_up.opened.set()

        monkeypatch.setattr("poseloop.client.FrameSender", Late)


async def no_stream_is_open(connection: aio.AsyncServer) -> None:
    async with asyncio.timeout(20):
        while await connection.streams():
            await asyncio.sleep(0.005)


def test_a_sender_that_nobody_waits_for_any_more_is_not_left_behind(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = HeldUp(monkeypatch)

    async def main() -> None:
        async with aio.connect(server.address) as connection:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.sender("cam0"), 0.02)
            held_up.let_go.set()
            assert await asyncio.to_thread(held_up.opened.wait, 20)
            await no_stream_is_open(connection)

    asyncio.run(main())


def test_a_tracking_that_is_closed_while_it_opens_is_not_left_behind(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = HeldUp(monkeypatch)

    async def main() -> None:
        async with aio.connect(server.address) as connection:
            tracking = connection.track(camera(10**6), "cam0")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(tracking), 0.02)
            await tracking.close()
            held_up.let_go.set()
            assert await asyncio.to_thread(held_up.opened.wait, 20)
            await no_stream_is_open(connection)
            with pytest.raises(StopAsyncIteration):
                await anext(tracking)

    asyncio.run(main())


def test_waiting_for_a_pose_with_a_timeout_may_be_repeated(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held_up = HeldUp(monkeypatch)

    async def main() -> None:
        more = asyncio.Event()

        async def stalling() -> AsyncIterator[np.ndarray]:
            yield images(1)[0]
            await more.wait()
            yield images(1)[0]

        async with aio.connect(server.address) as connection, connection.track(stalling(), "cam0") as tracking:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(tracking), 0.02)
            held_up.let_go.set()
            assert (await anext(tracking)).sequence == 0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(tracking), 0.02)
            more.set()
            assert [pose.sequence async for pose in tracking] == [1]

    asyncio.run(main())


def test_a_tracking_whose_task_is_cancelled_ends(server: Any) -> None:
    async def main() -> None:
        async with aio.connect(server.address) as connection:
            runs = asyncio.Event()

            async def follow() -> None:
                async for _ in connection.track(camera(10**6), "cam0"):
                    runs.set()

            following = asyncio.create_task(follow())
            await runs.wait()
            following.cancel()
            await asyncio.wait({following})
            del following
            gc.collect()
            await no_stream_is_open(connection)

    asyncio.run(main())


def test_sources_that_stall_hold_nothing_else_up(server: Any) -> None:
    let_go = threading.Event()

    def stalling() -> Iterator[np.ndarray]:
        yield images(1)[0]
        let_go.wait(60)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with aio.connect(server.address) as connection:
            trackings = [connection.track(stalling(), f"cam{number}") for number in range(3)]
            for tracking in trackings:
                await anext(tracking)
            async with asyncio.timeout(20):
                for tracking in trackings:
                    await tracking.close()
                await no_stream_is_open(connection)

    try:
        asyncio.run(main())
    finally:
        let_go.set()


@contextmanager
def stopped(server: Any) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


on_posix = pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped and continued on POSIX only")


@on_posix
def test_lossless_senders_that_wait_hold_up_neither_their_end_nor_the_program(make_server: Any) -> None:
    server = make_server()

    async def send_for_ever(sender: aio.AsyncFrameSender) -> None:
        async with sender:
            while True:
                await sender.send(images(1)[0])

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        async with aio.connect(server.address) as connection:
            senders = [await connection.sender(f"cam{number}", policy="lossless") for number in range(5)]
            with stopped(server):
                sending = [asyncio.create_task(send_for_ever(sender)) for sender in senders[:3]]
                closing = [asyncio.create_task(sender.close()) for sender in senders[3:]]
                async with asyncio.timeout(20):
                    while not all(sender.counters.in_flight > 4 for sender in senders[:3]):
                        await asyncio.sleep(0.005)
                    assert await asyncio.to_thread(lambda: "free") == "free"
                    for task in (*sending, *closing):
                        task.cancel()
                    await asyncio.wait((*sending, *closing))
                    for sender in senders[3:]:
                        await sender.abort()

    asyncio.run(main())


@on_posix
def test_a_lossless_frame_whose_send_was_cancelled_is_not_sent(make_server: Any) -> None:
    server = make_server()
    poses: list[poseloop.Pose] = []

    async def main() -> None:
        async with aio.connect(server.address) as connection:
            async with await connection.sender("cam0", policy="lossless", on_pose=poses.append) as sender:
                sent = 0
                with stopped(server):
                    with suppress(TimeoutError):
                        while True:
                            await asyncio.wait_for(sender.send(images(1)[0]), 0.1)
                            sent += 1
                    for image in images(20):
                        with pytest.raises(TimeoutError):
                            await asyncio.wait_for(sender.send(image), 0.01)
                    waiting = [asyncio.create_task(sender.send(image)) for image in images(10)]
                    await asyncio.sleep(0.05)
                    waiting.pop(4).cancel()
                    assert sender.counters.sent == sent
                assert await asyncio.gather(*waiting) == list(range(sent, sent + 9))
                assert (await sender.close()).published == sent + 9
            assert [pose["mean"].x for pose in poses[sent:]] == [0, 1, 2, 3, 5, 6, 7, 8, 9]

    asyncio.run(main())

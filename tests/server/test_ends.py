"""How streams end that their clients do not end well."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import zmq.asyncio
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server.ingest import grpc_frames

from tests.models import write_spot_model
from tests.server.conftest import Serve
from tests.server.dying_link import dying_link
from tests.server.wire_client import CallRefusedError, TrackCall, connected, frame, received, spot_image, subscribed

TINY = spot_image(1, 1, width=8, height=8)


def test_a_client_that_does_not_read_its_replies_is_ended(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_frames, "_MAX_WAITING_REPLIES", 64)
    large_poses = tmp_path / "large.onnx"
    write_spot_model(large_poses, tuple(f"keypoint{number}" for number in range(500)))

    async def run() -> None:
        async with (
            serve(large_poses) as server,
            subscribed(server.announcement.publish, "event/") as subscriber,
            connected(server.announcement.address) as channel,
        ):
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            ended = asyncio.Event()

            async def send_until_ended() -> None:
                for number in itertools.count():
                    if ended.is_set():
                        return
                    await call.send(frame(number, TINY))

            sending = asyncio.create_task(send_until_ended())
            event = await _closed_event(subscriber)
            ended.set()
            await sending
            assert "replies are not read" in event.message
            assert not server.table.open_streams()
            read = 0
            try:
                while await call.reply():
                    read += 1
            except CallRefusedError as error:
                refused = error
            assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert event.counters.published - read >= 64, "what waited is thrown away, not kept until it is read"

    asyncio.run(run())


@pytest.mark.parametrize("attempt", range(5))  # which of two things gRPC tells first is chance
def test_a_connection_that_is_cut_is_no_clean_end(serve: Serve, spot_model: Path, tmp_path: Path, attempt: int) -> None:
    experiment = _experiment(tmp_path)

    async def run() -> None:
        async with (
            serve(spot_model, loop=experiment) as server,
            dying_link(server.announcement.address) as network,
            subscribed(server.announcement.publish, "event/") as subscriber,
            connected(network.address) as channel,
        ):
            call = TrackCall(channel)
            await call.open("cam0")
            await call.send(frame(0, TINY))
            await call.reply()
            network.cut()
            assert "broke" in (await _closed_event(subscriber)).message

    asyncio.run(run())
    assert [entry["reason"] for entry in _record(tmp_path, "stream_closed")] == ["the connection broke"]


def test_the_record_says_of_a_client_that_is_gone_before_its_last_reply_what_the_event_says(
    serve: Serve, slow_model: Path, tmp_path: Path
) -> None:
    experiment = _experiment(tmp_path)

    async def run() -> None:
        async with (
            serve(slow_model, loop=experiment) as server,
            dying_link(server.announcement.address) as network,
            subscribed(server.announcement.publish, "event/") as subscriber,
            connected(network.address) as channel,
        ):
            call = TrackCall(channel)
            await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS)
            for number in range(4):
                await call.send(frame(number, TINY))
            await call.call.done_writing()
            async with asyncio.timeout(30):
                while not server._frames._retiring:
                    await asyncio.sleep(0.001)
            network.cut()
            assert "broke" in (await _closed_event(subscriber)).message

    asyncio.run(run())
    assert [entry["reason"] for entry in _record(tmp_path, "stream_closed")] == ["the connection broke"]


def test_a_client_that_does_not_read_its_end_delays_neither_what_ends_with_it_nor_who_comes_next(
    serve: Serve, tmp_path: Path
) -> None:
    large_poses = tmp_path / "large.onnx"
    write_spot_model(large_poses, tuple(f"keypoint{number}" for number in range(2000)))
    experiment = _experiment(tmp_path)

    async def run() -> None:
        async with serve(large_poses, loop=experiment) as server, connected(server.announcement.address) as channel:
            slow = TrackCall(channel)
            await slow.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            for number in range(200):  # megabytes of poses, more than a connection holds
                await slow.send(frame(number, TINY))
            await slow.call.done_writing()
            async with asyncio.timeout(30):
                while server.table.open_streams():
                    await asyncio.sleep(0.01)
            assert server._frames._retiring, "its replies wait"
            after = TrackCall(channel)
            await after.open("cam0")
            await after.finish()
            await slow.finish()

    asyncio.run(run())
    kinds = [entry["kind"] for entry in _record(tmp_path, "stream_opened", "ended", "stream_closed")]
    assert kinds == ["stream_opened", "ended", "stream_closed"] * 2


def test_a_shutdown_takes_no_longer_than_its_grace(
    serve: Serve, spot_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    async def run() -> None:
        async with serve(spot_model, shutdown_grace_s=0.2) as server:
            stop = server._grpc.stop

            async def stop_within(grace_s: float) -> None:
                given.append(grace_s)
                await stop(grace_s)

            # Streams that use the whole time up leave none for the other calls.
            monkeypatch.setattr(server._frames, "stop", asyncio.Event().wait)
            monkeypatch.setattr(server._grpc, "stop", stop_within)

    asyncio.run(run())
    assert len(given) == 1
    assert given[0] < 0.1


def _experiment(folder: Path) -> Path:
    path = folder / "loop.yaml"
    path.write_text("experiment: ends\nrecord: .\nstreams:\n  cam0: {}\n", encoding="utf-8")
    return path


def _record(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    (file,) = folder.glob("*.jsonl")
    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [entry for entry in entries if entry["kind"] in kinds]


async def _closed_event(subscriber: zmq.asyncio.Socket) -> pb.StreamEvent:
    event = pb.StreamEvent()
    while event.kind != pb.StreamEvent.KIND_CLOSED:
        event = pb.StreamEvent.FromString((await received(subscriber))[1])
    return event

"""How streams end that their clients do not end well."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

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
def test_a_connection_that_is_cut_is_no_clean_end(serve: Serve, spot_model: Path, attempt: int) -> None:
    async def run() -> None:
        async with (
            serve(spot_model) as server,
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


async def _closed_event(subscriber: zmq.asyncio.Socket) -> pb.StreamEvent:
    event = pb.StreamEvent()
    while event.kind != pb.StreamEvent.KIND_CLOSED:
        event = pb.StreamEvent.FromString((await received(subscriber))[1])
    return event

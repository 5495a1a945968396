"""A client made of nothing but gRPC and ZeroMQ, so that the server is tested against the contract itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import zmq
import zmq.asyncio
from poseloop.clock import now_ns
from poseloop.v1 import poseloop_pb2 as pb

TIMEOUT_S = 30


def spot_image(x: int, y: int, width: int = 64, height: int = 48, value: int = 200) -> np.ndarray:
    image = np.zeros((height, width), np.uint8)
    image[y, x] = value
    return image


def frame(sequence: int, image: np.ndarray, **fields: Any) -> pb.FrameMessage:
    height, width = image.shape[:2]
    captured = now_ns()
    values = {
        "sequence": sequence,
        "captured_client_ns": captured,
        "sent_client_ns": captured,
        "width": width,
        "height": height,
        "format": pb.PIXEL_FORMAT_GRAY8 if image.ndim == 2 else pb.PIXEL_FORMAT_RGB8,
        "data": image.tobytes(),
        "client": pb.ClientCounters(sent=min(sequence + 1, 2**64 - 1)),
        **fields,
    }
    return pb.FrameMessage(frame=pb.Frame(**values))


def opening(stream: str, **fields: Any) -> pb.FrameMessage:
    return pb.FrameMessage(open=pb.OpenStream(stream=stream, **fields))


class TrackCall:
    """One Track call, message by message."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call: Any = channel.stream_stream("/poseloop.v1.PoseService/Track")(timeout=60)

    async def send(self, message: pb.FrameMessage | bytes) -> None:
        await self.call.write(message if isinstance(message, bytes) else message.SerializeToString())

    async def reply(self) -> pb.TrackReply:
        try:
            data = await asyncio.wait_for(self.call.read(), TIMEOUT_S)
        except grpc.aio.AioRpcError:
            data = grpc.aio.EOF
        if data is grpc.aio.EOF:
            await self.raise_status()
            raise EOFError
        return pb.TrackReply.FromString(data)

    async def open(self, stream: str, **fields: Any) -> pb.Opened:
        await self.send(opening(stream, **fields))
        reply = await self.reply()
        assert reply.WhichOneof("reply") == "opened"
        return reply.opened

    async def finish(self) -> tuple[list[pb.TrackReply], pb.Closed]:
        """Half-close; return the replies up to Closed, and Closed."""
        await self.call.done_writing()
        replies = []
        while (reply := await self.reply()).WhichOneof("reply") != "closed":
            replies.append(reply)
        await self.raise_status()
        return replies, reply.closed

    async def raise_status(self) -> None:
        code = await self.call.code()
        if code != grpc.StatusCode.OK:
            raise CallRefusedError(code, await self.call.details(), dict(await self.call.trailing_metadata()))

    async def refused(self) -> CallRefusedError:
        """Read until the call is refused."""
        while True:
            try:
                await self.reply()
            except CallRefusedError as refused:
                return refused


class CallRefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, sentence: str, metadata: dict[str, str]) -> None:
        super().__init__(f"{code.name}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.field = metadata.get("poseloop-field", "")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


@asynccontextmanager
async def subscribed(endpoint: str, *topics: str) -> AsyncIterator[zmq.asyncio.Socket]:
    """A SUB socket that is known to receive: the status, told every second, has come through."""
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, 100_000)
    socket.connect(endpoint)
    for topic in (*topics, "status"):
        socket.subscribe(topic)
    try:
        while (await received(socket))[0] != "status":
            pass
        if "status" not in topics:
            socket.unsubscribe("status")
        yield socket
    finally:
        socket.close(linger=0)
        context.term()


async def received(socket: zmq.asyncio.Socket) -> tuple[str, bytes]:
    topic, payload = await asyncio.wait_for(socket.recv_multipart(), TIMEOUT_S)
    return topic.decode(), payload


async def received_poses(socket: zmq.asyncio.Socket, count: int) -> list[pb.Pose]:
    poses: list[pb.Pose] = []
    while len(poses) < count:
        topic, payload = await received(socket)
        if topic.startswith("pose/"):
            poses.append(pb.Pose.FromString(payload))
    return poses


def account_balances(counters: pb.StreamCounters, in_flight: int = 0) -> bool:
    client = counters.client
    dropped_here = counters.dropped_rate + counters.dropped_mailbox + counters.failed
    gone = client.dropped_outbox + client.lost_connection + dropped_here
    return client.sent == counters.published + gone + in_flight

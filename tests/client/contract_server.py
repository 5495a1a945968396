"""A small server that keeps to the wire contract, run as a process of its own so that it can be killed.

It finds no mouse: keypoint ``mean`` of a frame is (mean of its pixels, sequence), which tests can check. Unlike the
real server it can be told to be slow and to have a clock of its own, and needs no ONNX Runtime.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import zmq
import zmq.asyncio
from poseloop.clock import clock_id, now_ns
from poseloop.types import ModelSpec
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc

SPEC = ModelSpec(name="mean", keypoints=["mean"], color="gray", native_width=64, native_height=48)


@dataclass
class Session:
    opening: pb.OpenStream
    session_id: int
    counters: pb.StreamCounters = field(default_factory=pb.StreamCounters)
    waiting: list[tuple[pb.Frame, int]] = field(default_factory=list)
    ended: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reply(self, context, reply: pb.TrackReply) -> None:
        async with self.writing:  # gRPC takes one write at a time
            await context.write(reply)


class ContractServer(rpc.PoseServiceServicer, rpc.ModelServiceServicer, rpc.StreamServiceServicer):
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.server_id = uuid.uuid4().hex
        self.sessions: dict[str, Session] = {}
        self.publisher = zmq.asyncio.Context.instance().socket(zmq.PUB)
        self.publisher.bind(f"tcp://127.0.0.1:{options.publish_port or '*'}")

    def now(self) -> int:
        return now_ns() + self.options.clock_offset_ns

    async def Track(self, messages, context):  # noqa: N802
        opening = (await context.read()).open
        if self.options.mute_while and self.options.mute_while.exists():
            await asyncio.Event().wait()
        if opening.model not in ("", SPEC.name):
            await context.abort(grpc.StatusCode.NOT_FOUND, "model: unknown.", (("poseloop-field", "model"),))
        if opening.stream in self.sessions:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "stream: open.", (("poseloop-field", "stream"),))
        session = self.sessions[opening.stream] = Session(opening, now_ns())
        opened = pb.Opened(
            server_id=self.server_id,
            session_id=session.session_id,
            clock_id=self.options.clock_id or clock_id(),
            window=self.options.window,
            model_spec="{}" if self.options.garbage == "spec" else SPEC.model_dump_json(),
        )
        keep_name_s = self.options.keep_name_s
        working = asyncio.create_task(self.work(session, context))
        try:
            await context.write(pb.TrackReply(opened=opened))
            while (message := await context.read()) is not grpc.aio.EOF:
                await self.receive(session, message.frame, context)
            async with session.changed:
                session.ended = True
                session.changed.notify_all()
            await working
            await context.write(pb.TrackReply(closed=pb.Closed(counters=session.counters)))
            keep_name_s = 0.0
        finally:
            working.cancel()
            asyncio.get_running_loop().call_later(keep_name_s, self.sessions.pop, opening.stream)

    async def receive(self, session: Session, frame: pb.Frame, context) -> None:
        received_ns = self.now()
        if len(frame.data) != frame.width * frame.height and frame.format == pb.PIXEL_FORMAT_GRAY8:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "data: size.", (("poseloop-field", "data"),))
        async with session.changed:
            session.counters.received += 1
            session.counters.client.CopyFrom(frame.client)
            if session.opening.policy == pb.DELIVERY_POLICY_LIVE:
                session.counters.dropped_mailbox += len(session.waiting)
                session.waiting.clear()
                await session.reply(context, self.ack(session, frame, received_ns))
            session.waiting.append((frame, received_ns))
            session.changed.notify_all()

    def ack(self, session: Session, frame: pb.Frame, received_ns: int) -> pb.TrackReply:
        ack = pb.Ack(sequence=frame.sequence, received_ns=received_ns, acked_ns=self.now(), counters=session.counters)
        return pb.TrackReply(ack=ack)

    async def work(self, session: Session, context) -> None:
        while True:
            async with session.changed:
                await session.changed.wait_for(lambda: session.waiting or session.ended)
                if not session.waiting:
                    return
                frame, received_ns = session.waiting.pop(0)
            started_ns = self.now()
            await asyncio.sleep(self.options.inference_ms / 1e3)
            pose = self.pose(session, frame, received_ns, started_ns)
            await self.publisher.send_multipart([f"pose/{pose.stream}".encode(), pose.SerializeToString()])
            if session.opening.return_poses:
                await session.reply(context, pb.TrackReply(pose=pose))
            elif session.opening.policy == pb.DELIVERY_POLICY_LOSSLESS:
                await session.reply(context, self.ack(session, frame, received_ns))

    def pose(self, session: Session, frame: pb.Frame, received_ns: int, started_ns: int) -> pb.Pose:
        session.counters.published += 1
        mean = float(np.frombuffer(frame.data, np.uint8).mean())
        return pb.Pose(
            stream=session.opening.stream,
            sequence=frame.sequence,
            stamps=pb.Stamps(
                captured_ns=frame.captured_client_ns + frame.clock_offset_ns,
                received_ns=received_ns,
                inference_started_ns=started_ns,
                inference_ended_ns=self.now(),
                published_ns=self.now(),
                captured_client_ns=frame.captured_client_ns,
                clock_uncertainty_ns=frame.clock_uncertainty_ns,
            ),
            keypoints=[mean, frame.sequence, 1.0],
            instances=2 if self.options.garbage == "pose" else 1,
            keypoint_names=["mean"],
            model=SPEC.name,
            server_id=self.server_id,
            session_id=session.session_id,
            counters=session.counters,
            width=frame.width,
            height=frame.height,
        )

    async def ListModels(self, request, context):  # noqa: N802
        return pb.ListModelsResponse(
            models=[pb.ModelInfo(name=SPEC.name, spec=SPEC.model_dump_json(), provider="none")]
        )

    async def LoadModel(self, request, context):  # noqa: N802
        await context.abort(grpc.StatusCode.NOT_FOUND, f"file: {request.file}?", (("poseloop-field", "file"),))

    async def SwapModel(self, request, context):  # noqa: N802
        if request.file != "mean.onnx":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"file: {request.file}?", (("poseloop-field", "file"),))
        return pb.SwapModelResponse(model=pb.ModelInfo(name=request.name, spec=SPEC.model_dump_json(), sha256="f" * 64))

    async def UnloadModel(self, request, context):  # noqa: N802
        return pb.UnloadModelResponse()

    async def ListStreams(self, request, context):  # noqa: N802
        # As the real server tells them: NaN while there is no pose.
        ages = pb.Percentiles(**dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms"), math.nan))
        streams = [
            pb.StreamInfo(
                name=name,
                model=SPEC.name,
                policy=session.opening.policy,
                counters=session.counters,
                age=ages,
                session_id=0 if self.options.tell_no_sessions else session.session_id,
            )
            for name, session in self.sessions.items()
        ]
        return pb.ListStreamsResponse(server_id=self.server_id, time_ns=self.now(), streams=streams)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--publish-port", type=int, default=0)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--inference-ms", type=float, default=0.0)
    parser.add_argument("--mute-while", type=Path, help="a call that begins while this file exists hears nothing")
    parser.add_argument("--keep-name-s", type=float, default=0.0, help="how long a session that broke has its name")
    parser.add_argument("--tell-no-sessions", action="store_true")
    parser.add_argument("--clock-id", default="")
    parser.add_argument("--clock-offset-ns", type=int, default=0)
    parser.add_argument("--garbage", choices=["pose", "spec"])
    contract = ContractServer(parser.parse_args())
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    rpc.add_PoseServiceServicer_to_server(contract, server)
    rpc.add_ModelServiceServicer_to_server(contract, server)
    rpc.add_StreamServiceServicer_to_server(contract, server)
    port = server.add_insecure_port(f"127.0.0.1:{contract.options.port}")
    await server.start()
    publish_port = int(contract.publisher.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rsplit(":", 1)[1])
    print(json.dumps({"port": port, "publish_port": publish_port}), flush=True)
    while True:
        status = pb.ServerStatus(server_id=contract.server_id, time_ns=contract.now(), streams=list(contract.sessions))
        await contract.publisher.send_multipart([b"status", status.SerializeToString()])
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())

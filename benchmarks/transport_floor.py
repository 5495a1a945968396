"""What the transports cost by themselves here: one bare gRPC message a frame, one bare ZeroMQ message a pose.

python benchmarks/transport_floor.py [--fps 60] [--bytes 307200] [--messages 500]

The sum of the two medians is what no server between them can go below on this machine at this moment; compare it with
`overhead_ms` of `poseloop bench latency`, run right before or after.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import zmq

METHOD = "/floor.Floor/Frames"
STAMP_BYTES = 8
POSE_BYTES = 500


def stamped(size: int) -> bytes:
    return time.perf_counter_ns().to_bytes(STAMP_BYTES, "little") + bytes(size - STAMP_BYTES)


def age_ms(message: bytes) -> float:
    return (time.perf_counter_ns() - int.from_bytes(message[:STAMP_BYTES], "little")) / 1e6


def receive_grpc(parent: Connection) -> None:
    import asyncio

    async def serve() -> None:
        done = asyncio.Event()

        async def frames(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            ages = []
            while (message := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                ages.append(age_ms(message))
            parent.send(ages)
            done.set()

        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(frames)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor.Floor", {"Frames": handler}),))
        parent.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await done.wait()
        await server.stop(1)

    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


def grpc_ages(child: Connection, size: int, interval_s: float, messages: int) -> list[float]:
    outgoing: SimpleQueue[bytes | None] = SimpleQueue()
    with grpc.insecure_channel(f"127.0.0.1:{child.recv()}") as channel:
        replies = channel.stream_stream(METHOD)(iter(outgoing.get, None))
        for _ in range(messages):
            time.sleep(interval_s)
            outgoing.put(stamped(size))
        outgoing.put(None)
        list(replies)
    ages: list[float] = child.recv()
    return ages


def receive_zmq(parent: Connection) -> None:
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    parent.send(port)
    ages = []
    while len(message := socket.recv_multipart()[-1]) > STAMP_BYTES:
        ages.append(age_ms(message))
    parent.send(ages)


def zmq_ages(child: Connection, size: int, interval_s: float, messages: int) -> list[float]:
    socket = zmq.Context.instance().socket(zmq.PUB)
    socket.connect(f"tcp://127.0.0.1:{child.recv()}")
    time.sleep(0.5)  # PUB drops what it sends before the subscription has arrived
    for _ in range(messages):
        time.sleep(interval_s)
        socket.send_multipart([b"pose/floor", stamped(size)])
    socket.send_multipart([b"pose/floor", stamped(STAMP_BYTES)])
    ages: list[float] = child.recv()
    return ages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--bytes", type=int, default=640 * 480)
    parser.add_argument("--messages", type=int, default=500)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    report = {}
    for name, receive, ages, size in (
        ("grpc_frame_ms", receive_grpc, grpc_ages, arguments.bytes),
        ("zeromq_pose_ms", receive_zmq, zmq_ages, POSE_BYTES),
    ):
        child, parent = spawn.Pipe()
        process = spawn.Process(target=receive, args=(parent,))
        process.start()
        values = ages(child, size, 1 / arguments.fps, arguments.messages)
        process.join()
        report[name] = {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

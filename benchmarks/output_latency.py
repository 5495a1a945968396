"""How long a command takes from its decision to the other side, for each kind of output that this machine can hold.

The other side is a process of its own: a pseudo-terminal's far end, a UDP socket, a REP socket, a web server. Commands
are decided 100 times a second on a thread that sleeps in between, as a model's thread waits for its next frame, with
the interpreter set up as the server's is. Linux and macOS.

    python benchmarks/output_latency.py --commands 500
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import sys
import threading
import time
import tty
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import zmq
from poseloop.clock import now_ns
from poseloop_server.outputs import device_protocol as wire
from poseloop_server.outputs.base import ActionConfig, Command, Outcome, Output, OutputConfig, OutputServices
from poseloop_server.outputs.kinds import OUTPUTS
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.sinks.zmq_publisher import ZmqPublisher

RATE = 100
WARM_UP = 50
BUSY_NS = 200_000


class Nothing(Output):
    """Sends nothing: what the runner alone takes."""

    config = OutputConfig
    action = ActionConfig

    def execute(self, command: Command) -> Outcome:
        return Outcome(command, "sent", sent_ns=now_ns())


class NoSink:
    def publish(self, topic: bytes, payload: bytes) -> None: ...
    def close(self) -> None: ...


def raw_device(pipe: Connection) -> None:
    """Note when bytes arrive."""
    device, host = os.openpty()
    tty.setraw(host)
    pipe.send(os.ttyname(host))
    arrived = []
    while not (heard := os.read(device, 64)).endswith(b"\xff"):
        arrived.extend([now_ns()] * len(heard))
    pipe.send(arrived)
    pipe.recv()


def poseloop_device(pipe: Connection) -> None:
    """Answer as the sketch does."""
    device, host = os.openpty()
    tty.setraw(host)
    pipe.send(os.ttyname(host))
    while not pipe.poll():
        heard = os.read(device, 64)
        hello = b"PL" + bytes((wire.VERSION, wire.LINES)) if heard[0] == wire.HELLO else b""
        os.write(device, bytes((wire.DONE | heard[0], 0, 0, 0, 0)) + hello)


def udp_receiver(pipe: Connection) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    pipe.send(receiver.getsockname()[1])
    arrived = []
    while not receiver.recv(2048).startswith(b"/end"):
        arrived.append(now_ns())
    pipe.send(arrived)


def open_ephys(pipe: Connection) -> None:
    replier = zmq.Context().socket(zmq.REP)
    pipe.send(replier.bind_to_random_port("tcp://127.0.0.1"))
    while not pipe.poll():
        if replier.poll(100):
            asked = replier.recv()
            replier.send(b"1" if asked == b"IsAcquiring" else b"TTLHandled: " + asked[4:])


def web_server(pipe: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.recv()


def measure(
    kind: str, output: Output, config: OutputConfig, action: ActionConfig, count: int
) -> tuple[list[Outcome], list[int]]:
    """Decide so many commands; returns their outcomes, and how long each `submit` took, in nanoseconds."""
    outcomes: list[Outcome] = []
    runner = OutputRunner(kind, output, outcomes.append, config)
    output.prepare(action)
    runner.start()
    took = []
    next_s = time.perf_counter()
    for number in range(1, count + 1):
        next_s += 1 / RATE
        time.sleep(max(0.0, next_s - time.perf_counter()))
        busy_until = now_ns() + BUSY_NS
        while now_ns() < busy_until:  # stages and triggers come before: the interpreter is in the caches by then
            pass
        decided_ns = now_ns()
        command = Command(number, kind, action, "cam1", "in_corner", number, decided_ns, decided_ns, "rise")
        before = now_ns()
        runner.submit(command)
        took.append(now_ns() - before)
    time.sleep(0.1)
    runner.close()
    return sorted(outcomes, key=lambda outcome: outcome.command.number), took


def back_to_back_us(count: int) -> float:
    """Return the median time of a `submit` right after another: without what a sleep makes the caches forget."""
    config = OutputConfig(deadline_ms=1000, queue_commands=count)
    runner = OutputRunner("none", Nothing("x", config, None), lambda _: None, config)
    runner.start()
    took = []
    for number in range(count):
        command = Command(number, "none", None, "cam1", "in_corner", number, 0, now_ns())
        before = now_ns()
        runner.submit(command)
        took.append(now_ns() - before)
    runner.close()
    return float(np.median(took)) / 1e3


def report(name: str, outcomes: list[Outcome], took: list[int], arrived: list[int]) -> None:
    wanted = outcomes[WARM_UP:]
    columns = [
        np.array(took[WARM_UP:]) / 1e6,
        np.array([one.sent_ns - one.command.decided_ns for one in wanted if one.sent_ns]) / 1e6,
        np.array([one.acknowledged_ns - one.command.decided_ns for one in wanted if one.acknowledged_ns]) / 1e6,
        np.array([at - one.command.decided_ns for at, one in zip(arrived, outcomes, strict=False)])[WARM_UP:] / 1e6,
    ]
    cells = [f"{np.median(one):.3f} / {np.percentile(one, 99):.3f}" if one.size else "" for one in columns]
    statuses = {one.status for one in outcomes}
    print(f"| {name} | {' | '.join(cells)} | {', '.join(sorted(statuses))} |", flush=True)


def counterpart(role: Callable[[Connection], None]) -> tuple[Any, Connection]:
    """Start the other side; returns what it says of itself, and the pipe to it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    multiprocessing.get_context("spawn").Process(target=role, args=(theirs,), daemon=True).start()
    return ours.recv(), ours


def run(kind: str, keys: dict[str, Any], action: dict[str, Any], count: int, services: OutputServices) -> Any:
    made = OUTPUTS[kind]
    config = made.config(deadline_ms=1000, **keys)
    return measure(kind, made("out", config, services), config, made.action(**action), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=500)
    count = parser.parse_args().commands + WARM_UP
    sys.setswitchinterval(0.00002)
    services = OutputServices(NoSink(), "server")
    print(
        "| output | submit p50 / p99, ms | decided to sent | decided to acknowledged | decided to arrived | ended as |"
    )
    print("|---|---|---|---|---|---|")
    nothing = OutputConfig(deadline_ms=1000)
    report(
        "none, the runner alone", *measure("none", Nothing("x", nothing, services), nothing, ActionConfig(), count), []
    )

    port, pipe = counterpart(raw_device)
    keys = {"port": port, "protocol": "raw", "rest": "0xFF"}
    outcomes, took = run("serial", keys, {"write": "0x01"}, count, services)
    report("serial, raw", outcomes, took, pipe.recv())
    pipe.send("end")

    port, pipe = counterpart(poseloop_device)
    report("serial", *run("serial", {"port": port}, {"pulse_ms": 1}, count, services), [])
    pipe.send("end")

    port, pipe = counterpart(udp_receiver)
    outcomes, took = run("osc", {"port": port}, {"address": "/laser", "arguments": [1]}, count, services)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"/end", ("127.0.0.1", port))
    report("osc", outcomes, took, pipe.recv())

    port, pipe = counterpart(open_ephys)
    report("open_ephys", *run("open_ephys", {"port": port}, {"state": True}, count, services), [])
    pipe.send("end")

    port, pipe = counterpart(web_server)
    report("http", *run("http", {"url": f"http://127.0.0.1:{port}/"}, {}, count, services), [])
    pipe.send("end")

    publisher = ZmqPublisher(zmq.Context.instance(), "tcp://127.0.0.1:*", 256)
    report("zeromq", *run("zeromq", {}, {}, count, OutputServices(publisher, "server")), [])
    publisher.close()
    print(f"\nsubmit, back to back: {back_to_back_us(count):.1f} us")


if __name__ == "__main__":
    main()

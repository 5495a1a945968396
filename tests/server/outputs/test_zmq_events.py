from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server.outputs.base import OutputServices, Status
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.outputs.zmq_events import ZmqEventsAction, ZmqEventsConfig, ZmqEventsOutput
from poseloop_server.sinks.base import Sinks
from poseloop_server.sinks.json_publisher import JsonPublisher
from poseloop_server.sinks.zmq_publisher import ZmqPublisher

from tests.server.outputs.parts import WITHIN_S, Outcomes, Traffic, command, run


class Published:
    """A server's publishers, and subscribers to them."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.protobuf = ZmqPublisher(self.context, "tcp://127.0.0.1:*", 256)
        self.json = JsonPublisher(self.context, "tcp://127.0.0.1:*", 256)
        self.sinks = Sinks(self.protobuf, self.json)

    def subscriber(self, endpoint: str) -> zmq.Socket[bytes]:
        """Return a subscriber to events that hears already."""
        socket = self.context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20)
        socket.subscribe(b"event/")
        socket.connect(endpoint)
        while True:
            self.sinks.publish(b"event/hello", pb.StreamEvent(kind=pb.StreamEvent.KIND_OPENED).SerializeToString())
            try:
                socket.recv_multipart()
            except zmq.Again:
                continue
            socket.setsockopt(zmq.RCVTIMEO, int(WITHIN_S * 1000))
            return socket

    def close(self) -> None:
        self.sinks.close()
        self.context.term()


def next_of(socket: zmq.Socket[bytes], topic: bytes) -> bytes:
    while (message := socket.recv_multipart())[0] != topic:
        pass
    return message[1]


@pytest.fixture
def published() -> Iterator[Published]:
    made = Published()
    yield made
    made.close()


def started(published: Published) -> tuple[OutputRunner, Outcomes]:
    config = ZmqEventsConfig(deadline_ms=60_000)
    outcomes = Outcomes()
    return run(
        ZmqEventsOutput("out", config, OutputServices(published.sinks, "the-server")), config, outcomes
    ), outcomes


def test_subscribers_hear_of_a_command_and_its_cause(published: Published) -> None:
    socket = published.subscriber(published.protobuf.endpoint)
    runner, outcomes = started(published)
    given = command(ZmqEventsAction(message="left"), 5)
    runner.submit(given)
    event = pb.StreamEvent.FromString(next_of(socket, b"event/cam1"))
    assert outcomes.of(5).status is Status.SENT
    assert (event.kind, event.stream, event.message) == (pb.StreamEvent.KIND_TRIGGERED, "cam1", "left")
    assert (event.server_id, event.time_ns) == ("the-server", outcomes.of(5).sent_ns)
    trigger = event.trigger
    assert (trigger.name, trigger.edge, trigger.output) == ("in_corner", "rise", "out")
    assert (trigger.number, trigger.sequence) == (5, 41)
    assert (trigger.captured_ns, trigger.decided_ns) == (given.captured_ns, given.decided_ns)
    assert dict(trigger.values) == {"speed(snout)": 31.5}
    socket.close()
    runner.close()


def test_those_who_parse_text_get_a_document(published: Published) -> None:
    socket = published.subscriber(published.json.endpoint)
    runner, _ = started(published)
    given = command(ZmqEventsAction(), 6, values={"angle": float("nan"), "speed": 2.0})
    runner.submit(given)
    document: dict[str, Any] = json.loads(next_of(socket, b"event/cam1"))
    assert document.pop("time_ns") >= given.decided_ns
    assert document == {
        "kind": "triggered",
        "stream": "cam1",
        "message": "",
        "server_id": "the-server",
        "trigger": "in_corner",
        "edge": "rise",
        "output": "out",
        "number": 6,
        "sequence": 41,
        "captured_ns": given.captured_ns,
        "decided_ns": given.decided_ns,
        "values": {"angle": None, "speed": 2.0},
    }
    socket.close()
    runner.close()


def test_a_subscriber_may_go_and_come_back(published: Published) -> None:
    runner, outcomes = started(published)
    traffic = Traffic(runner, ZmqEventsAction())
    traffic.start()
    for _ in range(2):
        socket = published.subscriber(published.protobuf.endpoint)
        next_of(socket, b"event/cam1")
        socket.close()
    traffic.stop()
    runner.close()
    assert traffic.error is None
    assert [outcome.command.number for outcome in outcomes.all] == list(range(1, traffic.submitted + 1))
    assert runner.account().commands == {Status.SENT: traffic.submitted}

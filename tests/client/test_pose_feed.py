"""Poses from shared memory and ZeroMQ at once: each exactly once, in order, whatever overtakes what."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.clock import clock_id
from poseloop.errors import InvalidInputError
from poseloop.inbox import PoseInbox
from poseloop.local_poses import PosePort, service_name
from poseloop.pose_feed import PoseFeed, PoseTransport
from poseloop.subscriber import subscribe
from poseloop.v1 import poseloop_pb2 as pb

pytest.importorskip("iceoryx2")
TOPIC = b"pose/cam0"


@dataclass
class Publisher:
    """What a server publishes with, and nothing else of it."""

    context: zmq.Context[zmq.Socket[bytes]]
    published: int = 0
    server_id: str = field(default_factory=lambda: uuid4().hex[:12])

    def __post_init__(self) -> None:
        self.socket = self.context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.SNDHWM, 100_000)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.poses = PosePort(service_name(self.server_id))

    def say_status(self, shared_memory: str | None = None) -> None:
        name = service_name(self.server_id) if shared_memory is None else shared_memory
        status = pb.ServerStatus(server_id=self.server_id, clock_id=clock_id(), shared_memory=name)
        self.socket.send_multipart([b"status", status.SerializeToString()])

    def publish(self, count: int, topic: bytes = TOPIC, *, only_zeromq: bool = False) -> None:
        for _ in range(count):
            pose = pb.Pose(stream=topic.decode().removeprefix("pose/"), server_id=self.server_id, session_id=1)
            pose.sequence = self.published
            pose.stamps.captured_client_ns = self.published
            self.published += 1
            pose.counters.client.sent = pose.counters.received = pose.counters.published = self.published
            payload = pose.SerializeToString()
            if not only_zeromq:
                self.poses.publish(topic, payload)
            self.socket.send_multipart([topic, payload])

    def close(self) -> None:
        self.poses.close()
        self.socket.close(linger=0)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def feed_of(
    context: zmq.Context[zmq.Socket[bytes]], publisher: Publisher, transport: PoseTransport = "auto"
) -> tuple[PoseFeed, PoseInbox]:
    inbox = PoseInbox("cam0")
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, 100_000)
    for topic in inbox.topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.connect(f"tcp://127.0.0.1:{publisher.port}")
    return PoseFeed(socket, inbox, transport), inbox


def connect(feed: PoseFeed, inbox: PoseInbox, publisher: Publisher, poses: int = 0) -> None:
    """Wait until the feed is attached; with each status there were poses before, that only ZeroMQ carries."""
    deadline = time.monotonic() + 20
    while inbox.status is None:
        assert time.monotonic() < deadline
        publisher.publish(poses, only_zeromq=True)
        publisher.say_status()
        publisher.publish(poses, only_zeromq=True)
        feed.wait(0.05)
        feed.take_in(everything=True)


def sequences(inbox: PoseInbox) -> list[int]:
    return [pose.sequence for pose in iter(inbox.pop, None)]


def collect(feed: PoseFeed, inbox: PoseInbox, got: list[int], last: int) -> None:
    deadline = time.monotonic() + 20
    while (got[-1] if got else -1) < last:
        assert time.monotonic() < deadline, (got, last)
        feed.wait(0.05)
        feed.take_in(everything=True)
        got += sequences(inbox)


# Shared memory holds 128 messages for each subscriber, so that some of these bursts overflow it.
STEPS = st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=12)


@settings(max_examples=60)
@given(before=st.integers(0, 50), steps=STEPS)
def test_each_pose_comes_once_and_in_order(before: int, steps: list[tuple[int, bool]]) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context)
    try:
        feed, inbox = feed_of(context, publisher)
        connect(feed, inbox, publisher, before)
        got: list[int] = []
        for count, takes in steps:
            publisher.publish(count)
            publisher.poses.publish(b"pose/another", b"not asked for")
            if takes:
                feed.take_in(everything=True)
                got += sequences(inbox)
        collect(feed, inbox, got, publisher.published - 1)
        assert feed.transport == "local"
        # Those before the subscription had reached the publisher were for nobody.
        assert got == list(range(got[0] if got else 0, publisher.published))
        assert inbox.repeated == inbox.losses.total == 0
        feed.close()
    finally:
        publisher.close()
        context.destroy(linger=0)


def test_a_pose_that_is_published_while_the_level_is_found_comes_once(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher)
    connect(feed, inbox, publisher)
    receive, got = feed._receive, []

    def receive_and_publish() -> tuple[bytes, ...] | None:
        message = receive()
        if message is not None and publisher.published < 30:
            publisher.publish(1)
            time.sleep(0.01)  # long enough for ZeroMQ to bring it
        return message

    monkeypatch.setattr(feed, "_receive", receive_and_publish)
    publisher.publish(5)
    collect(feed, inbox, got, 29)
    assert got == list(range(30))
    feed.close()
    publisher.close()


def test_poses_come_once_though_zeromq_is_far_behind(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher)
    connect(feed, inbox, publisher)
    got: list[int] = []
    publisher.publish(1)
    collect(feed, inbox, got, 0)
    receive = feed._receive
    monkeypatch.setattr(feed, "_receive", lambda: None)  # as behind a forwarder that stands still
    for _ in range(15):
        publisher.publish(100)
        feed.take_in(everything=True)
        got += sequences(inbox)
    assert 900 < len(got) < 1200
    monkeypatch.setattr(feed, "_receive", receive)
    collect(feed, inbox, got, publisher.published - 1)
    assert got == list(range(1501))
    feed.close()
    publisher.close()


def test_poses_come_from_shared_memory_before_zeromq_brings_them(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher)
    connect(feed, inbox, publisher)
    pose = pb.Pose(stream="cam0", server_id=publisher.server_id, session_id=1)
    got: list[int] = []
    publisher.publish(1)
    collect(feed, inbox, got, 0)  # from ZeroMQ: until now it may have carried what was never in shared memory
    pose = pb.Pose(stream="cam0", sequence=1, server_id=publisher.server_id, session_id=1)
    publisher.poses.publish(TOPIC, pose.SerializeToString())
    collect(feed, inbox, got, 1)
    assert got == [0, 1]
    feed.close()
    publisher.close()


def test_another_servers_pose_ends_the_tap(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher)
    connect(feed, inbox, publisher)
    feed.came_from(publisher.server_id)
    assert feed.transport == "local"
    feed.came_from("another")
    assert feed.transport == "zeromq"
    got: list[int] = []
    publisher.publish(5)
    collect(feed, inbox, got, 4)
    # Its status alone does not bring it back: two servers behind one endpoint would have it change without end.
    publisher.say_status()
    publisher.publish(5)
    collect(feed, inbox, got, 9)
    assert feed.transport == "zeromq"
    feed.close()
    publisher.close()


@pytest.mark.parametrize("name", ["", "poseloop/nobody/poses"])
def test_without_the_servers_memory_poses_come_over_zeromq(context: zmq.Context[zmq.Socket[bytes]], name: str) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher)
    deadline = time.monotonic() + 20
    while inbox.status is None:
        assert time.monotonic() < deadline
        publisher.say_status(name)
        feed.wait(0.05)
        feed.take_in(everything=True)
    assert feed.transport == "zeromq"
    got: list[int] = []
    publisher.publish(5)
    collect(feed, inbox, got, 4)
    assert got == list(range(5))
    feed.close()
    publisher.close()


def test_zeromq_alone_can_be_asked_for(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    publisher = Publisher(context)
    feed, inbox = feed_of(context, publisher, "zeromq")
    connect(feed, inbox, publisher)
    assert feed.transport == "zeromq"
    feed.close()
    publisher.close()
    with pytest.raises(InvalidInputError, match="zeromq"):
        subscribe(transport="grpc")  # type: ignore[arg-type]

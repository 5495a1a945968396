"""Poses through shared memory ahead of ZeroMQ, between processes of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import poseloop
import pytest

from tests.e2e.real_server import RealServer
from tests.models import write_spot_model

pytest.importorskip("iceoryx2")
STREAM = "cam0"
SUBSCRIBER = """
import sys, poseloop
subscription = poseloop.subscribe(sys.argv[1], "cam0")
subscription.wait_until_ready()
print(subscription.transport, flush=True)
for pose in subscription:
    print(pose.sequence, flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    write_spot_model(tmp_path / "spot.onnx")
    with RealServer(tmp_path, "--model", str(tmp_path / "spot.onnx")) as running:
        yield running


def track(server: RealServer, count: int, stream: str = STREAM) -> None:
    image = np.zeros((48, 64), np.uint8)
    with poseloop.connect(server.address) as connection:
        for _ in connection.track((image for _ in range(count)), stream, policy="lossless"):
            pass


def test_what_shared_memory_brings_is_what_zeromq_brings(server: RealServer) -> None:
    with (
        poseloop.subscribe(server.endpoint, STREAM) as local,
        poseloop.subscribe(server.endpoint, STREAM, transport="zeromq") as over_zeromq,
    ):
        local.wait_until_ready()
        over_zeromq.wait_until_ready()
        assert (local.transport, over_zeromq.transport) == ("local", "zeromq")
        track(server, 100)
        track(server, 5, "another")
        track(server, 100)
        for _ in range(200):
            ahead, behind = local.receive(timeout_s=20), over_zeromq.receive(timeout_s=20)
            assert ahead is not None
            assert behind is not None
            assert (ahead.sequence, ahead.session_id, ahead.stamps) == (
                behind.sequence,
                behind.session_id,
                behind.stamps,
            )
            np.testing.assert_array_equal(ahead.keypoints, behind.keypoints)
        assert local.receive(timeout_s=0.2) is None
        assert local.lost == local.repeated == 0


def test_a_subscriber_that_pauses_loses_nothing_that_zeromq_keeps(server: RealServer) -> None:
    with poseloop.subscribe(server.endpoint, STREAM) as subscription:
        subscription.wait_until_ready()
        track(server, 10)
        assert [pose.sequence for pose in (subscription.receive(20) for _ in range(10)) if pose] == list(range(10))
        track(server, 400)  # three times what shared memory holds
        assert [pose.sequence for pose in (subscription.receive(20) for _ in range(400)) if pose] == list(range(400))
        assert subscription.losses.missed == 0


def test_subscribers_that_are_killed_give_their_places_back(server: RealServer) -> None:
    for _ in range(20):  # there are 16 places
        child = subprocess.Popen([sys.executable, "-c", SUBSCRIBER, server.endpoint], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "local\n"
        child.kill()
        child.wait()
        child.stdout.close()
    with poseloop.subscribe(server.endpoint, STREAM) as subscription:
        subscription.wait_until_ready()
        assert subscription.transport == "local"
        track(server, 50)
        assert [pose.sequence for pose in (subscription.receive(20) for _ in range(50)) if pose] == list(range(50))


def test_leaving_while_another_thread_iterates_is_quiet(server: RealServer) -> None:
    stop = threading.Event()

    def film() -> None:
        with poseloop.connect(server.address) as connection, connection.sender(STREAM) as sender:
            while not stop.is_set():
                sender.send(np.zeros((48, 64), np.uint8))
                time.sleep(0.002)

    camera = threading.Thread(target=film)
    camera.start()
    for _ in range(10):
        poses: list[poseloop.Pose] = []
        with poseloop.subscribe(server.endpoint, STREAM) as subscription:
            subscription.wait_until_ready()
            thread = threading.Thread(target=lambda poses=poses, subscription=subscription: poses.extend(subscription))
            thread.start()
            while len(poses) == 0:
                time.sleep(0.005)
        thread.join(20)
        assert not thread.is_alive()
    stop.set()
    camera.join()


def test_subscriptions_that_are_closed_give_their_places_back(server: RealServer) -> None:
    for _ in range(20):
        subscription = poseloop.subscribe(server.endpoint, STREAM)
        subscription.wait_until_ready()
        assert subscription.transport == "local"
        subscription.close()


def test_a_server_that_is_killed_and_comes_back_is_followed(server: RealServer) -> None:
    with poseloop.subscribe(server.endpoint, STREAM) as subscription:
        subscription.wait_until_ready()
        track(server, 20)
        assert [pose.sequence for pose in (subscription.receive(20) for _ in range(20)) if pose] == list(range(20))
        server.kill()
        server.start()
        deadline = time.monotonic() + 30
        received = 0
        while subscription.transport != "local" or not received:
            assert time.monotonic() < deadline
            track(server, 5)
            while subscription.receive(timeout_s=0.3) is not None:
                received += 1
        assert len(subscription.restarts) >= 1
        assert subscription.restarts[0].server_restarted

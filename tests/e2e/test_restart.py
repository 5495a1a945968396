"""The server is killed in mid-stream and started again; nobody else is touched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import poseloop
import pytest

from tests.e2e.real_server import RealServer
from tests.models import write_spot_model

STREAM = "cam0"
INTERVAL_S = 0.01


def spot_frame(sequence: int) -> np.ndarray:
    """A frame whose brightest pixel tells its sequence number."""
    image = np.zeros((120, 160), np.uint8)
    image[sequence // 160 % 120, sequence % 160] = 255
    return image


def sequence_of(pose: poseloop.Pose) -> int:
    return int(pose["spot"].y) * 160 + int(pose["spot"].x)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    write_spot_model(tmp_path / "spot.onnx")
    with RealServer(tmp_path, "--model", str(tmp_path / "spot.onnx")) as running:
        yield running


class Camera(threading.Thread):
    """Sends frames at a steady rate until it is told to stop."""

    def __init__(self, sender: poseloop.FrameSender) -> None:
        super().__init__(daemon=True)
        self.sender = sender
        self.stopping = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            sequence = 0
            while not self.stopping.wait(INTERVAL_S):
                assert self.sender.send(spot_frame(sequence)) == sequence
                sequence += 1
        except Exception as error:  # told to the test
            self.error = error

    def finish(self) -> poseloop.Counters:
        self.stopping.set()
        self.join()
        assert self.error is None
        return self.sender.close()


def receive(subscription: poseloop.Subscription, count: int) -> list[poseloop.Pose]:
    poses = []
    for _ in range(count):
        pose = subscription.receive(timeout_s=30)
        assert pose is not None
        assert sequence_of(pose) == pose.sequence
        poses.append(pose)
    return poses


def test_a_live_stream_survives_a_killed_server_and_says_what_was_lost(server: RealServer) -> None:
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.subscribe(server.endpoint, STREAM) as subscription,
        poseloop.connect(server.address) as connection,
    ):
        subscription.wait_until_ready()
        camera = Camera(connection.sender(STREAM, on_reconnect=reconnections.append))
        camera.start()
        before = receive(subscription, 50)
        server.kill()
        time.sleep(0.3)  # frames go on being captured while there is no server
        server.start()
        first_after = next(pose for pose in subscription if pose.server_id != before[-1].server_id)
        after = [first_after, *receive(subscription, 50)]
        counters = camera.finish()

    assert len(reconnections) == 1
    assert reconnections[0].server_restarted
    assert len(subscription.restarts) == 1
    restart = subscription.restarts[0]
    assert restart.server_restarted
    assert restart.losses.total >= 1
    # Every frame between the first and the last pose either has a pose here or stands in the account of losses, once.
    spanned = after[-1].sequence - before[0].sequence + 1
    received = spanned - subscription.losses.total
    assert received >= len(before) + len(after)
    assert after[0].sequence - before[-1].sequence - 1 == restart.losses.total + received - len(before) - len(after)
    assert counters.lost_connection == reconnections[0].lost
    assert counters.dropped_outbox >= reconnections[0].dropped_outbox >= 1
    assert counters.in_flight == 0
    assert counters.sent == counters.published + counters.dropped


def test_a_lossless_stream_loses_nothing_to_a_killed_server(server: RealServer) -> None:
    frames = 300
    with (
        poseloop.connect(server.address) as connection,
        connection.track((spot_frame(i) for i in range(frames)), STREAM, policy="lossless") as poses,
    ):
        sequences = []
        for pose in poses:
            assert sequence_of(pose) == pose.sequence
            sequences.append(pose.sequence)
            if len(sequences) == 100:
                server.kill()
                server.start()
    assert sequences == list(range(frames))

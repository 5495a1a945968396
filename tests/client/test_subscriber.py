from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import poseloop
import pytest


def stream(server: Any, name: str, count: int) -> None:
    with poseloop.connect(server.address) as connection:
        for _ in connection.track([np.full((4, 4), k, np.uint8) for k in range(count)], name, policy="lossless"):
            pass


def test_only_the_stream_that_was_asked_for(server: Any) -> None:
    with poseloop.subscribe(server.endpoint, "cam1", timeout_s=20) as subscription:
        subscription.wait_until_ready()
        stream(server, "cam10", 3)
        stream(server, "cam1", 3)
        poses = [next(subscription) for _ in range(3)]
        assert [(pose.stream, pose.sequence) for pose in poses] == [("cam1", 0), ("cam1", 1), ("cam1", 2)]
        assert subscription.receive(0) is None
        assert subscription.lost == 0


def test_all_streams(server: Any) -> None:
    with poseloop.subscribe(server.endpoint, timeout_s=20) as subscription:
        subscription.wait_until_ready()
        stream(server, "left", 2)
        stream(server, "right", 2)
        poses = [(pose.stream, pose.sequence) for pose in islice(subscription, 4)]
        assert poses == [("left", 0), ("left", 1), ("right", 0), ("right", 1)]


def test_latest_passes_over_what_waited(server: Any) -> None:
    with (
        poseloop.subscribe(server.endpoint, "cam0", timeout_s=20) as every,
        poseloop.subscribe(server.endpoint, "cam0", latest=True, timeout_s=20) as latest,
    ):
        every.wait_until_ready()
        latest.wait_until_ready()
        stream(server, "cam0", 50)
        assert [next(every).sequence for _ in range(50)] == list(range(50))
        poses = [next(latest)]
        while poses[-1].sequence < 49:
            poses.append(next(latest))
        assert len(poses) < 50
        assert latest.lost == 0


def test_no_pose_is_an_error_in_one_sentence(server: Any) -> None:
    with (
        poseloop.subscribe(server.endpoint, "nobody", timeout_s=0.05) as subscription,
        pytest.raises(poseloop.NoPoseError, match=r"nobody.*0\.05 s"),
    ):
        next(subscription)


def test_nobody_publishes(unused_address: str) -> None:
    with (
        poseloop.subscribe(f"tcp://{unused_address}") as subscription,
        pytest.raises(poseloop.ServerUnavailableError, match=unused_address),
    ):
        subscription.wait_until_ready(timeout_s=0.05)


def test_close_ends_an_iteration_in_another_thread(server: Any) -> None:
    subscription = poseloop.subscribe(server.endpoint, "cam0")
    thread = threading.Thread(target=lambda: list(subscription))
    thread.start()
    subscription.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    with pytest.raises(poseloop.InvalidInputError, match="closed"):
        subscription.receive()


@pytest.mark.parametrize(
    "endpoint", ["", "localhost:5557", "tcp://localhost", "tcp://*:5557x", "udp://a:1", "tcp://:1"]
)
def test_endpoints_that_can_not_be_right(endpoint: str) -> None:
    with pytest.raises(poseloop.InvalidInputError, match="tcp://"):
        poseloop.subscribe(endpoint)
    with pytest.raises(poseloop.InvalidInputError, match="name"):
        poseloop.subscribe("tcp://localhost:1", stream="pose/cam0")


def test_leaving_does_not_wait_for_who_waits_until_it_is_ready(unused_address: str) -> None:
    with ThreadPoolExecutor(1) as other:
        with poseloop.subscribe(f"tcp://{unused_address}") as subscription:
            waiting = other.submit(subscription.wait_until_ready, 60)
            time.sleep(0.05)  # so that it waits, most likely
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 20
        with pytest.raises(poseloop.InvalidInputError, match="closed"):
            waiting.result(20)
        with pytest.raises(poseloop.InvalidInputError, match="closed"):
            subscription.wait_until_ready()


def test_what_can_not_be_read_is_an_error_in_one_sentence(make_server: Any) -> None:
    server = make_server("--garbage", "pose")
    with (
        poseloop.subscribe(server.endpoint, "cam0") as subscription,
        poseloop.connect(server.address) as connection,
    ):
        subscription.wait_until_ready()
        with pytest.raises(poseloop.PoseloopError, match=f"{server.address} sends a pose that can't be read"):
            next(connection.track([np.zeros((4, 4), np.uint8)], "cam0"))
        with pytest.raises(poseloop.PoseloopError, match="no pose"):
            subscription.receive(20)
    server = make_server("--garbage", "spec")
    with (
        poseloop.connect(server.address) as connection,
        pytest.raises(poseloop.PoseloopError, match="a description of its model that can't be read"),
    ):
        connection.sender("cam0")

"""A server that is connected and answers nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop import flow
from poseloop.types import Policy

IMAGE = np.zeros((48, 64), np.uint8)


@pytest.fixture(autouse=True)
def silence_is_noticed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_SILENCE_NS", dict.fromkeys(Policy, 300_000_000))


def test_closing_a_lossless_stream_notices_that_the_server_is_silent(make_server: Callable[..., Any]) -> None:
    server = make_server("--inference-ms", "1e9")
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(
            "cam0", policy="lossless", reconnect_s=0.3, on_reconnect=lambda reconnection: server.kill()
        )
        sender.send(IMAGE)
        with pytest.raises(poseloop.ServerUnavailableError, match="did not come back"):
            sender.close(timeout_s=15)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't stop a process")
def test_closing_an_idle_lossless_stream_ends_though_the_server_is_stopped(
    make_server: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    server = make_server()
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless")
        sender.send(IMAGE)
        wait_until(lambda: sender.counters.in_flight == 0)
        os.kill(server.pid, signal.SIGSTOP)
        closing = ThreadPoolExecutor(1).submit(sender.close)
        try:
            assert closing.result(timeout=15).published == 1
        finally:
            server.kill()


@pytest.mark.parametrize("policy", Policy)
def test_a_reconnect_that_hears_nothing_is_tried_again(
    make_server: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path, policy: Policy
) -> None:
    mute = tmp_path / "mute"
    server = make_server("--mute-while", str(mute))
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", policy=policy, on_reconnect=reconnections.append) as sender,
    ):
        server.kill()
        mute.touch()
        server.start()
        time.sleep(0.5)  # the silence itself
        assert not sender.connected
        mute.unlink()
        wait_until(lambda: bool(reconnections))
        sender.send(IMAGE)
        assert sender.close().published == 1


def test_a_reconnect_that_hears_nothing_leaves_time_for_another(
    make_server: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "_SILENCE_NS", dict.fromkeys(Policy, 60_000_000_000))
    mute = tmp_path / "mute"
    server = make_server("--mute-while", str(mute))
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", reconnect_s=4.0, on_reconnect=reconnections.append) as sender,
    ):
        mute.touch()
        sender._link._dialled._call.cancel()
        time.sleep(0.5)  # the outage itself
        mute.unlink()
        wait_until(lambda: bool(reconnections), 4)


def test_a_server_that_never_opens_the_stream_again_did_not_come_back(
    make_server: Callable[..., Any], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    mute = tmp_path / "mute"
    server = make_server("--mute-while", str(mute))
    ends: list[Exception | None] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", reconnect_s=0.2, on_end=ends.append)
        mute.touch()
        server.kill()
        server.start()
        wait_until(lambda: bool(ends), 5)
        with pytest.raises(poseloop.ServerUnavailableError, match=r"within 0\.2 s"):
            sender.send(IMAGE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't stop a process")
def test_a_frame_that_is_sent_as_silence_is_noticed_keeps_its_pixels(
    make_server: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    server = make_server()
    image = IMAGE.copy()
    means: list[float] = []
    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", on_pose=lambda pose: means.append(pose["mean"].x)) as sender,
    ):
        os.kill(server.pid, signal.SIGSTOP)
        sender.send(image)
        time.sleep(0.4)  # the silence itself
        image[:] = 2
        sender.send(image)
        image[:] = 99  # its memory may be used again
        server.kill()
        server.start()
        wait_until(lambda: bool(means))
    assert means == [2.0]


def test_a_listener_that_takes_its_time_is_not_taken_for_silence(
    make_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(flow, "_LOOK_S", 0.02)
    server = make_server()
    go_on = threading.Event()
    got: list[int] = []
    reconnections: list[poseloop.Reconnection] = []

    def take_time(pose: poseloop.Pose) -> None:
        got.append(pose.sequence)
        assert go_on.wait(30)

    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", policy="lossless", on_pose=take_time, on_reconnect=reconnections.append) as sender,
        ThreadPoolExecutor(1) as source,
    ):
        sending = source.submit(lambda: [sender.send(IMAGE) for _ in range(10)])
        wait_until(lambda: bool(got))
        time.sleep(0.5)  # longer than a server may be silent
        go_on.set()
        sending.result(timeout=30)
        assert sender.close().published == 10
    assert reconnections == []
    assert got == list(range(10))

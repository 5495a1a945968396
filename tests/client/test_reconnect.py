from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop import link
from poseloop.pacing import Schedule
from poseloop.types import Policy


def frames(count: int, fps: float = 200.0) -> Iterator[np.ndarray]:
    schedule = Schedule(fps)
    for k in range(count):
        schedule.wait()
        yield np.full((48, 64), k % 256, np.uint8)


def test_live_stream_and_subscriber_carry_on_when_the_server_is_killed(make_server: Callable[..., Any]) -> None:
    server = make_server("--inference-ms", "2")
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.subscribe(server.endpoint, "cam0", timeout_s=30) as subscription,
        poseloop.connect(server.address) as connection,
    ):
        subscription.wait_until_ready()
        stop = threading.Event()
        accounts: list[poseloop.Counters] = []

        def camera() -> None:
            with connection.sender("cam0", on_reconnect=reconnections.append) as sender:
                for frame in frames(10**6):
                    if stop.is_set():
                        break
                    sender.send(frame)
                accounts.append(sender.close())

        thread = threading.Thread(target=camera)
        thread.start()
        first = [next(subscription) for _ in range(50)]
        server.kill()
        killed_at = time.monotonic()
        while time.monotonic() - killed_at < 0.3:  # the outage itself, not a wait for something
            subscription.receive(0.05)
        server.start()
        # What the killed server published last may still be on its way.
        while (pose := next(subscription)).server_id == first[0].server_id:
            first.append(pose)
        second = [pose, *(next(subscription) for _ in range(50))]
        stop.set()
        thread.join()

    (counters,) = accounts
    assert counters.sent == counters.published + counters.dropped
    assert counters.dropped_outbox > 0, "frames of the outage are counted"
    (reconnection,) = reconnections
    assert reconnection.server_restarted
    assert reconnection.lost == counters.lost_connection
    assert reconnection.dropped_outbox > 0

    sequences = [pose.sequence for pose in first + second]
    assert sequences == sorted(set(sequences)), "the sequence goes on"
    (restart,) = subscription.restarts
    assert restart.server_restarted
    assert not restart.sender_restarted
    # Whether the sender or the subscriber finds the new server first is open, and so is where a frame was lost.
    assert restart.losses.total == second[0].sequence - first[-1].sequence - 1 > 0


@pytest.mark.parametrize("return_poses", [True, False])
def test_lossless_loses_nothing_when_the_server_is_killed(
    make_server: Callable[..., Any], return_poses: bool, wait_until: Callable[..., None]
) -> None:
    server = make_server("--inference-ms", "2")
    count = 300
    with poseloop.connect(server.address) as connection:
        if return_poses:
            sequences = []
            for pose in connection.track(frames(count, fps=1e6), "cam0", policy="lossless"):
                sequences.append(pose.sequence)
                assert pose["mean"].x == pose.sequence % 256
                if pose.sequence == 100:
                    server.kill()
                    server.start()
            assert sequences == list(range(count))
            return
        with connection.sender("cam0", policy="lossless") as sender:
            for k, frame in enumerate(frames(count, fps=1e6)):
                sender.send(frame)
                if k == 100:
                    server.kill()
                    server.start()
            counters = sender.close()
        assert counters.sent == counters.published == count
        assert counters.dropped == 0


def test_a_server_that_does_not_come_back_ends_the_stream_in_time(make_server: Callable[..., Any]) -> None:
    server = make_server()
    with poseloop.connect(server.address, timeout_s=1.0) as connection:
        sender = connection.sender("cam0", policy="lossless", reconnect_s=0.3)
        server.kill()
        with pytest.raises(poseloop.ServerUnavailableError, match=r"0\.3 s"):
            deque(map(sender.send, frames(1000)), maxlen=0)
        with pytest.raises(poseloop.ServerUnavailableError):
            list(connection.track(frames(10), "cam1"))


def test_closing_a_lossless_stream_waits_for_a_server_that_is_away_but_not_for_ever(
    make_server: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    server = make_server("--inference-ms", "200")
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless")
        for frame in frames(3):
            sender.send(frame)
        assert sender.close(away_s=0.0).published == 3, "a server that answers is waited for"
        sender = connection.sender("cam0", policy="lossless")
        sender.send(next(frames(1)))
        server.kill()
        with pytest.raises(poseloop.ServerUnavailableError, match=r"1 frames .* away .* 0\.3 s"):
            sender.close(away_s=0.3)


def test_closing_a_lossless_stream_that_was_aborted_says_what_was_not_answered(make_server: Callable[..., Any]) -> None:
    server = make_server("--inference-ms", "1e6")
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless")
        sender.send(next(frames(1)))
        sender.abort()
        with pytest.raises(poseloop.ServerUnavailableError, match=r"1 frames .* aborted"):
            sender.close()


@pytest.mark.parametrize("policy", Policy)
def test_its_own_old_session_does_not_end_a_stream(
    make_server: Callable[..., Any], wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    monkeypatch.setattr(link, "_LINGER_AFTER_BREAK_S", 0.0)
    server = make_server("--keep-name-s", "1")
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", policy=policy, on_reconnect=reconnections.append) as sender,
    ):
        sender._link._dialled._call.cancel()
        wait_until(lambda: bool(reconnections))
        assert not reconnections[0].server_restarted
        assert reconnections[0].away_s > 0.9
        sender.send(next(frames(1)))
        assert sender.close().published == 1


def test_another_programs_session_ends_a_stream(
    make_server: Callable[..., Any], wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_LINGER_AFTER_BREAK_S", 0.2)
    server = make_server("--keep-name-s", "1e6", "--tell-no-sessions")
    ends: list[Exception | None] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", on_end=ends.append)
        sender._link._dialled._call.cancel()
        wait_until(lambda: bool(ends))
        with pytest.raises(poseloop.RequestRefusedError, match="open"):
            sender.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't stop a process")
def test_an_old_session_gets_its_time_from_when_the_server_answers_again(
    make_server: Callable[..., Any], wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_LINGER_AFTER_BREAK_S", 1.0)
    server = make_server("--keep-name-s", "0.5", "--tell-no-sessions")
    reconnections: list[poseloop.Reconnection] = []
    with (
        poseloop.connect(server.address) as connection,
        connection.sender("cam0", on_reconnect=reconnections.append) as sender,
    ):
        os.kill(server.pid, signal.SIGSTOP)
        sender._link._dialled._call.cancel()
        time.sleep(1.2)  # the outage itself
        os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: bool(reconnections))
        assert sender.connected


def test_a_live_sender_can_be_closed_while_the_server_is_away(
    make_server: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    server = make_server()
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0")
        server.kill()
        wait_until(lambda: not sender.connected)
        for frame in frames(5):
            sender.send(frame)
        counters = sender.close()
    assert counters.sent == 5 == counters.dropped_outbox + counters.lost_connection
    assert counters.in_flight == 0

"""Frames through shared memory, between processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import poseloop
import pytest
from poseloop import local, local_frames
from poseloop.errors import PoseloopError
from poseloop.pacing import Schedule
from poseloop.types import Frame, PixelFormat
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import FrameData

from tests.e2e.real_server import RealServer
from tests.models import write_spot_model
from tests.throttle import ThrottledLink

STREAM = "cam0"
CAMERA = """
import sys, numpy as np, poseloop
server = poseloop.connect(sys.argv[1])
sender = server.sender("cam0", transport="local")
print(sender.transport, flush=True)
while sys.stdin.readline():
    sender.send(np.full((480, 640, 3), 7, np.uint8))
    print("sent", flush=True)
"""


FAST_CAMERA = """
import sys, numpy as np, poseloop
again = lambda reconnection: print("again", flush=True)
sender = poseloop.connect(sys.argv[1]).sender(sys.argv[2], transport="local", on_reconnect=again)
print(sender.transport, flush=True)
image = np.zeros((48, 64), np.uint8)
while True:
    sender.send(image)
"""


FORKING = """
import os, sys, numpy as np, poseloop
address, endpoint, transport = sys.argv[1:]
image = np.zeros((48, 64), np.uint8)
subscription = poseloop.subscribe(endpoint, "cam0")
subscription.wait_until_ready()
poses = []
with poseloop.connect(address).sender("cam0", policy="lossless", transport=transport) as sender:
    for number in range(20):
        sender.send(image)
        poses.append(subscription.receive(30).sequence)
        if number == 9:
            child = os.fork()
            if not child:
                sends = lambda: sender.send(image)
                for use in (sends, sender.close, subscription.receive, subscription.wait_until_ready):
                    try:
                        use()
                    except poseloop.InvalidInputError as error:
                        print("child:", error, flush=True)
                sender.abort()
                subscription.close()
                os._exit(7)
            assert (status := os.waitpid(child, 0)[1]) == 7 << 8, status
    counters = sender.close()
print("parent:", transport, counters.published, poses == list(range(20)), flush=True)
"""


def spot(x: int, y: int, width: int, height: int) -> np.ndarray:
    image = np.zeros((height, width), np.uint8)
    image[y, x] = 255
    return image


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    write_spot_model(tmp_path / "spot.onnx")
    with RealServer(tmp_path, "--model", str(tmp_path / "spot.onnx")) as running:
        yield running


@pytest.mark.parametrize("policy", ["live", "lossless"])
def test_frames_of_changing_size_and_format_reach_the_model_as_over_grpc(server: RealServer, policy: str) -> None:
    def frames() -> Iterator[np.ndarray | Frame]:
        for number in range(60):
            # From 0.3 kB to 6 MB, so that the memory grows in mid-stream and small frames follow large ones.
            width, height = [(20, 15), (320, 240), (1920, 1080), (64, 48)][number % 4]
            image = spot(number % 15, number % 13, width, height)
            if number % 3 == 1:
                yield np.repeat(image[:, :, np.newaxis], 3, axis=2)
            elif number % 3 == 2:
                yield Frame(np.repeat(image[:, :, np.newaxis], 3, axis=2), poseloop.now_ns(), PixelFormat.BGR8)
            else:
                yield image

    found = {}
    with poseloop.connect(server.address) as connection:
        for transport in ("local", "grpc"):
            poses = []
            sent = connection.sender(STREAM, policy=policy, transport=transport, on_pose=poses.append)
            assert sent.transport == transport
            for count, frame in enumerate(frames(), start=1):
                sent.send(frame)
                wait_until(lambda count=count, poses=poses: len(poses) == count)
            counters = sent.close()
            assert (counters.sent, counters.published, counters.dropped) == (60, 60, 0)
            assert [(pose["spot"].x, pose["spot"].y) for pose in poses] == [(n % 15, n % 13) for n in range(60)]
            found[transport] = np.concatenate([pose.keypoints for pose in poses])
    assert np.array_equal(found["local"], found["grpc"])


def test_jpeg_goes_through_shared_memory_too(server: RealServer) -> None:
    poses: list[poseloop.Pose] = []
    image = np.zeros((48, 64), np.uint8)
    image[16:24, 32:40] = 255
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, encoding="jpeg", transport="local", on_pose=poses.append)
        sender.send(image)
        sender.close()
    assert 32 <= poses[0]["spot"].x < 40
    assert 16 <= poses[0]["spot"].y < 24


def test_lossless_loses_nothing_though_the_source_is_faster(server: RealServer) -> None:
    with (
        poseloop.subscribe(server.endpoint, STREAM) as subscription,
        poseloop.connect(server.address) as connection,
    ):
        subscription.wait_until_ready()
        frames = (spot(n % 640, n % 480, 640, 480) for n in range(400))
        with connection.track(frames, STREAM, policy="lossless", transport="local") as tracking:
            poses = list(tracking)
        heard = [subscription.receive(timeout_s=30) for _ in range(400)]
    assert [pose.sequence for pose in poses] == list(range(400))
    assert [(pose["spot"].x, pose["spot"].y) for pose in poses] == [(n % 640, n % 480) for n in range(400)]
    assert [pose.sequence for pose in heard if pose] == list(range(400))
    assert tracking.counters.published == 400


def test_live_overload_balances(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, transport="local")
        image = np.full((1080, 1920, 3), 9, np.uint8)
        for _ in range(300):
            sender.send(image)
        counters = sender.close()
    assert counters.sent == 300
    assert counters.in_flight == 0
    assert 0 < counters.published < 300


def test_a_live_frame_that_was_not_taken_gives_way_to_a_newer_one(tmp_path: Path) -> None:
    """However long the inference, the next one has the frame that was the newest when it began."""
    write_spot_model(tmp_path / "busy.onnx", native_size=(160, 120), busy_rounds=150)
    poses: list[poseloop.Pose] = []
    with (
        RealServer(tmp_path, "--model", str(tmp_path / "busy.onnx")) as server,
        poseloop.connect(server.address) as connection,
    ):
        sender = connection.sender(STREAM, transport="local", on_pose=poses.append)
        captured = []
        for _ in range(400):
            captured.append(poseloop.now_ns())
            sender.send(spot(5, 5, 160, 120), captured[-1])
            time.sleep(0.003)
        counters = sender.close()
    assert counters.sent == 400 == counters.published + counters.dropped
    assert counters.dropped_mailbox > counters.published  # the model is slow enough for the test to mean anything
    assert counters.dropped_outbox == counters.lost_connection == 0
    # What was captured this long before an inference began had arrived, on a busy machine too.
    margin_ns = 30_000_000
    for pose in poses:
        arrived = [
            number for number, at_ns in enumerate(captured) if at_ns < pose.stamps.inference_started_ns - margin_ns
        ]
        assert not arrived or pose.sequence >= arrived[-1]


@pytest.mark.parametrize("transport", ["local", "grpc"])
def test_frames_give_way_while_on_pose_is_slow(server: RealServer, transport: str) -> None:
    ages_ms: list[float] = []

    def handle(pose: poseloop.Pose) -> None:
        ages_ms.append((poseloop.now_ns() - pose.stamps.captured_ns) / 1e6)
        time.sleep(0.05)

    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, transport=transport, on_pose=handle)
        for number in range(400):
            sender.send(spot(number % 64, 1, 64, 48))
            time.sleep(0.005)
        counters = sender.close()
    assert counters.sent == 400 == counters.published + counters.dropped
    assert counters.dropped_outbox > counters.published == len(ages_ms)
    assert max(ages_ms) < 600  # poses that queued for all that time would be two seconds old


def test_a_stream_over_grpc_has_its_turns_beside_one_through_shared_memory(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection:
        senders = [connection.sender(f"cam-{way}", transport=way, policy="lossless") for way in ("local", "grpc")]
        for number in range(200):
            for sender in senders:
                sender.send(spot(number % 64, number % 48, 64, 48))
        for sender in senders:
            assert sender.close().published == 200
        with connection.sender(STREAM, transport="grpc") as later:  # the thread waits for its queue again
            later.send(spot(1, 1, 64, 48))
        assert later.counters.published == 1


@pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped and continued on POSIX only")
def test_a_server_that_is_stopped_and_continued_goes_on(server: RealServer) -> None:
    poses: list[poseloop.Pose] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, transport="local", on_pose=poses.append)
        for count in range(1, 4):
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            server.process.send_signal(signal.SIGCONT)
            sender.send(spot(1, count, 64, 48))
            wait_until(lambda count=count: len(poses) == count)
        assert sender.close().published == 3


def test_cameras_survive_the_end_of_their_server_in_mid_send(server: RealServer) -> None:
    cameras = [
        subprocess.Popen(
            [sys.executable, "-c", FAST_CAMERA, server.address, f"cam{number}"], stdout=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    for camera in cameras:
        assert camera.stdout is not None
        assert camera.stdout.readline() == "local\n"
    for _ in range(3):
        time.sleep(0.3)
        server.kill()
        time.sleep(0.2)
        assert [camera.poll() for camera in cameras] == [None, None]
        server.start()
        for camera in cameras:
            assert camera.stdout is not None
            assert camera.stdout.readline() == "again\n"
    for camera in cameras:
        camera.kill()
        camera.wait()
        assert camera.stdout is not None
        camera.stdout.close()


def test_a_number_that_was_never_counted_ends_its_stream_alone(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection:
        other = connection.sender("other", transport="local")
        sender = connection.sender(STREAM, transport="local")
        port = sender._link._frames_go._port
        port._number = 2**64 - 1
        sender.send(spot(1, 1, 64, 48))
        with pytest.raises(poseloop.RequestRefusedError, match="number 18446744073709551615"):
            sender.close()
        other.send(spot(1, 1, 64, 48))
        assert other.close().published == 1


def test_memory_that_is_too_small_is_left_for_grpc(server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_slots: int, _bytes: int) -> None:
        raise local.NoRoomError("as in a small container")

    monkeypatch.setattr("poseloop.local_frames.require_room", no_room)
    poses: list[poseloop.Pose] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, policy="lossless", on_pose=poses.append)
        for number in range(20):
            sender.send(spot(number, 1, 64, 48))
        assert sender.close().published == 20
        assert sender.transport == "grpc"
        assert [pose["spot"].x for pose in poses] == list(range(20))
        insisting = connection.sender("cam1", policy="lossless", transport="local")
        insisting.send(spot(1, 1, 64, 48))
        with pytest.raises(PoseloopError, match="small container"):
            insisting.close()


def test_a_killed_camera_leaves_nothing_behind(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection:
        connection.sender("first", transport="local").close()  # what all streams of a model share is made now
        wait_until(lambda: not connection.streams())
        before = shared_memory_of(server.process.pid)
        for _ in range(3):
            camera = subprocess.Popen(
                [sys.executable, "-c", CAMERA, server.address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert camera.stdin is not None
            assert camera.stdout is not None
            assert camera.stdout.readline() == "local\n"
            for _ in range(5):
                camera.stdin.write("\n")
                camera.stdin.flush()
                assert camera.stdout.readline() == "sent\n"
            its_own = shared_memory_of(camera.pid) - before
            assert its_own
            camera.send_signal(signal.SIGKILL)
            camera.wait()
            wait_until(lambda: not connection.streams())
            wait_until(lambda files=its_own: not any(file.exists() for file in files))
        with connection.sender(STREAM, transport="local") as sender:
            sender.send(spot(1, 2, 20, 20))
        assert sender.counters.published == 1


def shared_memory_of(pid: int) -> set[Path]:
    """Files of shared memory that a process uses."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[5]) for line in lines if "/dev/shm/iox2_" in line}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork on POSIX only")
@pytest.mark.parametrize("transport", ["local", "grpc"])
def test_a_forked_child_can_not_disturb_what_its_parent_opened(server: RealServer, transport: str) -> None:
    command = [sys.executable, "-c", FORKING, server.address, server.endpoint, transport]
    # gRPC's own handlers of a fork end a child now and then, even one that does nothing.
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False, env=environment)
    *child, parent = done.stdout.splitlines()
    assert parent == f"parent: {transport} 20 True"
    assert ["sender" in line for line in child] == [True, True, False, False]
    assert all("forked from" in line for line in child)


def test_a_restarted_server_is_found_again_through_shared_memory(server: RealServer) -> None:
    reconnections: list[poseloop.Reconnection] = []
    poses: list[poseloop.Pose] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, transport="local", on_reconnect=reconnections.append, on_pose=poses.append)
        sender.send(spot(1, 1, 64, 48))
        wait_until(lambda: len(poses) == 1)
        server.kill()
        server.start()
        wait_until(lambda: len(reconnections) == 1)
        assert sender.transport == "local"
        sender.send(spot(2, 1, 64, 48))
        wait_until(lambda: len(poses) == 2)
        counters = sender.close()
    assert reconnections[0].server_restarted
    assert (counters.sent, counters.published, counters.in_flight) == (2, 2, 0)


@pytest.mark.parametrize("transport", ["local", "auto"])
@pytest.mark.parametrize("policy", ["live", "lossless"])
def test_a_connection_that_breaks_is_not_taken_for_shared_memory_that_failed(
    server: RealServer, transport: str, policy: str
) -> None:
    poses: list[poseloop.Pose] = []
    reconnections: list[poseloop.Reconnection] = []
    with ThrottledLink(server.address) as link, poseloop.connect(link.address) as connection:
        sender = connection.sender(
            STREAM, policy=policy, transport=transport, on_pose=poses.append, on_reconnect=reconnections.append
        )

        def send_until(condition: Callable[[], bool]) -> None:
            wait_until(lambda: sender.send(spot(1, 1, 64, 48)) >= 0 and condition())

        for count in range(1, 5):
            seen = len(poses)
            send_until(lambda seen=seen: len(poses) > seen)
            link.break_off(late_s=0.2)  # so that the server lets go of the memory first
            send_until(lambda count=count: len(reconnections) == count)
        assert sender.transport == "local"
        counters = sender.close()
    assert counters.sent == counters.published + counters.dropped


def test_auto_takes_grpc_where_the_server_offers_no_shared_memory(tmp_path: Path) -> None:
    write_spot_model(tmp_path / "spot.onnx")
    flags = ("--model", str(tmp_path / "spot.onnx"), "--no-shared-memory")
    with RealServer(tmp_path, *flags) as server, poseloop.connect(server.address) as connection:
        with connection.sender(STREAM) as sender:
            assert sender.transport == "grpc"
            sender.send(spot(1, 2, 20, 20))
        assert sender.counters.published == 1
        with pytest.raises(PoseloopError, match="offers no shared memory"):
            connection.sender(STREAM, transport="local")


def test_auto_takes_grpc_where_the_memory_can_not_be_attached_to(
    server: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container of its own: the same host, another view of its files.
    monkeypatch.setattr(
        "poseloop.transport.FramePort", lambda name, event: local_frames.FramePort(f"{name}/elsewhere", event)
    )
    with poseloop.connect(server.address) as connection:
        with connection.sender(STREAM) as sender:
            assert sender.transport == "grpc"
            sender.send(spot(1, 2, 20, 20))
        assert sender.counters.published == 1
        with pytest.raises(PoseloopError, match="shared memory can't be opened here"):
            connection.sender("cam1", transport="local")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("width", {"width": 63}),
        ("format", {"format": 99}),
        ("sequence", {"sequence": 0}),
    ],
)
def test_what_can_not_be_right_ends_its_stream_alone(server: RealServer, field: str, change: dict[str, int]) -> None:
    with poseloop.connect(server.address) as connection:
        other = connection.sender("other", transport="local")
        sender = connection.sender(STREAM, transport="local")
        good = {"sequence": 1, "width": 64, "height": 48, "format": pb.PIXEL_FORMAT_GRAY8}
        port = sender._link._frames_go
        assert port is not None
        frame = FrameData(np.zeros(64 * 48, np.uint8), 64, 48, PixelFormat.GRAY8, 0)
        port.send(pb.Frame(**good), frame)
        port.send(pb.Frame(**{**good, "sequence": 2, **change}), frame)
        with pytest.raises(poseloop.RequestRefusedError) as refused:
            wait_until(lambda: bool(sender.send(spot(1, 1, 64, 48))) and False)
        assert refused.value.field in {field, "data"}
        other.send(spot(1, 1, 64, 48))
        assert other.close().published == 1


def test_a_steady_stream_is_kept_warm_and_every_frame_of_it_arrives(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection, connection.sender(STREAM, transport="local") as sender:
        schedule, sent = Schedule(50.0), 0
        while sender.warm_ups < 3 and sent < 1500:
            schedule.wait()
            sender.send(np.zeros((48, 64, 3), np.uint8))
            sent += 1
        assert sender.warm_ups >= 3
        assert sender.transport == "local"
        counters = sender.close()
    assert counters.sent == sent == counters.published + counters.dropped


def test_a_server_that_rehearses_heeds_a_signal_to_end(server: RealServer) -> None:
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(STREAM, transport="local")
        schedule = Schedule(50.0)
        for _ in range(30):
            schedule.wait()
            sender.send(np.zeros((48, 64), np.uint8))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        sender.abort()

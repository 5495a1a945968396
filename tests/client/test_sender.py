from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop.types import Frame, PixelFormat, Policy
from poseloop.wire import FrameData


def image(value: int, shape: tuple[int, ...] = (48, 64)) -> np.ndarray:
    return np.full(shape, value % 256, np.uint8)


def test_lossless_gives_every_pose_in_order(server: Any) -> None:
    frames = [image(k) for k in range(200)]
    with poseloop.connect(server.address) as connection:
        tracking = connection.track(frames, "lossless", "mean", "lossless")
        poses = list(tracking)
    assert [pose.sequence for pose in poses] == list(range(200))
    assert [pose["mean"].x for pose in poses] == [k % 256 for k in range(200)]
    assert tracking.counters == poseloop.Counters(sent=200, published=200, received=200)


def test_live_drops_count_up_to_the_last_frame(make_server: Callable[..., Any]) -> None:
    slow = make_server("--inference-ms", "10")
    with poseloop.connect(slow.address) as connection:
        tracking = connection.track((image(k) for k in range(300)), stream="live")
        sequences = [pose.sequence for pose in tracking]
    counters = tracking.counters
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == 299, "the newest frame is never dropped for an older one"
    assert counters.published == len(sequences) + tracking.passed_over
    assert counters.sent == 300 == counters.published + counters.dropped
    assert counters.in_flight == 0


def test_the_window_holds_frames_back(make_server: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    slow = make_server("--inference-ms", "50", "--window", "2")
    with (
        poseloop.connect(slow.address) as connection,
        connection.sender("cam0", policy="lossless") as sender,
    ):
        for k in range(8):
            sender.send(image(k))
            assert sender.counters.in_flight <= 3, "two in the window, one in the outbox"
        assert sender.close().published == 8


def test_a_buffer_may_be_used_again_after_send(make_server: Callable[..., Any]) -> None:
    slow = make_server("--inference-ms", "5", "--window", "1")
    buffer = np.zeros((48, 64), np.uint8)

    def camera() -> Any:
        for k in range(60):
            buffer[:] = k
            yield buffer

    with poseloop.connect(slow.address) as connection:
        for policy in Policy:
            for pose in connection.track(camera(), "cam0", policy=policy):
                assert pose["mean"].x == pose.sequence
                assert pose["mean"].y == pose.sequence


def test_capture_time_travels_with_the_frame(server: Any) -> None:
    frames = [Frame(image(1), 1_000 + k, PixelFormat.GRAY8) for k in range(3)]
    with poseloop.connect(server.address) as connection:
        poses = list(connection.track(frames, "stamps", policy="lossless"))
    assert [pose.stamps.captured_client_ns for pose in poses] == [1_000, 1_001, 1_002]
    assert all(pose.stamps.captured_ns == pose.stamps.captured_client_ns for pose in poses), "one clock, one boot"
    assert all(pose.stamps.clock_uncertainty_ns == 0 for pose in poses)


@pytest.mark.parametrize("offset_ns", [-(10**15), 10**15])
def test_another_machines_clock_is_estimated_before_the_first_frame(
    make_server: Callable[..., Any], offset_ns: int
) -> None:
    elsewhere = make_server("--clock-id", "another-machine", "--clock-offset-ns", str(offset_ns))
    with poseloop.connect(elsewhere.address) as connection:
        poses = list(connection.track([image(1)] * 20, "cam0", policy="lossless"))
    for pose in poses:
        stamps = pose.stamps
        error_ns = stamps.captured_ns - stamps.captured_client_ns - offset_ns
        assert abs(error_ns) <= stamps.clock_uncertainty_ns
        assert 0 < stamps.clock_uncertainty_ns < 1_000_000_000
        assert stamps.received_ns + stamps.clock_uncertainty_ns >= stamps.captured_ns


def test_colour_and_jpeg_frames(server: Any) -> None:
    pytest.importorskip("simplejpeg")
    with poseloop.connect(server.address) as connection:
        poses = list(connection.track([image(9, (32, 40, 3))] * 2, "colour", policy="lossless", encoding="jpeg"))
        poses += connection.track([image(9, (32, 40, 3))] * 2, "colour", policy="lossless")
    assert [(pose.width, pose.height) for pose in poses] == [(40, 32)] * 4


def test_a_camera_does_not_wait_while_a_frame_is_compressed(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    may_go_on = threading.Event()
    compress = FrameData.compressed

    def when_allowed(frame: FrameData, quality: int) -> FrameData:
        assert may_go_on.wait(30)
        compressed.append(frame.data[0])
        return compress(frame, quality)

    monkeypatch.setattr(FrameData, "compressed", when_allowed)
    compressed: list[int] = []
    buffer = image(0)
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("compressing", encoding="jpeg")
        for k in range(10):
            buffer[:] = 20 * k
            assert sender.send(buffer) == k
        assert sender.counters.dropped_outbox == 8, "one is compressed, the newest waits, and nobody waited for either"
        may_go_on.set()
        counters = sender.close()
    assert (counters.published, counters.dropped) == (2, 8)
    assert compressed == [0, 180], "the buffer was used again meanwhile"


@pytest.mark.parametrize("options", [{}, {"policy": "lossless"}, {"encoding": "jpeg"}], ids=str)
def test_a_time_that_is_no_integer_is_refused_and_the_stream_goes_on(
    server: Any, wait_until: Callable[..., None], options: dict[str, Any]
) -> None:
    if "encoding" in options:
        pytest.importorskip("simplejpeg")
    taken: list[int] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender(
            "times", **options, on_pose=lambda pose: taken.append(pose.stamps.captured_client_ns)
        )
        for wrong in (1.5e18, np.float64(5), "5", 2**62, -(2**63)):
            with pytest.raises(poseloop.InvalidInputError, match=r"poseloop\.now_ns"):
                sender.send(image(0), wrong)  # type: ignore[arg-type]
            with pytest.raises(poseloop.InvalidInputError, match=r"poseloop\.now_ns"):
                sender.send(Frame(image(0), wrong, PixelFormat.GRAY8))  # type: ignore[arg-type]
        right = [-5, 0, np.int64(7), np.uint64(8), 2**62 - 1]
        for captured_ns in right:
            count = len(taken)
            sender.send(image(0), captured_ns)
            wait_until(lambda count=count: len(taken) > count)
        assert sender.close().published == len(right)
    assert taken == right


def test_a_frame_that_can_not_become_a_jpeg_ends_the_stream_with_a_sentence(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")

    def fail(frame: FrameData, quality: int) -> FrameData:
        raise ValueError("too wide")

    monkeypatch.setattr(FrameData, "compressed", fail)
    with poseloop.connect(server.address) as connection, pytest.raises(poseloop.InvalidInputError, match="too wide"):
        list(connection.track((image(k) for k in range(10**6)), "wide", encoding="jpeg"))
    with poseloop.connect(server.address) as connection:
        ends: list[Exception | None] = []
        sender = connection.sender("wide", policy="lossless", encoding="jpeg", on_end=ends.append)
        sender.send(image(0))
        with pytest.raises(poseloop.InvalidInputError, match="too wide"):
            sender.close()
    assert [type(error) for error in ends] == [poseloop.InvalidInputError]


def test_auto_is_raw_without_the_extra_and_says_so_once(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with poseloop.connect(server.address) as connection, connection.sender("cam0", encoding="auto") as sender:
        for k in range(5):
            sender.send(image(k))
        assert sender.encoding == "raw"
    assert [record.getMessage() for record in caplog.records if "camera" in record.getMessage()] == [
        "stream cam0: frames go raw whatever the network, since JPEG needs `pip install 'poseloop[camera]'`"
    ]


def test_what_a_lossless_stream_says_does_not_depend_on_the_network(server: Any) -> None:
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless", encoding="auto")
        assert sender.encoding == "raw"
        sender.send(image(0))
        assert sender.close().published == 1


def test_refusals_carry_code_and_field(server: Any) -> None:
    with poseloop.connect(server.address) as connection:
        with pytest.raises(poseloop.RequestRefusedError, match="model") as refused:
            connection.sender("cam0", model="absent")
        assert (refused.value.code, refused.value.field) == ("NOT_FOUND", "model")
        with connection.sender("taken"), pytest.raises(poseloop.RequestRefusedError) as refused:
            connection.sender("taken")
        assert (refused.value.code, refused.value.field) == ("ALREADY_EXISTS", "stream")
        with pytest.raises(poseloop.RequestRefusedError) as refused:
            connection.load_model("absent.onnx")
        assert (refused.value.code, refused.value.field) == ("NOT_FOUND", "file")


def test_a_frame_that_the_server_refuses_ends_the_stream_with_its_sentence(
    server: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    from poseloop import transport

    monkeypatch.setattr(transport, "frame_message", lambda header, data: _message_without_data(header))
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0")
        sender.send(image(0))
        with pytest.raises(poseloop.RequestRefusedError, match="size") as refused:
            sender.close()
        assert refused.value.field == "data"
        with pytest.raises(poseloop.RequestRefusedError):
            sender.send(image(1))
        with pytest.raises(poseloop.RequestRefusedError):
            list(connection.track([image(0)] * 3, "cam0"))


def _message_without_data(header: Any) -> bytes:
    from poseloop.wire import frame_message

    return frame_message(header, memoryview(b"\0"))


def test_what_the_source_raises_reaches_the_reader(server: Any) -> None:
    def broken() -> Any:
        yield image(0)
        raise OSError("the camera is on fire")

    with poseloop.connect(server.address) as connection:
        with pytest.raises(OSError, match="on fire"):
            list(connection.track(broken(), "cam0"))
        with pytest.raises(poseloop.InvalidInputError, match="uint8"):
            list(connection.track([np.zeros((4, 4))], "cam0"))
        # Both streams are gone from the server, though neither was ended well.
        connection.sender("cam0").close()


def test_the_sources_error_comes_after_every_pose(make_server: Callable[..., Any]) -> None:
    slow = make_server("--inference-ms", "5")

    def breaking() -> Any:
        yield from [image(0)] * 10
        raise OSError("the camera is on fire")

    with poseloop.connect(slow.address) as connection:
        tracking = connection.track(breaking(), "cam0", policy="lossless")
        assert [next(tracking).sequence for _ in range(10)] == list(range(10))
        with pytest.raises(OSError, match="on fire"):
            next(tracking)


def test_a_sender_that_is_closed_by_its_own_listener_says_that_this_can_not_be(server: Any) -> None:
    said: list[BaseException] = []

    def close(pose: poseloop.Pose) -> None:
        try:
            sender.close(timeout_s=5)
        except BaseException as error:
            said.append(error)
            raise

    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless", on_pose=close)
        sender.send(image(0))
        with pytest.raises(poseloop.InvalidInputError, match="another thread"):
            sender.close()
    assert [type(error) for error in said] == [poseloop.InvalidInputError]


@pytest.mark.parametrize("policy", Policy)
def test_a_listener_that_exits_ends_its_stream_and_says_so(
    server: Any, wait_until: Callable[..., None], policy: Policy
) -> None:
    ends: list[Exception | None] = []
    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy=policy, on_pose=lambda pose: sys.exit(3), on_end=ends.append)
        sender.send(image(0))
        wait_until(lambda: bool(ends))
        assert not sender.connected
        with pytest.raises(poseloop.PoseloopError, match=r"SystemExit\(3\)"):
            sender.send(image(1))
        with pytest.raises(poseloop.PoseloopError, match=r"SystemExit\(3\)"):
            sender.close()
    assert [type(error) for error in ends] == [poseloop.PoseloopError]


def test_a_listener_that_sends_does_not_wait_for_itself(server: Any, wait_until: Callable[..., None]) -> None:
    ends: list[Exception | None] = []

    def send(pose: poseloop.Pose) -> None:
        if pose.sequence == 0:
            for _ in range(20):
                sender.send(image(0))

    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", policy="lossless", on_pose=send, on_end=ends.append)
        sender.send(image(0))
        wait_until(lambda: bool(ends))
        with pytest.raises(poseloop.InvalidInputError, match="another thread"):
            sender.close()
        sender = connection.sender("cam0", on_pose=send)
        sender.send(image(0))
        wait_until(lambda: sender.counters.sent == 21)  # live, it never waits
        assert sender.close().in_flight == 0


def test_an_error_that_is_raised_again_and_again_holds_nothing_of_its_callers(
    server: Any, wait_until: Callable[..., None]
) -> None:
    class Held(np.ndarray):  # an array that can be referred to weakly is a class of its own
        pass

    def fail(pose: poseloop.Pose) -> None:
        raise OSError("the stimulus is on fire")

    images: list[weakref.ref[np.ndarray]] = []

    def send() -> list[str]:
        held = image(0).view(Held)
        images.append(weakref.ref(held))
        with pytest.raises(OSError, match="on fire") as raised:
            sender.send(held)
        return [entry.name for entry in raised.traceback]

    with poseloop.connect(server.address) as connection:
        sender = connection.sender("cam0", on_pose=fail)
        sender.send(image(0))
        wait_until(lambda: sender._flow.over)
        traces = [send() for _ in range(20)]
    assert traces[0] == traces[-1], "it does not grow"
    assert "fail" in traces[-1], "it still says where"
    gc.collect()
    assert sum(reference() is not None for reference in images) <= 1


def test_leaving_the_loop_early_frees_the_name(server: Any, wait_until: Callable[..., None]) -> None:
    with poseloop.connect(server.address) as connection:
        with connection.track((image(k) for k in range(10**6)), "early") as tracking:
            for pose in tracking:
                if pose.sequence > 3:
                    break
        wait_until(lambda: not any(stream.name == "early" for stream in connection.streams()))
        with pytest.raises(StopIteration):
            next(tracking)


def test_a_slow_reader_holds_a_lossless_source_back(server: Any) -> None:
    taken = []

    def frames() -> Any:
        for k in range(1000):
            taken.append(k)
            yield image(k)

    with poseloop.connect(server.address) as connection, connection.track(frames(), "cam0", policy="lossless") as poses:
        assert next(poses).sequence == 0
        threading.Event().wait(0.5)  # time in which a source that is not held back would end
        assert len(taken) < 500
        assert [pose.sequence for pose in poses] == list(range(1, 1000))


def test_wrong_values_are_refused_before_anything_is_sent(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with poseloop.connect(server.address) as connection:
        for stream in ("", "a b", "x" * 65, "../x", "é"):
            with pytest.raises(poseloop.InvalidInputError, match="name"):
                connection.sender(stream)
        with pytest.raises(poseloop.InvalidInputError, match="live, lossless"):
            connection.sender("cam0", policy="fast")
        with pytest.raises(poseloop.InvalidInputError, match="raw, jpeg"):
            connection.sender("cam0", encoding="png")  # type: ignore[arg-type]
        with pytest.raises(poseloop.InvalidInputError, match="100"):
            connection.sender("cam0", jpeg_quality=101)
        for reconnect_s in (None, -1.0, float("nan"), "3"):
            with pytest.raises(poseloop.InvalidInputError, match="reconnect_s"):
                connection.sender("cam0", reconnect_s=reconnect_s)  # type: ignore[arg-type]
        for wrong, right in {"reconect_s": "reconnect_s", "polcy": "policy", "on_poses": "on_pose"}.items():
            with pytest.raises(poseloop.InvalidInputError, match=f"{wrong!r}; did you mean {right!r}"):
                connection.sender("cam0", **{wrong: 3})  # type: ignore[arg-type]
        with pytest.raises(poseloop.InvalidInputError, match="'on_pose'"):
            connection.track([], "cam0", on_pose=print)  # type: ignore[call-arg]
        with connection.sender("cam0") as sender:
            with pytest.raises(poseloop.InvalidInputError):
                sender.send(np.zeros((3, 3), np.int16))  # type: ignore[arg-type]
            assert sender.counters.sent == 0
        with pytest.raises(poseloop.InvalidInputError, match="closed"):
            sender.send(image(0))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(poseloop.MissingExtraError, match="camera"):
            connection.sender("cam0", encoding="jpeg")


def test_no_server(unused_address: str) -> None:
    with pytest.raises(poseloop.ServerUnavailableError, match=unused_address):
        poseloop.connect(unused_address, timeout_s=0.2)


@pytest.mark.parametrize("address", ["", "rig", "rig:", "rig:0", "rig:70000", "tcp://rig:1", "http://rig:1", "a b:1"])
def test_addresses_that_can_not_be_right(address: str) -> None:
    with pytest.raises(poseloop.InvalidInputError, match="host:port"):
        poseloop.connect(address)


def test_models_and_streams(server: Any) -> None:
    with poseloop.connect(server.address) as connection:
        assert [model.name for model in connection.models()] == ["mean"]
        connection.unload_model("mean")
        with connection.sender("listed", policy="lossless") as sender:
            assert sender.model_spec is not None
            assert sender.model_spec.keypoints == ["mean"]
            assert [(stream.name, stream.policy) for stream in connection.streams()] == [("listed", Policy.LOSSLESS)]


def test_poses_that_nobody_reads_in_time_give_way_in_a_live_stream(
    server: Any, wait_until: Callable[..., None]
) -> None:
    read = threading.Event()

    def camera() -> Any:
        yield from (image(k) for k in range(50))
        assert read.wait(30)
        yield image(50)

    with poseloop.connect(server.address) as connection, connection.track(camera(), "cam0") as tracking:
        wait_until(lambda: tracking.counters.in_flight == 0 and tracking.counters.sent == 50)
        time.sleep(0.3)
        sequences = [next(tracking).sequence]
        read.set()
        sequences += [pose.sequence for pose in tracking]
    assert sequences == [49, 50]
    assert tracking.passed_over == tracking.counters.published - 2


def test_a_loop_that_is_left_ends_its_stream(server: Any, wait_until: Callable[..., None]) -> None:
    closed = threading.Event()

    def camera() -> Any:
        try:
            for k in itertools.count():
                yield image(k)
        finally:
            closed.set()

    with poseloop.connect(server.address) as connection:
        for _ in connection.track(camera(), "cam0"):
            break
        assert closed.wait(30)
        wait_until(lambda: not connection.streams())
        assert next(connection.track(camera(), "cam0")).stream == "cam0"


def test_what_is_no_image_is_refused_in_one_sentence(server: Any) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("cam0") as sender:
        with pytest.raises(poseloop.InvalidInputError, match=r"must be a NumPy array, not NoneType; where a camera"):
            sender.send(None)  # type: ignore[arg-type]
        with pytest.raises(poseloop.InvalidInputError, match="one of gray8, rgb8, bgr8, jpeg, not 'rgb'"):
            Frame(image(1), 0, "rgb")  # type: ignore[arg-type]
    assert Frame(image(1), 0, "rgb8").format is PixelFormat.RGB8  # type: ignore[arg-type]


def test_streams_may_be_opened_at_once_in_a_fresh_process(server: Any) -> None:
    """The first import of OpenCV takes a while, and takes itself out of `sys.modules` meanwhile."""
    program = (
        "import sys, threading, numpy as np, poseloop\n"
        "def run(name):\n"
        "    with poseloop.connect(sys.argv[1]) as server, server.sender(name) as sender:\n"
        "        sender.send(np.zeros((48, 64, 3), np.uint8))\n"
        "threads = [threading.Thread(target=run, args=(f'cam{k}',)) for k in range(3)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program, server.address], capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_connection_answers_no_question(server: Any) -> None:
    with poseloop.connect(server.address) as connection:
        assert connection.models()
    with pytest.raises(poseloop.InvalidInputError, match="is closed; connect again"):
        connection.models()

"""Whose frame is inferred when: the model's thread against a model that takes as long as the test lets it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from poseloop.clock import now_ns
from poseloop.crop import Crop
from poseloop.pacing import Schedule
from poseloop.types import PixelFormat, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server.batching import BatchPlan, plan
from poseloop_server.doorbell import Doorbell
from poseloop_server.events import Events
from poseloop_server.frames import IncomingFrame
from poseloop_server.model import SMALL_SIDE, ModelFailedError, PoseModel
from poseloop_server.scheduler import Scheduler
from poseloop_server.stream import ClientAccount, Stream, StreamIdentity, make_mailbox

from tests.server.conftest import Serve
from tests.server.wire_client import TrackCall, account_balances, connected, frame, spot_image

TIMEOUT_S = 30


class GatedModel(PoseModel):
    """Tells when an inference begins, and ends it when it is let."""

    def __init__(self, path: Path) -> None:
        self.began: SimpleQueue[int] | None = None  # how many frames
        self.permits = threading.Semaphore(0)
        super().__init__(path)
        self.began = SimpleQueue()

    def infer(self, images: np.ndarray) -> np.ndarray:
        if self.began is not None:
            self.began.put(len(images))
            assert self.permits.acquire(timeout=TIMEOUT_S)
        return super().infer(images)


class Rig:
    """A scheduler with streams whose frames the test puts in by hand."""

    def __init__(self, model: GatedModel) -> None:
        self.model = model
        self.published: SimpleQueue[bytes] = SimpleQueue()
        self.events: list[pb.StreamEvent] = []
        self.loop = asyncio.new_event_loop()
        self.scheduler = Scheduler(model, self, Events(self, "server"), "server")
        self.streams: dict[str, Stream] = {}

    def publish(self, topic: bytes, payload: bytes) -> None:
        if topic.startswith(b"pose/"):
            self.published.put(payload)
        else:
            self.events.append(pb.StreamEvent.FromString(payload))

    def close(self) -> None:
        self.model.permits.release(1000)
        self.scheduler.stop()
        self.loop.close()

    def open(self, name: str, priority: int = 0, policy: Policy = Policy.LIVE, crop: Crop | None = None) -> None:
        identity = StreamIdentity(name, len(self.streams), "spot", policy, False, "test", priority, crop=crop)
        self.streams[name] = Stream(identity, make_mailbox(policy, 100), self.loop, lambda _: None)
        self.scheduler.add(self.streams[name])

    def put(self, name: str, sequence: int, *, size: tuple[int, int] = (8, 6), value: int = 200) -> None:
        image = np.zeros(size[::-1], np.uint8)
        image[0, sequence % size[0]] = value
        now = now_ns()
        stream = self.streams[name]
        waiting = IncomingFrame(sequence, *size, PixelFormat.GRAY8, image.tobytes(), now, now, now, 0)
        if stream.put(waiting, ClientAccount(sequence + 1)):
            self.scheduler.wake(stream)

    def began(self) -> int:
        """Wait until an inference has begun; its frames are taken then."""
        assert self.model.began is not None
        return self.model.began.get(timeout=TIMEOUT_S)

    def finish(self, poses: int = 1) -> list[tuple[str, int]]:
        """Let the inference that has begun end; return stream and sequence of its poses."""
        self.model.permits.release()
        found = [pb.Pose.FromString(self.published.get(timeout=TIMEOUT_S)) for _ in range(poses)]
        for pose in found:
            assert pose.keypoints[0] == pose.sequence % pose.width, "a pose of another frame"
        return [(pose.stream, pose.sequence) for pose in found]


@pytest.fixture
def rig(spot_model: Path) -> Iterator[Rig]:
    made = Rig(GatedModel(spot_model))
    yield made
    made.close()


def _occupy(rig: Rig) -> None:
    """Keep the model busy with a frame of a stream of its own, so that what is put in meanwhile has to wait."""
    rig.open("first")
    rig.put("first", 0)
    assert rig.began() == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_under_overload_every_stream_gets_its_turn_and_its_newest_frame(rig: Rig, count: int) -> None:
    _occupy(rig)
    names = [f"cam{number}" for number in range(count)]
    for name in names:
        rig.open(name)
    served: list[str] = []
    expected = [("first", 0)]
    for tick in range(6 * count):
        newest = 3 * tick + 2
        for name in names:  # three frames of each stream for every inference
            for sequence in range(3 * tick, newest + 1):
                rig.put(name, sequence)
        assert rig.finish() == expected
        assert rig.began() == 1
        (taken,) = [name for name in names if not len(rig.streams[name].mailbox)]
        served.append(taken)
        expected = [(taken, newest)]  # so its age is one interval of its camera and one inference
    assert served == names * 6, "between two turns of a stream each other one has exactly one"
    for name in names:
        counters = rig.streams[name].counters()
        assert counters.received == 18 * count
        assert counters.received == counters.published + counters.dropped_mailbox + counters.in_flight


def test_each_stream_counts_what_it_dropped(rig: Rig) -> None:
    _occupy(rig)
    for name in ("a", "b"):
        rig.open(name)
        for sequence in range(10):
            rig.put(name, sequence)
    assert rig.finish() == [("first", 0)]
    for name in ("a", "b"):
        assert rig.began() == 1
        assert rig.finish() == [(name, 9)]
        counters = rig.streams[name].counters()
        assert (counters.received, counters.published, counters.dropped_mailbox) == (10, 1, 9)


def test_higher_priorities_go_first_and_what_they_displace_is_counted(rig: Rig) -> None:
    _occupy(rig)
    for name, priority in (("low", -1), ("middle", 0), ("high", 5), ("high too", 5)):
        rig.open(name, priority)
        rig.put(name, 0)
    order = []
    for turn in range(1, 7):
        order += rig.finish()
        assert rig.began() == 1
        for name in ("low", "middle") if turn > 3 else ("low", "middle", "high", "high too"):
            rig.put(name, turn)
    order += rig.finish()
    names = [name for name, _ in order]
    assert names[1:5] == ["high", "high too", "high", "high too"]
    assert "low" not in names[:-1]
    low = rig.streams["low"].counters()
    assert low.in_flight <= 1
    assert low.dropped_mailbox == low.received - low.published - low.in_flight > 0
    # Once those above are idle, the low one has its turn.
    assert rig.began() == 1
    assert rig.finish()[0][0] in ("low", "middle")


def test_lossless_frames_wait_and_share_turns(rig: Rig) -> None:
    _occupy(rig)
    rig.open("video", policy=Policy.LOSSLESS)
    rig.open("cam")
    for sequence in range(4):
        rig.put("video", sequence)
    order = []
    for turn in range(8):
        rig.put("cam", turn)
        order += rig.finish()
        assert rig.began() == 1
    order += rig.finish()
    assert [sequence for name, sequence in order if name == "video"] == [0, 1, 2, 3]
    assert [name for name, _ in order][1:] == ["video", "cam"] * 4


class TestBatches:
    """With a curve by which two or four frames together pay."""

    @pytest.fixture
    def rig(self, rig: Rig) -> Rig:
        rig.model.batch_plan = plan({1: 10.0, 2: 11.0, 4: 13.0}, 100)
        _occupy(rig)
        return rig

    @pytest.mark.parametrize(("ready", "sizes"), [(1, [1]), (2, [2]), (3, [1, 2]), (4, [4]), (6, [2, 4])])
    def test_ready_live_streams_are_inferred_together(self, rig: Rig, ready: int, sizes: list[int]) -> None:
        for number in range(ready):
            rig.open(f"cam{number}")
            rig.put(f"cam{number}", number)
        rig.finish()
        begun, poses = [], []
        for _ in sizes:
            begun.append(rig.began())
            poses += rig.finish(begun[-1])
        assert sorted(begun) == sizes
        assert poses == [(f"cam{number}", number) for number in range(ready)]

    def test_what_does_not_fit_waits_for_its_own_turn(self, rig: Rig) -> None:
        rig.open("a")
        rig.open("other size")
        rig.open("low", -1)
        rig.open("video", policy=Policy.LOSSLESS)
        rig.open("b")
        for name in rig.streams:
            if name != "first":
                rig.put(name, 1, size=(6, 8) if name == "other size" else (8, 6))
        rig.finish()
        assert rig.began() == 2
        assert rig.finish(2) == [("a", 1), ("b", 1)]
        for name in ("other size", "video", "low"):
            assert rig.began() == 1
            assert rig.finish() == [(name, 1)]

    def test_frames_larger_than_what_was_measured_stay_alone(self, rig: Rig) -> None:
        for name in ("a", "b"):
            rig.open(name)
            rig.put(name, 1, size=(16, 12))
        rig.finish()
        for name in ("a", "b"):
            assert rig.began() == 1
            assert rig.finish() == [(name, 1)]

    def test_a_frame_that_fails_fails_alone(self, rig: Rig) -> None:
        for name in ("a", "bad", "c", "d"):
            rig.open(name)
            rig.put(name, 1, value=0 if name == "bad" else 200)
        rig.finish()
        assert rig.began() == 4
        rig.model.permits.release(5)
        assert {pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S)).stream for _ in range(3)} == {"a", "c", "d"}
        assert rig.streams["bad"].failed == 1
        assert [event.stream for event in rig.events if event.kind == pb.StreamEvent.KIND_FAILED] == ["bad"]

    def test_without_a_gain_nothing_is_batched(self, rig: Rig) -> None:
        rig.model.batch_plan = BatchPlan()
        for name in ("a", "b"):
            rig.open(name)
            rig.put(name, 1)
        rig.finish()
        assert rig.began() == 1


def test_a_swap_takes_place_between_two_inferences_and_drops_nothing(rig: Rig, spot_model: Path) -> None:
    _occupy(rig)
    for name in ("a", "b"):
        rig.open(name)
        rig.put(name, 1)
    newer = GatedModel(spot_model)
    newer.sha256 = "f" * 64
    swap = rig.scheduler.swap(newer)
    assert not swap.done.is_set(), "an inference that has begun is not cut off"
    rig.model.permits.release()
    rig.scheduler.wait_for(swap)
    newer.permits.release(2)
    poses = [pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S)) for _ in range(3)]
    assert [(pose.stream, pose.model_sha256 == newer.sha256) for pose in poses] == [
        ("first", False),
        ("a", True),
        ("b", True),
    ]
    assert {event.stream for event in rig.events} == {"first", "a", "b"}
    assert all(stream.counters().dropped == 0 for stream in rig.streams.values())


def test_the_rate_limit_drops_by_capture_time_and_counts(serve: Serve, spot_model: Path) -> None:
    async def run() -> None:
        async with serve(spot_model) as server, connected(server.announcement.address) as channel:
            call = TrackCall(channel)
            await call.open("cam0", max_frames_per_second=50.0, return_poses=True)
            for number in range(100):  # a camera of 100 frames a second
                await call.send(frame(number, spot_image(1, 2), captured_client_ns=10**9 + number * 10**7))
            replies, closed = await call.finish()
            counters = closed.counters
            assert (counters.received, counters.dropped_rate) == (100, 50)
            assert counters.published + counters.dropped_mailbox == 50
            assert account_balances(counters)
            poses = [reply.pose for reply in replies if reply.WhichOneof("reply") == "pose"]
            assert {pose.sequence % 2 for pose in poses} == {0}
            assert len([reply for reply in replies if reply.WhichOneof("reply") == "ack"]) == 100

    asyncio.run(run())


def test_a_steady_stream_is_rehearsed_for_and_nobody_sees_it(spot_model: Path) -> None:
    rig = Rig(GatedModel(spot_model))
    rig.model.permits.release(10_000)
    try:
        rig.open("cam0")
        schedule = Schedule(50.0)
        sequence = 0

        def put_until_rehearsed() -> None:
            nonlocal sequence
            first = sequence
            while sequence == first or (rig.scheduler.rehearsals < 3 and sequence < first + 1500):
                schedule.wait()
                rig.put("cam0", sequence)
                pose = pb.Pose.FromString(rig.published.get(timeout=TIMEOUT_S))
                assert (pose.stream, pose.sequence) == ("cam0", sequence)
                sequence += 1
            assert rig.scheduler.rehearsals >= 3

        put_until_rehearsed()
        after = GatedModel(spot_model)
        after.permits.release(10_000)
        rig.scheduler.wait_for(rig.scheduler.swap(after))
        put_until_rehearsed()
        assert rig.published.qsize() == 0
        assert [pb.StreamEvent.Kind.Name(event.kind) for event in rig.events] == ["KIND_SWAPPED"]
    finally:
        rig.close()


def test_what_does_not_take_small_images_is_rehearsed_for_without_them(spot_model: Path) -> None:
    class OneSizeModel(GatedModel):
        def infer(self, images: np.ndarray) -> np.ndarray:
            if images.shape[1] == SMALL_SIDE:
                raise ModelFailedError("no such size")
            return super().infer(images)

    model = OneSizeModel(spot_model)
    small = np.zeros((1, SMALL_SIDE, SMALL_SIDE, 1), np.uint8)
    assert model.rehearse(small).shape == (1, model.spec.max_animals, len(model.spec.keypoints), 3)


def test_a_bell_that_rang_while_it_was_rested_at_does_not_ring_again() -> None:
    bell = Doorbell(f"poseloop-test/{os.getpid()}/bell")
    try:
        assert not bell.rest(2_000_000)
        bell.ring()
        assert bell.rest(50_000_000)
        assert not bell.rest(2_000_000)
        assert not bell.rest(999_999), "less than it can measure is no time at all"
    finally:
        bell.close()

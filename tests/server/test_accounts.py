"""The account of a stream balances at every moment, whatever comes in whatever order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from poseloop.messages import counters_from_wire, pose_from_wire
from poseloop.types import ModelSpec, PixelFormat, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server.frames import IncomingFrame
from poseloop_server.ingest.wire_frames import FrameGate, read_open
from poseloop_server.mailbox import LiveMailbox, LosslessMailbox
from poseloop_server.pose_writer import PoseWriter
from poseloop_server.refusal import RefusedError
from poseloop_server.statistics import BUCKETS_MS, Latencies
from poseloop_server.stream import ClientAccount, Stream, StreamIdentity, make_mailbox
from poseloop_server.wire import counters_to_wire, varint


def _frame(sequence: int, captured_ns: int = 5) -> IncomingFrame:
    return IncomingFrame(sequence, 2, 1, PixelFormat.GRAY8, b"ab", 10, captured_ns, captured_ns, 0)


def _stream(policy: Policy, capacity: int = 3, max_fps: float = 0.0) -> Stream:
    identity = StreamIdentity("cam0", 1, "spot", policy, False, "test", max_fps=max_fps)
    return Stream(identity, make_mailbox(policy, capacity), asyncio.new_event_loop(), lambda _: None)


def test_a_stream_is_drained_only_once_its_last_reply_is_given_to_the_call() -> None:
    async def run() -> list[bytes]:
        replies: list[bytes] = []
        identity = StreamIdentity("cam0", 1, "spot", Policy.LOSSLESS, True, "test")
        stream = Stream(identity, make_mailbox(Policy.LOSSLESS, 3), asyncio.get_running_loop(), replies.append)
        stream.put(_frame(0), ClientAccount(1))
        stream.mailbox.take()
        # As the model's thread does while the loop is busy with something else: the reply waits in the loop's queue.
        stream.answer(b"pose")
        await stream.drained()
        return list(replies)

    assert asyncio.run(run()) == [b"pose"]


class Account(RuleBasedStateMachine):
    """The loop's side and the model's side of a stream, in any order."""

    @initialize(policy=st.sampled_from(Policy), max_fps=st.sampled_from([0.0, 10.0]))
    def open(self, policy: Policy, max_fps: float) -> None:
        self.stream = _stream(policy, max_fps=max_fps if policy is Policy.LIVE else 0.0)
        self.captured_ns = 0
        self.sent = self.outbox = self.lost = 0
        self.queued = 0  # how often the stream stands in the model's queue
        self.taken: list[int] = []
        self.in_hand: IncomingFrame | None = None

    @rule(skipped=st.integers(0, 5), lost=st.integers(0, 2), after_ns=st.integers(0, 200_000_000))
    @precondition(lambda self: self.stream.mailbox.has_room)
    def receive(self, skipped: int, lost: int, after_ns: int) -> None:
        self.captured_ns += after_ns
        self.sent += skipped + lost + 1
        self.outbox += skipped
        self.lost += lost
        self.queued += self.stream.put(
            _frame(self.sent, self.captured_ns), ClientAccount(self.sent, self.outbox, self.lost)
        )

    @rule()
    @precondition(lambda self: self.queued and self.in_hand is None)
    def take(self) -> None:
        self.queued -= 1
        self.in_hand = self.stream.mailbox.take()
        assert self.in_hand is not None
        self.taken.append(self.in_hand.sequence)
        self.queued += self.stream.mailbox.more

    @rule(fails=st.booleans())
    @precondition(lambda self: self.in_hand is not None)
    def finish(self, fails: bool) -> None:
        if fails:
            self.stream.failed += 1
        else:
            self.stream.published += 1
        self.in_hand = None
        self.stream.answer(None)

    @invariant()
    def balances(self) -> None:
        if not hasattr(self, "stream"):
            return
        waiting = len(self.stream.mailbox) + (self.in_hand is not None)
        counters = self.stream.counters()
        assert counters.in_flight == counters.sent - counters.published - counters.dropped == waiting
        assert self.stream.is_drained == (waiting == 0)

    @invariant()
    def stands_in_the_queue_exactly_while_frames_wait(self) -> None:
        if hasattr(self, "stream"):
            assert self.queued == (len(self.stream.mailbox) > 0)

    @invariant()
    def order_is_kept(self) -> None:
        if hasattr(self, "stream"):
            assert self.taken == sorted(set(self.taken))
            if self.stream.identity.policy is Policy.LOSSLESS:
                assert self.stream.dropped_mailbox == 0
            if self.stream.limit is None:
                assert self.stream.dropped_rate == 0

    def teardown(self) -> None:
        if hasattr(self, "stream"):
            self.stream.loop.close()


TestAccount = Account.TestCase


def test_a_live_mailbox_holds_the_newest() -> None:
    mailbox = LiveMailbox()
    assert [mailbox.put(_frame(n)).replaced for n in range(3)] == [False, True, True]
    newest = mailbox.take()
    assert newest is not None
    assert newest.sequence == 2
    assert mailbox.take() is None


def test_a_live_mailbox_gives_a_frame_of_the_size_asked_for_only() -> None:
    mailbox = LiveMailbox()
    assert not mailbox.holds(2, 1)
    mailbox.put(_frame(0))
    assert mailbox.holds(2, 1)
    assert not mailbox.holds(1, 2)
    assert mailbox.take_of(1, 2) is None
    assert len(mailbox) == 1
    taken = mailbox.take_of(2, 1)
    assert taken is not None
    assert taken.sequence == 0
    assert mailbox.take_of(2, 1) is None


def test_a_frame_put_in_after_a_take_does_not_count_as_left_behind() -> None:
    mailbox = LosslessMailbox(3)
    mailbox.put(_frame(0))
    mailbox.take()
    assert mailbox.put(_frame(1)).was_empty
    assert not mailbox.more, "its stream would stand in line twice"
    mailbox.put(_frame(2))
    mailbox.take()
    assert mailbox.more


def test_a_full_lossless_mailbox_takes_nothing_more() -> None:
    mailbox = LosslessMailbox(2)
    assert [mailbox.put(_frame(n)).was_empty for n in range(2)] == [True, False]
    assert not mailbox.has_room
    with pytest.raises(OverflowError):
        mailbox.put(_frame(2))


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(value: int) -> None:
    assert pb.Frame(sequence=value).SerializeToString() == (b"\x08" + varint(value) if value else b"")


floats = st.floats(width=32, allow_nan=True)


@given(st.integers(1, 4), st.integers(1, 40), st.data())
def test_a_pose_written_in_parts_is_the_pose(instances: int, keypoints: int, data: st.DataObject) -> None:
    names = [f"k{i}" for i in range(keypoints)]
    spec = ModelSpec(name="m", keypoints=names, color="gray", native_width=4, native_height=4, max_animals=instances)
    flat = data.draw(st.lists(floats, min_size=instances * keypoints * 3, max_size=instances * keypoints * 3))
    values = np.array(flat, np.float32).reshape(instances, keypoints, 3)
    stream = _stream(Policy.LIVE)
    writer = PoseWriter(stream.identity, spec, "server", "ab12")
    for size in ((4, 5), (6, 7)):
        frame = IncomingFrame(9, *size, PixelFormat.GRAY8, b"", 20, 10, 8, 3)
        payload, published_ns = writer.write(stream, frame, values, 30, 40)
        pose = pb.Pose.FromString(payload)
        assert np.array_equal(np.array(pose.keypoints, np.float32).reshape(values.shape), values, equal_nan=True)
        assert (pose.width, pose.height, pose.instances, list(pose.keypoint_names)) == (*size, instances, names)
        assert pose.model_sha256 == "ab12"
        assert (pose.stamps.published_ns, pose.stamps.captured_ns, pose.sequence) == (published_ns, 10, 9)
    stream.loop.close()


def test_a_pose_says_how_many_animals_a_stage_has_left_in_it() -> None:
    spec = ModelSpec(name="m", keypoints=["a", "b"], color="gray", native_width=4, native_height=4, max_animals=2)
    stream = _stream(Policy.LIVE)
    writer = PoseWriter(stream.identity, spec, "server", "ab12")
    for instances in (2, 0, 1):
        payload, _ = writer.write(stream, _frame(1), np.ones((instances, 2, 3), np.float32), 30, 40)
        assert pose_from_wire(pb.Pose.FromString(payload)).keypoints.shape == (instances, 2, 3)
    stream.loop.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    gate = FrameGate(1000, None, None)
    for read in (read_open, lambda message: gate.admit(message, 0)):
        try:
            read(data)
        except RefusedError as refused:
            sentence, field = refused.sentence, refused.field
        else:
            continue
        assert field
        assert sentence.startswith(field)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(0, 2**64 - 1),
)
def test_a_frame_that_gets_in_is_what_it_says(width: int, height: int, kind: int, size: int, sequence: int) -> None:
    message = pb.FrameMessage(
        frame=pb.Frame(width=width, height=height, format=kind, data=bytes(size), sequence=sequence)
    )
    try:
        frame, account = FrameGate(30, None, None).admit(message.SerializeToString(), 1)
    except RefusedError:
        return
    channels = frame.format.channels
    assert channels is not None
    assert len(frame.data) == width * height * channels <= 30 * channels
    assert account.sent == 1


def test_what_earlier_sessions_of_a_client_counted_is_not_in_flight() -> None:
    stream = _stream(Policy.LIVE)
    for sent in (101, 102):
        stream.put(_frame(sent), ClientAccount(sent, dropped_outbox=7, lost_connection=3))
    told = counters_from_wire(counters_to_wire(stream.counters()))
    assert (told.sent, told.received, told.dropped_mailbox) == (102, 2, 1)
    assert told.in_flight == stream.counters().in_flight == 1
    stream.loop.close()


def test_a_client_that_does_not_count_has_sent_what_gave_way_in_shared_memory_too() -> None:
    stream, gate = _stream(Policy.LIVE), FrameGate(1000, None, None)
    for sequence in (0, 5, 10):
        header = pb.Frame(sequence=sequence, width=2, height=1, format=pb.PIXEL_FORMAT_GRAY8)
        gave_way = 4 if sequence else 0
        frame, client = gate.admit_frame(header, b"ab", 10, gave_way=gave_way)
        stream.put(frame, client, gave_way)
    counters = stream.counters()
    assert (counters.sent, counters.received, counters.dropped_mailbox, counters.in_flight) == (11, 11, 10, 1)
    assert stream.first_sent == 1
    stream.loop.close()


@given(st.lists(st.floats(0, 2000, exclude_min=True), min_size=1, max_size=50))
def test_histograms_count_every_duration_once(values: list[float]) -> None:
    latencies = Latencies()
    for number, value in enumerate(values):
        latencies.add(number, value, value, value)
    counts = latencies.age.counts
    assert sum(counts) == len(values)
    for index, bound in enumerate(BUCKETS_MS):
        assert sum(counts[: index + 1]) == sum(value <= bound for value in values)
    recent = latencies.recent(len(values), 1.0)
    assert recent.age.max == max(values)
    assert recent.age.p50 <= recent.age.p99 <= recent.age.max


def _rate(published_s: list[float], now_s: float) -> float:
    latencies = Latencies()
    for at_s in published_s:
        latencies.add(round(at_s * 1e9), 1.0, 1.0, 1.0)
    return latencies.recent(round(now_s * 1e9), 5.0).frames_per_second


def test_the_rate_of_a_stream_that_stopped_falls() -> None:
    steady = [100 + number / 30 for number in range(301)]  # until 110 s
    assert _rate(steady, 110) == pytest.approx(30)
    assert _rate(steady, 110 + 1 / 30) == pytest.approx(30), "the interval that is under way says nothing yet"
    after = [_rate(steady, 110 + silent_s) for silent_s in (0.1, 1, 2.5, 4, 4.9, 5.1)]
    assert after == sorted(after, reverse=True)
    assert after[2] == pytest.approx(15, rel=0.02), "half of the window had poses"
    assert after[-1] == 0
    assert _rate([110, 110.1], 110.15) == pytest.approx(10), "a stream that was opened just now"
    assert _rate([110, 110], 110.5) == pytest.approx(2)
    assert _rate([110, 110], 110) == 0


def test_a_stream_without_poses_has_no_latency() -> None:
    recent = Latencies().recent(10**9, 5.0)
    assert recent.frames_per_second == 0
    assert np.isnan(recent.age.p50)

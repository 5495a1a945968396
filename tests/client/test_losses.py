from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop.inbox import PoseInbox
from poseloop.losses import Losses, Restart
from poseloop.messages import pose_from_wire
from poseloop.types import Counters
from poseloop.v1 import poseloop_pb2 as pb

FATES = ["published", "dropped_outbox", "lost_connection", "dropped_rate", "dropped_mailbox", "failed"]


def message(
    stream: str, sequence: int, counters: Counters, server: str = "a", session: int = 1, captured_ns: int | None = None
) -> list[bytes]:
    client = pb.ClientCounters(
        sent=counters.sent, dropped_outbox=counters.dropped_outbox, lost_connection=counters.lost_connection
    )
    pose = pb.Pose(
        stream=stream,
        sequence=sequence,
        keypoints=[1.0, 2.0, 0.5],
        instances=1,
        keypoint_names=["snout"],
        server_id=server,
        session_id=session,
        stamps=pb.Stamps(captured_client_ns=sequence if captured_ns is None else captured_ns),
        counters=pb.StreamCounters(
            client=client,
            published=counters.published,
            dropped_rate=counters.dropped_rate,
            dropped_mailbox=counters.dropped_mailbox,
            failed=counters.failed,
        ),
    )
    return [f"pose/{stream}".encode(), pose.SerializeToString()]


class World:
    """A stream whose frames each meet a fate, and a subscriber that some poses do not reach."""

    def __init__(self, inbox: PoseInbox) -> None:
        self.inbox = inbox
        self.counters = Counters()
        self.sequence = -1
        self.server, self.session = "a", 1
        self.got: list[int] = []
        self.expected = Losses()
        self.pending = Losses()  # what the next pose will reveal

    def frame(self, fate: str, arrives: bool) -> None:
        self.sequence += 1
        self.counters = replace(self.counters, sent=self.counters.sent + 1)
        self.counters = replace(self.counters, **{fate: getattr(self.counters, fate) + 1})
        if fate == "published" and arrives:
            self.inbox.put(message("cam0", self.sequence, self.counters, self.server, self.session))
            pose = self.inbox.pop()
            assert pose is not None
            if self.got:
                self.expected += self.pending
            self.got.append(pose.sequence)
            self.pending = Losses()
        else:
            place = "missed" if fate == "published" else fate
            self.pending += replace(Losses(), **{place: 1})

    def restart(self) -> None:
        self.server += "'"
        self.session += 1
        self.counters = replace(self.counters, published=0, dropped_rate=0, dropped_mailbox=0, failed=0)


@given(st.lists(st.tuples(st.sampled_from(FATES), st.booleans()), max_size=60))
def test_every_frame_without_a_pose_is_accounted_for_by_its_place(frames: list[tuple[str, bool]]) -> None:
    world = World(PoseInbox("cam0"))
    for fate, arrives in frames:
        world.frame(fate, arrives)
    assert world.inbox.losses == world.expected
    assert not world.inbox.restarts


@given(st.lists(st.tuples(st.sampled_from([*FATES, "restart"]), st.booleans()), max_size=60))
def test_restarts_hide_no_frame(frames: list[tuple[str, bool]]) -> None:
    world = World(PoseInbox("cam0", on_restart=lambda restart: None))
    for fate, arrives in frames:
        world.restart() if fate == "restart" else world.frame(fate, arrives)
    gaps = world.got[-1] - world.got[0] + 1 - len(world.got) if world.got else 0
    assert world.inbox.losses.total == gaps == world.expected.total


def test_a_restart_is_told_with_its_numbers() -> None:
    told: list[Restart] = []
    world = World(PoseInbox("cam0", on_restart=told.append))
    world.frame("published", True)
    world.restart()
    for fate in ("lost_connection", "dropped_outbox", "dropped_outbox"):
        world.frame(fate, False)
    world.frame("published", True)
    expected = Restart("cam0", True, False, Losses(dropped_outbox=2, lost_connection=1))
    assert told == [expected] == world.inbox.restarts
    assert str(told[0]) == (
        "stream cam0: new server; frames without a pose: 3 (2 dropped in the outbox, 1 lost with a connection)"
    )


def test_a_new_sender_begins_to_count_anew() -> None:
    inbox = PoseInbox("cam0", on_restart=lambda restart: None)
    inbox.put(message("cam0", 99, Counters(sent=100, published=100)))
    inbox.put(message("cam0", 1, Counters(sent=2, published=1, dropped_outbox=1), session=2, captured_ns=100))
    assert [pose.sequence for pose in (inbox.pop(), inbox.pop()) if pose] == [99, 1]
    assert inbox.restarts == [Restart("cam0", False, True, Losses(dropped_outbox=1))]


def test_frames_sent_again_after_a_break_are_given_once() -> None:
    inbox = PoseInbox("cam0", on_restart=lambda restart: None)
    inbox.put(message("cam0", 4, Counters(sent=6, published=5)))
    inbox.put(message("cam0", 5, Counters(sent=6, published=6)))
    inbox.put(message("cam0", 5, Counters(sent=7, published=1), server="b"))
    inbox.put(message("cam0", 6, Counters(sent=8, published=2), server="b"))
    sequences = []
    while (pose := inbox.pop()) is not None:
        sequences.append(pose.sequence)
    assert sequences == [4, 5, 6]
    assert inbox.repeated == 1
    assert inbox.losses == Losses()


@pytest.mark.parametrize("count", [1, 4, 9])
def test_each_run_of_a_sender_that_sends_as_many_frames_is_given_in_full(count: int) -> None:
    inbox = PoseInbox("cam0", on_restart=lambda restart: None)
    given = []
    for run in range(3):
        for sequence in range(count):
            account = Counters(sent=count, published=sequence + 1)  # the window let all of them leave at once
            inbox.put(message("cam0", sequence, account, session=run, captured_ns=1000 * run + sequence))
        while (pose := inbox.pop()) is not None:
            given.append(pose.sequence)
    assert given == list(range(count)) * 3
    assert inbox.repeated == 0
    assert inbox.losses == Losses()
    assert [restart.sender_restarted for restart in inbox.restarts] == [True, True]


def test_a_new_sender_whose_first_poses_are_missed_is_not_taken_for_the_old_one() -> None:
    inbox = PoseInbox("cam0", on_restart=lambda restart: None)
    inbox.put(message("cam0", 4, Counters(sent=5, published=5), captured_ns=10))
    inbox.put(message("cam0", 4, Counters(sent=5, published=5), session=2, captured_ns=20))
    assert [pose.stamps.captured_client_ns for pose in (inbox.pop(), inbox.pop()) if pose] == [10, 20]
    assert inbox.restarts == [Restart("cam0", False, True, Losses(missed=4))]


def test_topics_are_compared_as_a_whole() -> None:
    inbox = PoseInbox("cam1")
    inbox.put(message("cam10", 0, Counters(sent=1, published=1)))
    assert inbox.pop() is None
    inbox.put(message("cam1", 0, Counters(sent=1, published=1)))
    pose = inbox.pop()
    assert pose is not None
    assert pose.stream == "cam1"


def test_latest_keeps_the_newest_of_each_stream_and_counts_no_loss() -> None:
    inbox = PoseInbox(latest=True)
    for sequence in range(5):
        for stream in ("cam0", "cam1"):
            inbox.put(message(stream, sequence, Counters(sent=sequence + 1, published=sequence + 1)))
        if sequence == 1:
            assert {pose.sequence for pose in (inbox.pop(), inbox.pop()) if pose} == {1}
    poses = [inbox.pop(), inbox.pop(), inbox.pop()]
    assert [(pose.stream, pose.sequence) if pose else None for pose in poses] == [("cam0", 4), ("cam1", 4), None]
    assert inbox.losses == Losses()


@pytest.mark.parametrize("payload", [b'{"kind": "pose"}', b"\xff\xff", message("cam0", 0, Counters())[1] + b"\x22"])
def test_what_is_no_pose_is_said_so(payload: bytes) -> None:
    inbox = PoseInbox("cam0")
    inbox.put([b"pose/cam0", payload])
    with pytest.raises(InvalidInputError, match="no pose"):
        inbox.pop()


def test_what_is_no_status_is_said_so() -> None:
    with pytest.raises(InvalidInputError, match="no status"):
        PoseInbox("cam0").put([b"status", b'{"kind": "status"}'])


def test_messages_of_other_shapes_are_left_alone() -> None:
    inbox = PoseInbox()
    for parts in ([b"pose/cam0"], [b"event/cam0", b"x"], [b"a", b"b", b"c"], []):
        inbox.put(parts)
    assert inbox.pop() is None


def test_keypoints_by_name() -> None:
    pose = pose_from_wire(pb.Pose.FromString(message("cam0", 0, Counters())[1]))
    assert pose["snout"] == (1.0, 2.0, 0.5)
    assert np.array_equal(pose.keypoints, [[[1.0, 2.0, 0.5]]])
    with pytest.raises(KeyError, match="snout"):
        pose["tail"]

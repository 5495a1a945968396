"""What a report says of a stream that was opened more than once, or of which the log lacks something."""

from datetime import UTC, datetime
from pathlib import Path

from poseloop.types import Counters
from poseloop_server.record.header import Start
from poseloop_server.record.reader import Log
from poseloop_server.record.report.collect import collect
from poseloop_server.record.report.findings import StreamPoses
from poseloop_server.record.report.page import page_of
from poseloop_server.record.writer import LogWriter

from tests.server.record.logs import NAMES, begin, pose

AWAY_NS = 8_000_000_000


def open_stream(writer: LogWriter, continues: bool = False) -> None:
    writer.stream_opened("cam0", "mouse", "a" * 64, NAMES, continues)


def put(writer: LogWriter, *numbers: int, later_ns: int = 0) -> None:
    for number in numbers:
        one = pose(number)
        writer.pose(one._replace(captured_ns=one.captured_ns + later_ns, published_ns=one.published_ns + later_ns))


def cam0(writer: LogWriter) -> StreamPoses:
    writer.close()
    return collect(Log(writer.path)).streams["cam0"]


def test_the_account_of_a_sender_that_came_back_is_of_all_its_sessions(tmp_path: Path) -> None:
    """The server counts anew in each session, and the sender goes on."""
    writer = begin(tmp_path)
    open_stream(writer)
    put(writer, 0, 1)
    writer.account("cam0", Counters(sent=100, received=100, published=90, dropped_mailbox=9), 0)
    writer.stream_closed("cam0", "", Counters(sent=151, received=151, published=101, dropped_mailbox=40, failed=10))
    open_stream(writer, continues=True)  # to which not one frame came
    writer.stream_closed("cam0")
    open_stream(writer, continues=True)
    writer.account("cam0", Counters(), 0)
    put(writer, 700)
    ended = Counters(sent=1551, received=600, published=590, dropped_outbox=798, lost_connection=2, dropped_rate=10)
    writer.stream_closed("cam0", "", ended)
    counters = cam0(writer).counters
    assert counters == {
        **{"sent": 1551, "published": 691, "dropped_outbox": 798, "lost_connection": 2},
        **{"dropped_mailbox": 40, "failed": 10, "received": 751, "dropped_rate": 10},
    }
    text = page_of(collect(Log(writer.path)), "log")
    assert "dropped outbox 798, dropped mailbox 40, dropped rate 10, failed 10, lost connection 2" in text


def test_the_account_of_another_sender_is_added(tmp_path: Path) -> None:
    """It has sent more than the old one by the time of its first account; its first pose tells that it is another."""
    writer = begin(tmp_path)
    open_stream(writer)
    put(writer, 0, 1, 2)
    writer.account("cam0", Counters(sent=3, received=3, published=3, dropped_outbox=2), 0)
    open_stream(writer, continues=True)
    put(writer, 1, 2, later_ns=AWAY_NS)
    writer.account("cam0", Counters(sent=90, received=80, published=80, dropped_outbox=10), 0)
    stream = cam0(writer)
    assert stream.counters["sent"] == 93
    assert stream.counters["dropped_outbox"] == 12
    assert stream.missing == []


def test_frames_of_the_time_away_have_no_pose_and_are_a_pause(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    open_stream(writer)
    put(writer, 0, 1)
    open_stream(writer, continues=True)
    put(writer, 801, 802)
    stream = cam0(writer)
    assert stream.missing == [(pose(801).captured_ns, 799)]
    assert stream.longest_pause_ns == 800 * 10_000_000


def test_a_new_sender_makes_a_pause_and_no_gap_and_a_frame_that_was_sent_again_makes_none(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    open_stream(writer)
    put(writer, 0, 1, 2, 3)
    open_stream(writer, continues=True)
    put(writer, 2, 3, 4)  # lossless: what was not answered is sent again
    open_stream(writer, continues=True)
    put(writer, 3, 4, 5, later_ns=AWAY_NS)
    open_stream(writer)
    put(writer, 50, later_ns=AWAY_NS)
    stream = cam0(writer)
    assert stream.missing == []
    assert stream.longest_pause_ns == AWAY_NS - 10_000_000


def test_poses_that_the_log_lost_are_no_frames_without_a_pose(tmp_path: Path) -> None:
    writer = begin(tmp_path, start=Start(datetime(2026, 1, 31, tzinfo=UTC), 0))
    open_stream(writer)
    put(writer, 0)
    for _ in range(500):
        writer.missed_pose("cam0")
    put(writer, 501, 502)
    writer.missed_pose("cam0")
    put(writer, 506)  # one of three is not in the log, so two have no pose
    writer.missed_pose("cam1")
    put(writer, 509)
    stream = cam0(writer)
    assert stream.unlogged == [(pose(501).captured_ns, 500), (pose(506).captured_ns, 1)]
    assert stream.missing == [(pose(506).captured_ns, 2), (pose(509).captured_ns, 2)]
    assert stream.longest_pause_ns == 30_000_000
    text = page_of(collect(Log(writer.path)), "log")
    assert "<b>4</b><span>frames without a pose</span>" in text
    assert ">501</td>" in text
    assert "poses that the log lost" in text


def test_every_model_that_made_a_streams_poses_is_named_in_order(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    open_stream(writer)
    writer.model_swapped("cam0", "mouse", "b" * 64)
    open_stream(writer, continues=True)
    writer.stream_closed("cam0")
    writer.stream_opened("cam0", "mouse", "b" * 64, NAMES, continues=True)
    stream = cam0(writer)
    assert stream.models == [f"mouse {letter * 12}" for letter in "abab"]
    text = page_of(collect(Log(writer.path)), "log")
    assert "<dd>cam0: mouse aaaaaaaaaaaa, then mouse bbbbbbbbbbbb, then" in text

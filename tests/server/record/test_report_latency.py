"""Which commands a report's latencies are of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.outputs.base import Command, Outcome, Status
from poseloop_server.record.header import Experiment
from poseloop_server.record.reader import Log
from poseloop_server.record.report.collect import collect
from poseloop_server.record.report.findings import Findings
from poseloop_server.record.report.page import page_of
from poseloop_server.record.writer import LogWriter

from tests.server.record.logs import NAMES, begin, command, pose

MS = 1_000_000


def begun(folder: Path, values: dict[str, Any] | None = None) -> LogWriter:
    writer = begin(folder, experiment=Experiment("x", {"values": values or {}}))
    writer.stream_opened("cam0", "mouse", "a" * 64, NAMES)
    return writer


def fall(one: Command, reason: str = "") -> Decision:
    return Decision(one.trigger, Edge.FALL, True, reason, {}, (one,))


def send(writer: LogWriter, one: Command, after_ms: int, acknowledged: bool = False) -> None:
    """After its capture."""
    sent_ns = one.captured_ns + after_ms * MS
    status = Status.ACKNOWLEDGED if acknowledged else Status.SENT
    writer.outcome(Outcome(one, status, sent_ns, sent_ns + MS if acknowledged else None))


def read(writer: LogWriter) -> tuple[Findings, str]:
    writer.close()
    found = collect(Log(writer.path))
    return found, page_of(found, "log")


def test_what_no_pose_caused_has_no_latency_from_its_capture(tmp_path: Path) -> None:
    """The camera stands still, so what is on is switched off half a second later; one outcome precedes its decision."""
    writer = begun(tmp_path)
    at_pose = command(1, 1)
    writer.pose(pose(1), (fall(at_pose),))
    send(writer, at_pose, 6)
    silent = replace(command(2, 1), decided_ns=at_pose.captured_ns + 600 * MS)
    closed = replace(silent, number=3)
    send(writer, silent, 601, acknowledged=True)
    writer.ended("cam0", "no pose comes any more", silent.decided_ns, (fall(silent), fall(closed)))
    send(writer, closed, 602)
    early = command(4, 2)
    send(writer, early, 7)
    writer.pose(pose(2), (fall(early),))
    found, text = read(writer)
    laser = found.outputs["laser"]
    assert list(laser.to_sent) == [6.0, 7.0]
    assert list(laser.to_decided) == [4.05, 4.05]
    assert list(laser.to_acknowledged) == []
    assert laser.statuses == {"sent": 3, "acknowledged": 1}
    assert "2 that no pose caused" in text
    assert "<b>6.50 ms</b><span>capture to sent, median</span>" in text


def test_what_waited_until_an_output_was_back_is_told_apart_by_its_deadline(tmp_path: Path) -> None:
    writer = begun(tmp_path, {"outputs": {"laser": {"deadline_ms": 20.0}, "other": {"deadline_ms": "?"}, "odd": None}})
    for number, after_ms in enumerate((6, 24, 25, 8000), 1):
        one = command(number, number)
        writer.pose(pose(number), (fall(one),))
        send(writer, one, after_ms)
    other = replace(command(9, 9), output="other")
    writer.pose(pose(9), (fall(other),))
    send(writer, other, 8000)
    found, text = read(writer)
    assert list(found.outputs["laser"].to_sent) == [6.0, 24.0]
    assert list(found.outputs["other"].to_sent) == [8000.0]
    assert "2 that were sent after their deadline" in text


def test_a_command_whose_decision_the_log_lacks_is_left_out_and_said(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    send(writer, command(1, 1), 6)
    writer.outcome(Outcome(command(2, 1), Status.DROPPED_GONE, message="gone"))
    found, text = read(writer)
    assert list(found.outputs["laser"].to_sent) == []
    assert "1 whose decision the log lacks" in text
    assert "No command was sent" not in text

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.outputs.base import Command, Outcome, Status
from poseloop_server.record.encode import decision_line, line_of, outcome_line, packed, pose_line
from poseloop_server.record.entries import DecisionEntry, Entry, OutcomeEntry, PoseEntry
from pydantic import TypeAdapter

from tests.server.record.logs import Pulse, command, pose

ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)

times = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**63 - 1)
names = st.text(st.characters(codec="utf-8"))
bits = st.integers(0, 2**32 - 1)
numbers = st.floats(allow_nan=True, allow_infinity=True)
quantities = st.dictionaries(names, numbers, max_size=4)


def read(line: bytes) -> Entry:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return ENTRY.validate_json(line)


def same(left: float, right: float) -> bool:
    return math.isnan(left) if math.isnan(right) else struct.pack("d", left) == struct.pack("d", right)


@given(names, st.lists(times, min_size=6, max_size=6), counts, st.lists(bits, max_size=12), quantities, st.lists(names))
def test_a_pose_comes_back_to_the_bit(
    stream: str, stamps: list[int], sequence: int, pattern: list[int], values: dict[str, float], doubts: list[str]
) -> None:
    whole = pattern[: len(pattern) // 6 * 6]
    seen = np.array(whole, np.uint32).view(np.float32).reshape(-1, 2, 3)
    changed = np.array(whole[::-1], np.uint32).view(np.float32).reshape(-1, 2, 3)
    record = pose(0, stream, seen, staged=packed(changed), values=values, doubts=doubts)._replace(
        sequence=sequence,
        **dict(zip(("captured_ns", "received_ns", "decided_ns", "published_ns"), stamps, strict=False)),
    )
    entry = read(pose_line(record, 3))
    assert isinstance(entry, PoseEntry)
    assert (entry.stream, entry.sequence, entry.decisions) == (stream, sequence, 3)
    assert [entry.captured_ns, entry.received_ns, entry.decided_ns, entry.published_ns] == stamps[:4]
    assert entry.points(2).shape == seen.shape
    assert entry.points(2).tobytes() == seen.tobytes()
    assert entry.staged_points(2).tobytes() == changed.tobytes()
    assert entry.values.keys() == values.keys()
    assert all(same(entry.values[name], value) for name, value in values.items())
    assert list(entry.doubts) == doubts


def test_a_pose_that_no_stage_changed_holds_its_keypoints_once() -> None:
    record = pose(1)
    line = pose_line(record._replace(staged=record.keypoints, keypoints_ns=record.captured_ns), 0)
    assert line == pose_line(record, 0)
    assert set(json.loads(line)) == {
        *("kind", "stream", "sequence", "captured_ns", "received_ns", "inference_started_ns", "inference_ended_ns"),
        *("decided_ns", "published_ns", "width", "height", "keypoints"),
    }
    entry = read(line)
    assert isinstance(entry, PoseEntry)
    assert entry.staged_points(2).tobytes() == entry.points(2).tobytes()


@pytest.mark.parametrize(("text", "why"), [("AAA!", "base64"), ("AAAA", "buffer size"), ("AAAAAA==", "reshape")])
def test_keypoints_that_are_none_are_refused(text: str, why: str) -> None:
    entry = read(pose_line(pose(1), 0).replace(json.loads(pose_line(pose(1), 0))["keypoints"].encode(), text.encode()))
    assert isinstance(entry, PoseEntry)
    with pytest.raises(ValueError, match=why):
        entry.points(2)


@given(names, st.none() | counts, times, names, st.sampled_from(Edge), st.booleans(), names, quantities, numbers)
def test_a_decision_comes_back_to_the_bit(
    stream: str,
    sequence: int | None,
    decided_ns: int,
    trigger: str,
    edge: Edge,
    fired: bool,
    reason: str,
    values: dict[str, float],
    pulse_ms: float,
) -> None:
    action = Pulse.model_construct(pulse_ms=pulse_ms, file=Path("c.wav"))
    commands = (Command(4, "laser", action, stream, trigger, sequence or 0, 0, decided_ns),)
    line = decision_line(stream, sequence, decided_ns, Decision(trigger, edge, fired, reason, values, commands))
    entry = read(line)
    assert isinstance(entry, DecisionEntry)
    assert (entry.stream, entry.sequence, entry.decided_ns) == (stream, sequence, decided_ns)
    assert (entry.trigger, entry.edge, entry.fired, entry.reason) == (trigger, edge, fired, reason)
    assert all(same(entry.values[name], value) for name, value in values.items())
    assert entry.commands[0].number == 4
    assert same(float(entry.commands[0].action["pulse_ms"]), pulse_ms)
    assert entry.commands[0].action["file"] == "c.wav"


@given(st.sampled_from(Status), st.none() | times, st.none() | times, names)
def test_an_outcome_comes_back(status: Status, sent_ns: int | None, acknowledged_ns: int | None, message: str) -> None:
    outcome = Outcome(command(9, 3), status, sent_ns, acknowledged_ns, message)
    entry = read(outcome_line(outcome))
    assert isinstance(entry, OutcomeEntry)
    assert (entry.number, entry.output, entry.trigger, entry.sequence) == (9, "laser", "near", 3)
    assert (entry.status, entry.sent_ns, entry.acknowledged_ns) == (status, sent_ns, acknowledged_ns)
    assert entry.message == message


def test_numbers_of_numpy_and_what_utf8_lacks_can_be_written() -> None:
    said = line_of("problem", time_ns=1, where="a\ud800b", message=[np.float32(np.inf), np.int64(3), {1: math.nan}])
    assert json.loads(said) == {
        "kind": "problem", "time_ns": 1, "where": "a?b", "message": ["Infinity", 3, {"1": "NaN"}]
    }  # fmt: skip

"""What happened, as lines of the log: JSON in UTF-8, each ending in a newline."""

from __future__ import annotations

import json
import math
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from poseloop_server.loop.decision import Decision
from poseloop_server.outputs.base import Command, Outcome


class PoseRecord(NamedTuple):
    """One pose for the log; `poseloop_server.record.entries.PoseEntry` says what each field is.

    ``keypoints`` and ``staged`` are what `packed` returns; ``staged`` may be None where no stage changed anything.
    """

    stream: str
    sequence: int
    captured_ns: int
    received_ns: int
    inference_started_ns: int
    inference_ended_ns: int
    decided_ns: int
    published_ns: int
    width: int
    height: int
    keypoints: bytes
    staged: bytes | None = None
    keypoints_ns: int = 0
    values: Mapping[str, float] = {}
    doubts: Sequence[str] = ()


def packed(keypoints: NDArray[np.float32]) -> bytes:
    """Return keypoints as the bytes of little-endian float32, whatever a stage does to the array later."""
    return keypoints.astype("<f4", copy=False).tobytes()


def pose_line(pose: PoseRecord, decisions: int) -> bytes:
    """Return the line of a pose that this many lines of decisions follow.

    Written without the JSON encoder, which would take four times as long for the one line that comes with each frame.
    """
    more = ""
    if pose.staged is not None and pose.staged != pose.keypoints:
        more = f',"staged":"{_base64(pose.staged)}"'
    if pose.keypoints_ns and pose.keypoints_ns != pose.captured_ns:
        more += f',"keypoints_ns":{pose.keypoints_ns}'
    if pose.values:
        more += f',"values":{_json(dict(pose.values))}'
    if pose.doubts:
        more += f',"doubts":{_json(list(pose.doubts))}'
    if decisions:
        more += f',"decisions":{decisions}'
    return (
        f'{{"kind":"pose","stream":{_json(pose.stream)},"sequence":{pose.sequence},"captured_ns":{pose.captured_ns},'
        f'"received_ns":{pose.received_ns},"inference_started_ns":{pose.inference_started_ns},'
        f'"inference_ended_ns":{pose.inference_ended_ns},"decided_ns":{pose.decided_ns},'
        f'"published_ns":{pose.published_ns},"width":{pose.width},"height":{pose.height},'
        f'"keypoints":"{_base64(pose.keypoints)}"{more}}}\n'
    ).encode("utf-8", "replace")


def decision_line(stream: str, sequence: int | None, decided_ns: int, decision: Decision) -> bytes:
    """Return the line of a decision; equal lines are equal decisions, to the last bit of each number."""
    return line_of(
        "decision",
        stream=stream,
        sequence=sequence,
        decided_ns=decided_ns,
        trigger=decision.trigger,
        edge=decision.edge,
        fired=decision.fired,
        reason=decision.reason,
        values=dict(decision.values),
        commands=[_command(command) for command in decision.commands],
    )


def decision_lines(stream: str, sequence: int | None, decided_ns: int, decisions: Iterable[Decision]) -> bytes:
    """Return the lines of all that was decided at once."""
    return b"".join(decision_line(stream, sequence, decided_ns, decision) for decision in decisions)


def outcome_line(outcome: Outcome) -> bytes:
    """Return the line of what became of a command."""
    command = outcome.command
    return line_of(
        "outcome",
        stream=command.stream,
        number=command.number,
        output=command.output,
        trigger=command.trigger,
        sequence=command.sequence,
        status=outcome.status,
        captured_ns=command.captured_ns,
        decided_ns=command.decided_ns,
        sent_ns=outcome.sent_ns,
        acknowledged_ns=outcome.acknowledged_ns,
        message=outcome.message,
    )


def line_of(kind: str, **fields: Any) -> bytes:
    """Return the line of any other kind, with the fields in the order given."""
    return (_json({"kind": kind, **fields}) + "\n").encode("utf-8", "replace")


def _command(command: Command) -> dict[str, Any]:
    return {"number": command.number, "output": command.output, "action": command.action}


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _json(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_without_nan(value))


def _plain(value: object) -> Any:
    """Return what JSON has for a value that it does not know."""
    match value:
        case BaseModel():
            return _without_nan(value.model_dump(mode="json"))
        case np.generic():
            return _without_nan(value.item())
        case Enum():
            return value.value
        case PurePath():
            return str(value)
    return repr(value)


def _without_nan(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case Mapping():
            return {key: _without_nan(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_nan(each) for each in value]
        case np.generic() | BaseModel():
            return _without_nan(_plain(value))
    return value


# Text stays as it is, so that names can be read; a lone surrogate, which UTF-8 lacks, becomes a question mark.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)

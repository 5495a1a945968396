"""Decides once more what a log says was decided, from the poses in it, and compares bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from poseloop_server.loop.decision import Decision
from poseloop_server.loop.pose import LoopPose
from poseloop_server.record.differences import ReplayResult
from poseloop_server.record.encode import decision_line, packed
from poseloop_server.record.entries import (
    Armed,
    Closed,
    DecisionEntry,
    Ended,
    Lost,
    PoseEntry,
    StreamOpened,
)
from poseloop_server.record.reader import DamagedLogError, Line, Log


class Told(Protocol):
    """What a loop says after an end: a `poseloop_server.loop.decision.Ending`."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """What was decided at it."""


class Stepped(Told, Protocol):
    """What a loop says after a pose: a `poseloop_server.loop.decision.Step`."""

    @property
    def pose(self) -> LoopPose:
        """How the pose goes on."""


class Loop(Protocol):
    """A `poseloop_server.loop.chain.StreamLoop`."""

    def process(self, pose: LoopPose, decided_ns: int | None = None) -> Stepped:
        """Decide at a pose."""

    def arm(self, trigger: str | None, armed: bool) -> None:
        """Arm or disarm a trigger, or all, from the next pose on."""

    def end(self, reason: str, time_ns: int) -> Told:
        """End what the triggers are about."""

    def reset(self) -> None:
        """Begin another stream of the same name."""


MakeLoop = Callable[[StreamOpened], Loop]
"""Makes the loop of a stream, as it is at the start of the experiment; raises InvalidInputError."""


def replay(log: Log, make: MakeLoop, on_pose: Callable[[int], None] = lambda _: None) -> ReplayResult:
    """Feed the poses of a log to loops made anew, and compare what they decide with what the log says.

    Args:
        log: to read.
        make: makes a stream's loop.
        on_pose: called now and then with the number of poses so far.

    Raises:
        DamagedLogError: the log can't be read to its end, or holds what no log can.
        InvalidInputError: from ``make``.
    """
    result = ReplayResult()
    streams: dict[str, _Stream] = {}
    made: dict[
        tuple[str, tuple[str, ...]], _Stream
    ] = {}  # a name may come back with other keypoints, and again with these
    for group in _grouped(log):
        entry = group.cause.entry
        match entry:
            case StreamOpened():
                streams[entry.stream] = _opened(made, entry, make)
            case PoseEntry() | Armed() | Ended():
                stream = streams.get(entry.stream)
                if stream is not None and stream.known:
                    stream.take(log, group, result)
                elif isinstance(entry, PoseEntry):
                    result.not_compared[entry.stream] = result.not_compared.get(entry.stream, 0) + 1
            case Lost():
                result.lost += sum(entry.entries.values())
                for name in entry.streams:
                    streams.setdefault(name, _Stream(None, ())).known = False
                for (name, _), one in made.items():
                    one.known = one.known and name not in entry.streams
            case DecisionEntry():
                result.add(group.cause.number, entry.stream, _shown(group.cause.raw), "nothing")
            case Closed():
                result.closed = True
                _check_sums(group.cause.number, entry, result)
        result.lines[entry.kind] = result.lines.get(entry.kind, 0) + 1
        if group.decisions:
            result.lines["decision"] = result.lines.get("decision", 0) + len(group.decisions)
        if result.poses % 5000 == 0:
            on_pose(result.poses)
    result.torn = log.torn
    return result


def _check_sums(number: int, entry: Closed, result: ReplayResult) -> None:
    """Compare how many lines of each kind the log says it has with how many it has."""
    there = {"header": 1, **result.lines}
    for kind in sorted({*entry.lines, *there}):
        logged, found = entry.lines.get(kind, 0), there.get(kind, 0)
        if logged != found:
            result.add(number, "", f"{logged} lines of the kind {kind}", f"there are {found}")


def _opened(made: dict[tuple[str, tuple[str, ...]], _Stream], entry: StreamOpened, make: MakeLoop) -> _Stream:
    """Return what goes on, or begins, where a stream is opened."""
    key = (entry.stream, entry.keypoints)
    before = made.get(key)
    if not entry.continues:
        before = made[key] = _Stream(make(entry), entry.keypoints)
    elif before is None:
        before = made[key] = _Stream(None, entry.keypoints)
    elif before.loop is not None:
        before.loop.reset()
    return before


class _Stream:
    """The loop of a stream, made anew."""

    def __init__(self, loop: Loop | None, names: tuple[str, ...]) -> None:
        self.loop = loop
        self.names = names
        self.known = loop is not None  # whether it knows all that the first one knew

    def take(self, log: Log, group: _Group, result: ReplayResult) -> None:
        """Do what was done then, and compare what comes of it."""
        loop, entry = self.loop, group.cause.entry
        if loop is None:
            return
        match entry:
            case PoseEntry():
                step = loop.process(self._pose(log, group.cause.number, entry), entry.decided_ns)
                result.poses += 1
                self._compare_pose(group.cause.number, entry, step.pose, result)
                _compare(group, entry.stream, (entry.sequence, entry.decided_ns), step.decisions, result)
            case Armed():
                loop.arm(entry.trigger or None, entry.armed)
            case Ended():
                told = loop.end(entry.reason, entry.time_ns)
                _compare(group, entry.stream, (None, entry.time_ns), told.decisions, result)

    def _pose(self, log: Log, number: int, entry: PoseEntry) -> LoopPose:
        try:
            keypoints = entry.points(len(self.names)).astype(np.float32)
        except ValueError as error:
            raise DamagedLogError(f"{log.path}:{number}: the keypoints can't be read: {error}") from None
        return LoopPose(
            stream=entry.stream,
            sequence=entry.sequence,
            captured_ns=entry.captured_ns,
            decided_ns=entry.inference_ended_ns,
            time_ns=entry.captured_ns,
            width=entry.width,
            height=entry.height,
            names=self.names,
            keypoints=keypoints,
            values=dict(entry.values),
            doubts=list(entry.doubts),
        )

    def _compare_pose(self, number: int, entry: PoseEntry, pose: LoopPose, result: ReplayResult) -> None:
        logged = entry.staged_points(len(self.names))
        replayed = packed(pose.keypoints)
        if logged.tobytes() != replayed:
            shown = np.frombuffer(replayed, "<f4").reshape(-1, len(self.names), 3)
            what = f"frame {entry.sequence}: keypoints after the stages "
            result.add(number, entry.stream, f"{what}{logged.tolist()}", f"{what}{shown.tolist()}")
        elif (entry.keypoints_ns or entry.captured_ns) != pose.time_ns:
            what = f"frame {entry.sequence}: keypoints of the time "
            logged_ns = entry.keypoints_ns or entry.captured_ns
            result.add(number, entry.stream, f"{what}{logged_ns}", f"{what}{pose.time_ns}")


def _compare(
    group: _Group, stream: str, at: tuple[int | None, int], replayed: Sequence[Decision], result: ReplayResult
) -> None:
    """Compare decisions made now at a frame and time with those in the log, as the bytes of their lines."""
    result.decisions += len(group.decisions)
    if group.is_last:  # the process may have ended before all decisions were written
        replayed = replayed[: len(group.decisions)]
    for number in range(max(len(group.decisions), len(replayed))):
        line = group.decisions[number] if number < len(group.decisions) else None
        then = line.raw if line else b""
        now = decision_line(stream, *at, replayed[number]) if number < len(replayed) else b""
        if then != now:
            result.add(line.number if line else group.cause.number, stream, _shown(then), _shown(now))


@dataclass(frozen=True, slots=True)
class _Group:
    """A line with the decisions that were made at what it says; nothing follows the last one."""

    cause: Line
    decisions: list[Line]
    is_last: bool


def _grouped(log: Log) -> Iterator[_Group]:
    cause: Line | None = None
    decisions: list[Line] = []
    for line in log.lines():
        awaited = getattr(cause.entry, "decisions", 0) - len(decisions) if cause else 0
        if isinstance(line.entry, DecisionEntry) and awaited > 0:
            decisions.append(line)
            continue
        if cause is not None:
            yield _Group(cause, decisions, False)
        cause, decisions = line, []
    if cause is not None:
        yield _Group(cause, decisions, True)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip() or "nothing"

"""What a report shows, gathered from a log in one pass; of a pose it keeps 12 bytes, whatever the length."""

from __future__ import annotations

import re

from poseloop_server.loop.decision import Edge
from poseloop_server.outputs.base import Status
from poseloop_server.record.entries import (
    Account,
    Armed,
    Closed,
    DecisionEntry,
    Ended,
    Lost,
    ModelSwapped,
    OutcomeEntry,
    PoseEntry,
    Problem,
    StreamClosed,
    StreamOpened,
)
from poseloop_server.record.reader import DamagedLogError, Log
from poseloop_server.record.report.findings import Findings, OutputCommands, StreamPoses, TriggerEvents
from poseloop_server.record.report.latencies import Latencies
from poseloop_server.record.report.places import PlacesOf

SHAM = "sham"
NO_OUTCOME = "no outcome in the log"
MOST_PROBLEMS = 200
_DELIVERED = (Status.SENT, Status.ACKNOWLEDGED)


def collect(log: Log) -> Findings:
    """Read a log.

    Raises:
        DamagedLogError: it can't be read to its end.
    """
    return _Collector(log).run()


class _Collector:
    def __init__(self, log: Log) -> None:
        self._log = log
        start_ns = log.header.started_ns
        self._found = Findings(log.header, start_ns, start_ns)
        self._places_of = PlacesOf(log.header)
        self._latencies = Latencies(log.header)
        self._awaited: dict[tuple[str, int], tuple[DecisionEntry, str]] = {}  # commands: their decision and output
        self._early: dict[tuple[str, int], OutcomeEntry] = {}  # those that came before their decision

    def run(self) -> Findings:
        found = self._found
        for line in self._log.lines():
            found.lines += 1
            match line.entry:
                case PoseEntry() as entry:
                    self._pose(entry, line.number)
                case DecisionEntry() as entry:
                    self._decision(entry)
                case OutcomeEntry() as entry:
                    self._outcome(entry)
                case Closed() as entry:
                    found.closed = entry
                    self._until(entry.time_ns)
                case Account() | StreamClosed() as entry:
                    self._account(entry)
                case StreamOpened() as entry:
                    self._opened(entry)
                case Lost() as entry:
                    self._lost(entry)
                case Problem() as entry:
                    found.problems += 1
                    self._remark(entry.time_ns, f"{entry.where}: {entry.message}")
                case ModelSwapped() as entry:
                    model = self._made_by(entry)
                    self._remark(entry.time_ns, f"stream {entry.stream}: {model} has taken over")
                case Armed() | Ended() as entry:
                    self._remark(entry.time_ns, _told(entry))
        self._finish()
        return found

    def _pose(self, entry: PoseEntry, number: int) -> None:
        stream = self._found.streams.setdefault(entry.stream, StreamPoses())
        self._gap(stream, entry)
        stream.doubtful += bool(entry.doubts)
        stream.captured_ns.append(entry.captured_ns)
        stream.age_ms.append((entry.published_ns - entry.captured_ns) / 1e6)
        places = self._found.places.get(entry.stream)
        if places is not None:
            try:
                places.add(entry)
            except ValueError as error:
                raise DamagedLogError(f"{self._log.path}:{number}: the keypoints can't be read: {error}") from None
        self._until(entry.published_ns)

    def _gap(self, stream: StreamPoses, entry: PoseEntry) -> None:
        """Note what is left out between a stream's last pose and this one."""
        if not stream.captured_ns:
            self._found.first_ns = min(self._found.first_ns, entry.captured_ns)
        skipped = stream.sessions.pose(entry.sequence, entry.captured_ns, stream.clock_uncertainty_ns)
        unlogged = min(skipped, stream.lost_poses)
        stream.lost_poses = 0
        if unlogged:
            stream.unlogged.append((entry.captured_ns, unlogged))
        elif stream.captured_ns:
            stream.longest_pause_ns = max(stream.longest_pause_ns, entry.captured_ns - stream.captured_ns[-1])
        if skipped > unlogged:
            stream.missing.append((entry.captured_ns, skipped - unlogged))

    def _lost(self, entry: Lost) -> None:
        entries = sum(entry.entries.values())
        self._found.lost += entries
        for name in entry.streams:
            self._found.streams.setdefault(name, StreamPoses()).lost_poses += entry.entries.get("pose", 0)
        self._remark(entry.from_ns, f"{entries} entries of the log were lost")

    def _opened(self, entry: StreamOpened) -> None:
        stream = self._found.streams.setdefault(entry.stream, StreamPoses())
        model = self._made_by(entry)
        stream.sessions.open(entry.continues)
        places = self._found.places.get(entry.stream)
        if places is None or places.names != entry.keypoints:
            self._found.places[entry.stream] = self._places_of.stream(entry.stream, entry.keypoints)
        for name in self._places_of.triggers(entry.stream):
            self._found.triggers.setdefault((entry.stream, name), TriggerEvents())
        self._remark(entry.time_ns, f"stream {entry.stream} was opened, model {model}")

    def _made_by(self, entry: StreamOpened | ModelSwapped) -> str:
        """Note which model makes a stream's poses from here on, and return how it is called."""
        models = self._found.streams.setdefault(entry.stream, StreamPoses()).models
        model = f"{entry.model} {entry.model_sha256[:12]}"
        if models[-1:] != [model]:
            models.append(model)
        return model

    def _account(self, entry: Account | StreamClosed) -> None:
        stream = self._found.streams.setdefault(entry.stream, StreamPoses())
        if entry.counters:
            stream.sessions.account(entry.counters)
        stream.clock_uncertainty_ns = max(stream.clock_uncertainty_ns, entry.clock_uncertainty_ns)
        if isinstance(entry, StreamClosed):
            self._remark(entry.time_ns, f"stream {entry.stream} was closed{_because(entry.reason)}")

    def _decision(self, entry: DecisionEntry) -> None:
        trigger = self._found.triggers.setdefault((entry.stream, entry.trigger), TriggerEvents())
        if entry.edge is Edge.RISE:
            if entry.fired:
                trigger.fired_ns.append(entry.decided_ns)
                trigger.since_ns = entry.decided_ns
                if entry.stream in self._found.places:
                    self._found.places[entry.stream].mark_fired()
            elif entry.reason == SHAM:
                trigger.sham_ns.append(entry.decided_ns)
            else:
                trigger.suppressed_ns.append(entry.decided_ns)
                trigger.reasons[_kind_of(entry.reason)] += 1
        elif entry.edge is Edge.WHILE:
            trigger.repeats += entry.fired
        elif trigger.since_ns is not None:
            trigger.active.append((trigger.since_ns, entry.decided_ns))
            trigger.since_ns = None
        for command in entry.commands:
            key = (entry.stream, command.number)
            if outcome := self._early.pop(key, None):
                self._delivered(outcome, entry)
            else:
                self._awaited[key] = (entry, command.output)
        self._until(entry.decided_ns)

    def _outcome(self, entry: OutcomeEntry) -> None:
        key = (entry.stream, entry.number)
        decision, _ = self._awaited.pop(key, (None, ""))
        self._count(entry.stream, entry.trigger, entry.output, entry.status.value)
        if entry.status not in _DELIVERED:
            self._found.undelivered.append((entry.decided_ns, entry.status.value))
        if decision is None:
            self._early[key] = entry
        else:
            self._delivered(entry, decision)
        self._until(entry.acknowledged_ns or entry.sent_ns or entry.decided_ns)

    def _delivered(self, entry: OutcomeEntry, decision: DecisionEntry | None) -> None:
        """Note how long a command took, if it was delivered; its decision tells whether that was since a capture."""
        if entry.status in _DELIVERED:
            by_pose = None if decision is None else decision.sequence is not None
            self._latencies.add(self._found.outputs[entry.output], entry, by_pose)

    def _count(self, stream: str, trigger: str, output: str, status: str) -> None:
        self._found.outputs.setdefault(output, OutputCommands()).statuses[status] += 1
        if trigger:
            self._found.triggers.setdefault((stream, trigger), TriggerEvents()).commands[status] += 1

    def _remark(self, time_ns: int, text: str) -> None:
        if len(self._found.remarks) < MOST_PROBLEMS:
            self._found.remarks.append((time_ns, text))
        self._until(time_ns)

    def _until(self, time_ns: int) -> None:
        self._found.last_ns = max(self._found.last_ns, time_ns)

    def _finish(self) -> None:
        found = self._found
        found.torn = self._log.torn
        for decision, output in self._awaited.values():
            self._count(decision.stream, decision.trigger, output, NO_OUTCOME)
            found.undelivered.append((decision.decided_ns, NO_OUTCOME))
        for outcome in self._early.values():
            self._delivered(outcome, None)
        for trigger_events in found.triggers.values():
            if trigger_events.since_ns is not None:
                trigger_events.active.append((trigger_events.since_ns, found.last_ns))
        for places in found.places.values():
            places.finish()


def _told(entry: Armed | Ended) -> str:
    if isinstance(entry, Ended):
        return f"what was active in stream {entry.stream} was ended{_because(entry.reason)}"
    which = f"trigger {entry.trigger}" if entry.trigger else "all triggers"
    return f"{which} of stream {entry.stream}: {'armed' if entry.armed else 'disarmed'}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _kind_of(reason: str) -> str:
    """Return a reason without what differs from case to case."""
    return re.sub(r"^no pose for \d+ ms$", "no pose for too long", reason.partition(":")[0])

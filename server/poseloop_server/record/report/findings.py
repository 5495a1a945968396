"""What a report shows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from poseloop_server.record.entries import Closed, Header
from poseloop_server.record.report.places import Places
from poseloop_server.record.report.sessions import StreamSessions


@dataclass(slots=True)
class StreamPoses:
    """The poses of a stream: times in nanoseconds, and how old each was when published, in milliseconds."""

    captured_ns: array[int] = field(default_factory=lambda: array("q"))
    age_ms: array[float] = field(default_factory=lambda: array("f"))
    missing: list[tuple[int, int]] = field(default_factory=list)  # when, and how many frames have no pose
    unlogged: list[tuple[int, int]] = field(default_factory=list)  # when, and how many poses the log itself lost
    longest_pause_ns: int = 0
    doubtful: int = 0
    sessions: StreamSessions = field(default_factory=StreamSessions)
    lost_poses: int = 0  # that the log lost since the last pose, of this stream or of others with it
    clock_uncertainty_ns: int = 0
    models: list[str] = field(default_factory=list)  # that made its poses, in order

    @property
    def counters(self) -> Mapping[str, int]:
        """The account over all sessions."""
        return self.sessions.sums()


@dataclass(slots=True)
class TriggerEvents:
    """What a trigger did: times in nanoseconds."""

    fired_ns: list[int] = field(default_factory=list)
    sham_ns: list[int] = field(default_factory=list)
    suppressed_ns: list[int] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    active: list[tuple[int, int]] = field(default_factory=list)  # from a rise that fired to its fall
    since_ns: int | None = None
    commands: Counter[str] = field(default_factory=Counter)  # by what became of them


@dataclass(slots=True)
class OutputCommands:
    """What became of an output's commands; durations in milliseconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)  # of the durations, though they were sent: by why
    sent_at_ns: array[int] = field(default_factory=lambda: array("q"))
    to_decided: array[float] = field(default_factory=lambda: array("d"))
    to_sent: array[float] = field(default_factory=lambda: array("d"))
    to_acknowledged: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class Findings:
    """All that a report shows.

    Attributes:
        header: of the log.
        first_ns: where the time axis begins: the start, or the first capture where that is earlier.
        last_ns: the latest time in the log.
        streams: by name.
        triggers: by stream and name, all that are configured or decided anything.
        outputs: by name.
        undelivered: when which command did not get there, as time and status.
        places: where keypoints were, by stream.
        remarks: problems, arming, swaps and the like: time and text.
        problems: how many entries of problems there are.
        lost: entries that the log lacks.
        closed: the closing line.
        torn: whether the last line is not whole.
        lines: how many lines were read.
    """

    header: Header
    first_ns: int
    last_ns: int
    streams: dict[str, StreamPoses] = field(default_factory=dict)
    triggers: dict[tuple[str, str], TriggerEvents] = field(default_factory=dict)
    outputs: dict[str, OutputCommands] = field(default_factory=dict)
    undelivered: list[tuple[int, str]] = field(default_factory=list)
    places: dict[str, Places] = field(default_factory=dict)
    remarks: list[tuple[int, str]] = field(default_factory=list)
    problems: int = 0
    lost: int = 0
    closed: Closed | None = None
    torn: bool = False
    lines: int = 1

    @property
    def poses(self) -> int:
        """Of all streams."""
        return sum(len(stream.captured_ns) for stream in self.streams.values())

"""The lines of a log, one model a kind; docs/record.md describes each field.

Times are nanoseconds of the server's monotonic clock. A number that JSON lacks is a text: ``"NaN"``, ``"Infinity"`` or
``"-Infinity"``. Keys that a reader does not know are passed over, so that a later version may add some.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from poseloop_server.loop.decision import Edge
from poseloop_server.outputs.base import Status

FORMAT = 1
"""What this version writes, and the newest that it reads."""

Count = Annotated[int, Field(ge=0)]
Nanoseconds = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelFile(_Entry):
    """A model that the server had at the start."""

    name: str
    sha256: str


class CodeFile(_Entry):
    """A file of the user's own stages."""

    path: str = Field(description="from the configuration's folder on; of a file elsewhere the whole path")
    sha256: Sha256


class Header(_Entry):
    """The first line: everything that the rest depends on."""

    kind: Literal["header"]
    format: int
    experiment: str
    started_utc: datetime = Field(description="wall time of started_ns")
    started_ns: Nanoseconds
    clock_id: str = Field(description="of the monotonic clock: stamps of logs that agree in it may be compared")
    server_id: str
    configuration: dict[str, Any] = Field(description="as read: its text, and all values with defaults")
    files: tuple[CodeFile, ...] = ()
    models: tuple[ModelFile, ...] = ()
    versions: dict[str, str] = Field(description="poseloop, Python, NumPy, ONNX Runtime")
    platform: str


class StreamOpened(_Entry):
    """A stream was opened; its poses follow."""

    kind: Literal["stream_opened"]
    time_ns: Nanoseconds
    stream: str
    model: str
    model_sha256: str
    keypoints: tuple[str, ...] = Field(description="names, in the order of their axis")
    continues: bool = Field(description="what triggers know of an earlier stream of this name goes on, such as limits")
    files: tuple[CodeFile, ...] = Field((), description="of own stages that were loaded since the start")


class ModelSwapped(_Entry):
    """Another version of the model makes the stream's poses from here on."""

    kind: Literal["model_swapped"]
    time_ns: Nanoseconds
    stream: str
    model: str
    model_sha256: str


class StreamClosed(_Entry):
    """A stream was closed, with the sums of its account."""

    kind: Literal["stream_closed"]
    time_ns: Nanoseconds
    stream: str
    reason: str
    counters: dict[str, int] = {}
    clock_uncertainty_ns: Count = Field(0, description="captured_ns of its poses was wrong by no more")
    stage_failures: dict[str, Count] = Field({}, description="how many poses each stage failed on so far")


class PoseEntry(_Entry):
    """One pose as it entered the stages, and how it left them where they changed it."""

    kind: Literal["pose"]
    stream: str
    sequence: Count
    captured_ns: Nanoseconds
    received_ns: Nanoseconds
    inference_started_ns: Nanoseconds
    inference_ended_ns: Nanoseconds
    decided_ns: Nanoseconds
    published_ns: Nanoseconds
    width: Count = Field(description="of the frame, in pixels")
    height: Count = Field(description="of the frame, in pixels")
    keypoints: str = Field(description="base64 of little-endian float32: x, y, confidence of each")
    staged: str | None = Field(None, description="the same after the stages; none: nothing was changed")
    keypoints_ns: Nanoseconds | None = Field(None, description="the time that staged is of; none: captured_ns")
    values: dict[str, float] = Field({}, description="quantities that a replay cannot compute")
    doubts: tuple[str, ...] = Field((), description="why it must not fire, known before the stages")
    decisions: Count = Field(0, description="how many lines follow that tell what was decided at it")

    def points(self, names: int) -> NDArray[np.float32]:
        """Return the keypoints before the stages, float32 ``(instances, names, 3)``, read-only.

        Args:
            names: how many keypoints the model has.

        Raises:
            ValueError: the text is no base64, or does not hold whole instances.
        """
        return unpacked(self.keypoints, names)

    def staged_points(self, names: int) -> NDArray[np.float32]:
        """Return the keypoints after the stages; otherwise as `points`."""
        return unpacked(self.keypoints if self.staged is None else self.staged, names)


class Armed(_Entry):
    """A trigger was armed or disarmed."""

    kind: Literal["armed"]
    time_ns: Nanoseconds
    stream: str
    trigger: str
    armed: bool
    decisions: Count = 0


class Ended(_Entry):
    """What the triggers of a stream were about was ended: it paused or was closed."""

    kind: Literal["ended"]
    time_ns: Nanoseconds
    stream: str
    reason: str
    decisions: Count = 0


class CommandEntry(_Entry):
    """Something that an output was told to do; ``stream`` and ``number`` lead to its outcome."""

    number: Count
    output: str
    action: Any


class DecisionEntry(_Entry):
    """What a trigger decided; it follows its cause: a pose, or that the trigger was disarmed or the stream ended."""

    kind: Literal["decision"]
    stream: str
    sequence: Count | None = Field(description="of the pose; none: no pose was the cause")
    decided_ns: Nanoseconds
    trigger: str
    edge: Edge
    fired: bool
    reason: str
    values: dict[str, float] = Field(description="what the condition was made of, by its text")
    commands: tuple[CommandEntry, ...] = ()


class OutcomeEntry(_Entry):
    """What became of a command."""

    kind: Literal["outcome"]
    stream: str
    number: Count
    output: str
    trigger: str
    sequence: Count
    status: Status
    captured_ns: Nanoseconds
    decided_ns: Nanoseconds
    sent_ns: Nanoseconds | None
    acknowledged_ns: Nanoseconds | None
    message: str = ""


class Account(_Entry):
    """A stream's frames so far, by what became of them."""

    kind: Literal["account"]
    time_ns: Nanoseconds
    stream: str
    counters: dict[str, int]
    clock_uncertainty_ns: Count = Field(0, description="captured_ns of its poses so far is wrong by no more")
    stage_failures: dict[str, Count] = Field({}, description="how many poses each stage failed on so far")


class Problem(_Entry):
    """Something that a person should know of."""

    kind: Literal["problem"]
    time_ns: Nanoseconds
    where: str
    message: str


class Lost(_Entry):
    """Here the log itself lacks entries: the disk was full, or slower than what was to be written."""

    kind: Literal["lost"]
    from_ns: Nanoseconds
    to_ns: Nanoseconds
    entries: dict[str, int] = Field(description="how many, by kind")
    streams: tuple[str, ...] = Field(description="that poses, arming or ends were lost of")


class Closed(_Entry):
    """The last line of an experiment that ended in order."""

    kind: Literal["closed"]
    time_ns: Nanoseconds
    utc: datetime = Field(description="wall time of time_ns")
    reason: str
    lines: dict[str, int] = Field(description="how many of each kind are in the log, this one left out")
    lost: Count = Field(description="entries that are not in the log")


Entry = Annotated[
    PoseEntry
    | DecisionEntry
    | OutcomeEntry
    | Account
    | Armed
    | Ended
    | StreamOpened
    | ModelSwapped
    | StreamClosed
    | Problem
    | Lost
    | Header
    | Closed,
    Field(discriminator="kind"),
]


def unpacked(text: str, names: int) -> NDArray[np.float32]:
    """Return keypoints that are base64, float32 ``(instances, names, 3)``; raises ValueError."""
    try:
        return np.frombuffer(b64decode(text, validate=True), "<f4").reshape(-1, names, 3)
    except binascii.Error as error:
        raise ValueError(f"the keypoints are not base64: {error}") from None

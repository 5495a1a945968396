"""What an output is: something in the world that commands, and poses, are sent to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Protocol

from poseloop.errors import PoseloopError
from pydantic import BaseModel, ConfigDict, Field

from poseloop_server.loop.pose import LoopPose


class OutputUnavailableError(PoseloopError):
    """The device or program behind an output is not there, or went away; the text says which and what to do."""


class OutputConfig(BaseModel):
    """What is written in the configuration under ``outputs: {NAME: {type: TYPE, ...}}``, without the type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        50.0, description="A command that could not be sent this long after its decision is dropped and counted."
    )
    queue_commands: Annotated[int, Field(ge=1, le=100_000)] = Field(
        64, description="Commands that may wait; one more is dropped and counted."
    )
    optional: bool = Field(False, description="Start also where it is not there, and connect when it comes.")


class ActionConfig(BaseModel):
    """What a trigger may ask of an output: ``on_rise: {laser: {pulse_ms: 10}}``, where ``laser`` is the output."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Command:
    """One thing for one output to do.

    Attributes:
        number: counts the commands of a stream, from 1; with the stream, what the record knows it by.
        output: the name it has in the configuration.
        action: validated, an instance of the output's ``action``.
        stream: whose pose caused it.
        trigger: that decided it; "" where no trigger did.
        sequence: of the frame whose pose caused it.
        captured_ns: of that frame, on the server's monotonic clock.
        decided_ns: when it was decided.
    """

    number: int
    output: str
    action: Any
    stream: str
    trigger: str
    sequence: int
    captured_ns: int
    decided_ns: int


class Status(StrEnum):
    """How a command ended."""

    SENT = "sent"  # handed over; this kind of output answers nothing
    ACKNOWLEDGED = "acknowledged"  # the other side confirmed it
    REFUSED = "refused"  # the other side answered that it will not
    DROPPED_LATE = "dropped_late"  # its deadline had passed
    DROPPED_FULL = "dropped_full"  # too many waited
    DROPPED_GONE = "dropped_gone"  # the output was not there
    FAILED = "failed"  # sending it raised


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command; times are nanoseconds of the server's monotonic clock, None: it never came to that.

    ``sent_ns`` is read just before the bytes are handed to the system; ``acknowledged_ns`` when the answer was read.
    """

    command: Command
    status: Status
    sent_ns: int | None = None
    acknowledged_ns: int | None = None
    message: str = ""


class Output(Protocol):
    """One device or program; every call is made by its own thread, and may wait, for its timeouts at most.

    The queue, the deadline, reconnecting and the account are the runner's (`poseloop_server.outputs.runner`), the same
    for every kind.
    """

    config: ClassVar[type[Any]]
    """The pydantic model of its configuration, an `OutputConfig`; it is made as ``Output(name, config)``."""
    action: ClassVar[type[Any]]
    """The pydantic model of what can be asked of it, an `ActionConfig`."""

    def open(self) -> None:
        """Connect. Raises `OutputUnavailableError`."""

    def execute(self, command: Command) -> Outcome:
        """Do what the command asks. Raises `OutputUnavailableError` where the other side is gone."""

    def send_pose(self, pose: LoopPose) -> None:
        """Pass a pose on, where the configuration asks for poses; the newest only, if it can't keep up."""

    def close(self) -> None:
        """Let go, leaving the device in its resting state; may be called at any stage, and twice."""


Report = Callable[[Outcome], None]
"""Called once for every command, by the output's thread, or at once by the caller's where the command was dropped."""

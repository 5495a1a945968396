"""What an output is: something in the world that commands, and poses, are sent to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from poseloop.errors import MissingExtraError, PoseloopError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseloop_server.loop.config_errors import no_truths
from poseloop_server.loop.pose import LoopPose
from poseloop_server.sinks.base import Sink


class OutputUnavailableError(PoseloopError):
    """The device or program behind an output is not there, or went away; the text says which and what to do."""


class UnansweredError(OutputUnavailableError):
    """A command was handed over and its answer did not come, so whether it was done is not known.

    Attributes:
        sent_ns: just before it was handed to the system.
    """

    def __init__(self, message: str, sent_ns: int) -> None:
        super().__init__(message)
        self.sent_ns = sent_ns


@dataclass(frozen=True, slots=True)
class OutputServices:
    """What the server lends its outputs.

    Attributes:
        sink: where messages for subscribers go; it never waits.
        server_id: of this run of the server.
    """

    sink: Sink
    server_id: str


class OutputConfig(BaseModel):
    """What is written in the configuration under ``outputs: {NAME: {type: TYPE, ...}}``, without the type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_is_a_number(cls, values: Any) -> Any:
        return no_truths(cls, values)

    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = Field(
        50.0, description="A command that could not be sent this long after its decision is dropped and counted."
    )
    queue_commands: Annotated[int, Field(ge=1, le=100_000)] = Field(
        64, description="Commands that may wait; one more is dropped and counted."
    )
    optional: bool = Field(False, description="Start also where it is not there, and connect when it comes.")

    @property
    def takes_poses(self) -> bool:
        """Whether it is to be given poses, beside commands."""
        return False

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Keypoints that it names, which the model has to have."""
        return ()


class ActionConfig(BaseModel):
    """What a trigger may ask of an output: ``on_rise: {laser: {pulse_ms: 10}}``, where ``laser`` is the output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_is_a_number(cls, values: Any) -> Any:
        return no_truths(cls, values)

    @property
    def only_ends(self) -> bool:
        """Whether all that it does is to end something; then it is better late than never."""
        return False


class MessageAction(ActionConfig):
    """What is asked of a program, of which only the user knows what it does there."""

    switches_off: bool = Field(
        False,
        description="It only ends something: it is sent however late, and made up for when the output is back.",
    )

    @property
    def only_ends(self) -> bool:
        """As the user says."""
        return self.switches_off


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
        edge: of the trigger's condition that it was given at, as `poseloop_server.loop.decision.Edge` has it.
        values: what the condition was made of; for outputs that pass the cause on.
    """

    number: int
    output: str
    action: Any
    stream: str
    trigger: str
    sequence: int
    captured_ns: int
    decided_ns: int
    edge: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


class Status(StrEnum):
    """How a command ended."""

    SENT = "sent"  # handed over; this kind of output answers nothing
    ACKNOWLEDGED = "acknowledged"  # the other side confirmed it
    REFUSED = "refused"  # the other side answered that it will not, or the action does not fit the configuration
    UNANSWERED = "unanswered"  # handed over, but the answer that it should have had did not come
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


class Output:
    """One device or program. All calls but `prepare` come from its own thread, and may wait for its timeouts at most.

    The queue, the deadline, reconnecting and the account are the runner's (`poseloop_server.outputs.runner`), the same
    for every kind. A kind imports its library where it connects, so that a configuration can be checked, and rehearsed,
    where that is not installed.
    """

    config: ClassVar[type[Any]]
    """The pydantic model of its configuration, an `OutputConfig`."""
    action: ClassVar[type[Any]]
    """The pydantic model of what can be asked of it, an `ActionConfig`."""

    def __init__(self, name: str, config: Any, services: OutputServices) -> None:
        """Take the configuration; nothing is opened yet."""

    def prepare(self, action: Any) -> None:
        """Hear of an action that a trigger may ask for, before `open`, to have the device ready for it.

        Raises:
            InvalidInputError: it does not fit the configuration.
        """

    def switches_off(self, action: Any) -> bool:
        """Return whether an action only ends something: it is sent late, where others are dropped.

        Called by any thread.
        """
        return bool(action.only_ends)

    def open(self) -> None:
        """Connect. Raises `OutputUnavailableError`, and `MissingExtraError` where the library is not installed."""

    def head_start(self, command: Command) -> int | None:  # noqa: ARG002
        """Hand a command to the system at once, where that can be done without waiting.

        Called by the thread that decided it, when nothing is before it and no other call is under way.

        Returns:
            When, just before it was handed over: `finish` does the rest. None: it was not, and `execute` does it all.
        """
        return None

    def finish(self, command: Command, sent_ns: int) -> Outcome:
        """Do what is left of a command after its `head_start`; raises as `execute`."""
        return Outcome(command, Status.SENT, sent_ns=sent_ns)

    def execute(self, command: Command) -> Outcome:
        """Do what the command asks.

        Raises:
            OutputUnavailableError: the other side is gone, and the command was not handed over.
            UnansweredError: it was handed over, but the other side does not answer.
        """
        raise NotImplementedError

    def send_pose(self, pose: LoopPose) -> None:
        """Pass a pose on, where the configuration asks for poses; the newest only, if it can't keep up."""

    def due_ns(self) -> int | None:
        """When `tick` wants to be called, on the server's monotonic clock; None: there is nothing to be done."""
        return None

    def tick(self) -> None:
        """Do what is due by now, such as ending a pulse. Raises `OutputUnavailableError`."""

    def close(self) -> None:
        """Let go, leaving the device in its resting state; may be called at any stage, and twice. Raises nothing."""


Report = Callable[[Outcome], None]
"""Called once for every command, by the output's thread, or at once by the caller's where the command was dropped."""


def library(module: str, what: str) -> Any:
    """Return an optional library's module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not module.startswith((error.name or "?").split(".")[0]):
            raise
        raise MissingExtraError(what, "outputs") from None

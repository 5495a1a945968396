"""The server's own subscribers: a command is an event of its stream, over ZeroMQ, as protobuf and as JSON."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from poseloop.clock import now_ns
from poseloop.v1 import poseloop_pb2 as pb
from pydantic import Field

from poseloop_server.outputs.base import (
    ActionConfig,
    Command,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    Status,
)
from poseloop_server.sinks.base import event_topic


class ZmqEventsConfig(OutputConfig):
    """Events go where the server publishes; there is nothing to be set."""


class ZmqEventsAction(ActionConfig):
    """An event."""

    message: Annotated[str, Field(max_length=1000)] = Field("", description="A text that goes with it.")


class ZmqEventsOutput(Output):
    """Publishes on ``event/<stream>``; a subscriber that is too slow, or gone, misses it."""

    config: ClassVar[type[Any]] = ZmqEventsConfig
    action: ClassVar[type[Any]] = ZmqEventsAction

    def __init__(self, name: str, config: ZmqEventsConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._services = services

    def execute(self, command: Command) -> Outcome:
        """Publish a command with its cause."""
        event = pb.StreamEvent(
            stream=command.stream,
            kind=pb.StreamEvent.KIND_TRIGGERED,
            message=command.action.message,
            server_id=self._services.server_id,
            trigger=pb.Trigger(
                name=command.trigger,
                edge=command.edge,
                output=command.output,
                number=command.number,
                sequence=command.sequence,
                captured_ns=command.captured_ns,
                decided_ns=command.decided_ns,
                values={name: float(value) for name, value in command.values.items()},
            ),
        )
        sent_ns = event.time_ns = now_ns()
        self._services.sink.publish(event_topic(command.stream).encode(), event.SerializeToString())
        return Outcome(command, Status.SENT, sent_ns=sent_ns)

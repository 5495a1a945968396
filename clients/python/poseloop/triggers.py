"""What a server says of its triggers and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from poseloop.v1 import poseloop_pb2 as pb


@dataclass(frozen=True, slots=True)
class TriggerInfo:
    """One trigger of one stream, as it is now.

    Attributes:
        stream, name: which.
        condition: as the configuration has it.
        armed: whether it may fire.
        state: waiting, holding, active or releasing.
        fired: rises whose commands were given.
        suppressed: rises whose commands were not given, by reason.
    """

    stream: str
    name: str
    condition: str
    armed: bool
    state: str
    fired: int
    suppressed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """One output.

    Attributes:
        name, type: as in the configuration.
        connected: whether its device or program is there.
        commands: by how they ended.
    """

    name: str
    type: str
    connected: bool
    commands: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoopInfo:
    """What an experiment on a server does.

    Attributes:
        experiment: its name; "" where the server was started without one.
        record: file of the record, on the server's host; "" where there is none.
        triggers: of the streams that were opened.
        outputs: of the configuration.
    """

    experiment: str
    record: str
    triggers: tuple[TriggerInfo, ...]
    outputs: tuple[OutputInfo, ...]


def loop_info_from_wire(message: pb.ListTriggersResponse) -> LoopInfo:
    """Read what a server says."""
    return LoopInfo(
        experiment=message.experiment,
        record=message.record,
        triggers=tuple(
            TriggerInfo(
                stream=one.stream,
                name=one.trigger,
                condition=one.condition,
                armed=one.armed,
                state=one.state,
                fired=one.fired,
                suppressed={count.name: count.count for count in one.suppressed},
            )
            for one in message.triggers
        ),
        outputs=tuple(
            OutputInfo(one.name, one.type, one.connected, {count.name: count.count for count in one.commands})
            for one in message.outputs
        ),
    )

"""What triggers decide, in the words of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.base import Command


class Edge(StrEnum):
    """When in the life of a condition something was decided."""

    RISE = "rise"  # it has come true, and has held for as long as was asked
    WHILE = "while"  # it goes on being true
    FALL = "fall"  # it is over


@dataclass(frozen=True, slots=True)
class Decision:
    """What one trigger decided at one pose; there is none where nothing happened.

    Attributes:
        trigger: its name.
        edge: that was met.
        fired: whether its commands were given.
        reason: why a rise did not fire, such as ``refractory``, ``sham`` or ``unreliable: snout below 0.6``; why a fall
            came although the condition was not over, such as ``disarmed``; ``sham`` at the fall that follows a sham;
            else "".
        values: what the condition was made of, by its text in the configuration, such as ``{"speed(snout)": 31.2}``.
        commands: given to the outputs, in this order.
    """

    trigger: str
    edge: Edge
    fired: bool
    reason: str
    values: Mapping[str, float]
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Arming:
    """That somebody armed or disarmed a trigger.

    Attributes:
        trigger: its name; "" for all of the stream.
        armed: whether it may fire from now on.
    """

    trigger: str
    armed: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one pose.

    Attributes:
        pose: as it goes on.
        decisions: made at it, in the order of the triggers in the configuration.
        arming: what was asked for since the pose before, and took effect just before this one; a replay asks again.
    """

    pose: LoopPose
    decisions: tuple[Decision, ...]
    arming: tuple[Arming, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """That a stream ended or paused, and its active triggers with it; a replay ends it at the same place.

    Attributes:
        stream: its name.
        reason: as it is given in the decisions.
        decided_ns: when, on the server's monotonic clock.
        decisions: the falls.
        arming: as in `Step`.
    """

    stream: str
    reason: str
    decided_ns: int
    decisions: tuple[Decision, ...]
    arming: tuple[Arming, ...] = ()

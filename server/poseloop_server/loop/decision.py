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
        reason: why not, such as ``refractory`` or ``unreliable: snout below 0.6``; "" where it fired.
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
class Step:
    """What became of one pose: how it goes on, and what was decided at it."""

    pose: LoopPose
    decisions: tuple[Decision, ...]

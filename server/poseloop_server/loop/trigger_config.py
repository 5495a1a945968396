"""What is written in the configuration for a trigger."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseloop_server.loop.config_errors import no_truths
from poseloop_server.loop.registered import Actions, no_actions

Milliseconds = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Part(BaseModel):
    """A part of the configuration: unknown keys are mistakes, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_is_a_number(cls, values: Any) -> Any:
        return no_truths(cls, values)


class AtMost(Part):
    """How often a trigger may rise; shams count, so that those that are sent come as they would without shams."""

    per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="In any 60 seconds.")
    in_all: Annotated[int, Field(ge=1)] | None = Field(None, description="In the experiment.")


class TimeWindow(Part):
    """When a trigger may be active, in seconds since the experiment began."""

    from_s: Seconds = 0.0
    to_s: Seconds | None = Field(None, description="Not included; none: without an end.")

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(
                f"the window ends at to_s: {self.to_s:g}, not after its start at from_s: {self.from_s:g}; "
                "give a later end, or leave to_s out"
            )
        return self

    def holds(self, since_start_ns: int) -> bool:
        """Whether this moment lies in the window."""
        return self._from_ns <= since_start_ns and (self._to_ns is None or since_start_ns < self._to_ns)

    @cached_property
    def _from_ns(self) -> int:
        return round(self.from_s * 1e9)

    @cached_property
    def _to_ns(self) -> int | None:
        return None if self.to_s is None else round(self.to_s * 1e9)


class Repeat(Part):
    """What to do again and again while the condition is true."""

    every_ms: Annotated[float, Field(ge=1, le=86_400_000, allow_inf_nan=False)] = Field(
        description="From the rise on; at the first pose after each."
    )
    do: Actions


class TriggerRules(Part):
    """When a trigger fires: all that `poseloop_server.loop.trigger` needs, without what it looks at and does."""

    hold_ms: Milliseconds = Field(0.0, description="How long the condition must hold, by the frames' times.")
    release_ms: Milliseconds = Field(0.0, description="How long it must be over, by the frames' times.")
    bridge_ms: Milliseconds = Field(0.0, description="Unreliable poses that are passed over, by the frames' times.")
    max_gap_ms: Milliseconds = Field(
        1000.0, description="Without a pose for longer, a hold starts over and an active trigger ends."
    )
    refractory_ms: Milliseconds = Field(0.0, description="After its end it can't rise again for so long.")
    at_most: AtMost = AtMost()
    probability: Share = Field(1.0, description="Of commands being given; the other rises are shams.")
    armed: bool = Field(True, description="At the start.")
    between: tuple[TimeWindow, ...] = Field((), description="When it may be active; none: always.")
    while_true: Repeat | None = None

    @cached_property
    def hold_ns(self) -> int:
        """As ``hold_ms``."""
        return _ns(self.hold_ms)

    @cached_property
    def release_ns(self) -> int:
        """As ``release_ms``."""
        return _ns(self.release_ms)

    @cached_property
    def bridge_ns(self) -> int:
        """As ``bridge_ms``."""
        return _ns(self.bridge_ms)

    @cached_property
    def max_gap_ns(self) -> int:
        """As ``max_gap_ms``."""
        return _ns(self.max_gap_ms)

    @cached_property
    def refractory_ns(self) -> int:
        """As ``refractory_ms``."""
        return _ns(self.refractory_ms)

    @cached_property
    def every_ns(self) -> int:
        """As ``every_ms`` of ``while_true``; 0: nothing is repeated."""
        return _ns(self.while_true.every_ms) if self.while_true else 0


class TriggerConfig(TriggerRules):
    """One trigger: a condition, when it counts, and what to do."""

    when: str = Field(min_length=1, description="The condition; docs/conditions.md has its language.")
    until: str | None = Field(None, min_length=1, description="When it is over; none: as soon as `when` is not true.")
    confidence: Share = Field(0.5, description="That each keypoint of the condition must have at least.")
    max_age_ms: Annotated[float, Field(gt=0, le=86_400_000, allow_inf_nan=False)] = Field(
        100.0, description="From the frame's capture to the decision; a pose that is older never fires."
    )
    on_rise: Actions = Field(default_factory=no_actions)
    on_fall: Actions = Field(default_factory=no_actions)


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)

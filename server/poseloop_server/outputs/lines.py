"""What can be asked of digital lines: a state, a pulse, or a train of pulses."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from poseloop_server.outputs.base import ActionConfig

PulseMs = Annotated[float, Field(gt=0, le=600_000)]


class LineAction(ActionConfig):
    """Switch a line, or pulse it; a pulse that comes while another one runs on its line begins anew."""

    line: Annotated[int, Field(ge=0, le=256)] | None = Field(None, description="Which line; none: the output's first.")
    state: bool | None = Field(None, description="on or off, until it is switched again; ends a train.")
    pulse_ms: PulseMs | None = Field(None, description="How long each pulse is.")
    gap_ms: PulseMs | None = Field(None, description="How long the line is off between two pulses.")
    pulses: Annotated[int, Field(ge=1, le=65_535)] = Field(1, description="How many pulses there are.")

    @property
    def only_ends(self) -> bool:
        """Whether it is ``state: off``."""
        return self.state is False

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        self._check_is_one_thing()
        return self

    def _check_is_one_thing(self) -> None:
        if (self.state is None) == (self.pulse_ms is None):
            raise ValueError("give either `state: on`, `state: off` or `pulse_ms`, such as `pulse_ms: 10`")
        if self.pulse_ms is None and (self.gap_ms is not None or self.pulses != 1):
            raise ValueError("`gap_ms` and `pulses` go with `pulse_ms`; add it, or leave them out")
        if self.pulses > 1 and self.gap_ms is None:
            raise ValueError("several pulses need `gap_ms`, the time between one's end and the next one's beginning")


def steps_ns(action: LineAction, start_ns: int) -> list[tuple[int, bool]]:
    """Return when a train switches its line, and to what, after the rise at ``start_ns``."""
    pulse_ns = round((action.pulse_ms or 0) * 1e6)
    period_ns = pulse_ns + round((action.gap_ms or 0) * 1e6)
    steps = []
    for pulse in range(action.pulses):
        rise_ns = start_ns + pulse * period_ns
        if pulse:
            steps.append((rise_ns, True))
        steps.append((rise_ns + pulse_ns, False))
    return steps

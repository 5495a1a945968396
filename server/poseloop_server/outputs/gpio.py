"""Pins of a Raspberry Pi and of other boards that gpiozero knows; its own threads keep the time of pulses."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, ClassVar

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from pydantic import Field

from poseloop_server.outputs.base import (
    Command,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    OutputUnavailableError,
    Status,
    library,
)
from poseloop_server.outputs.lines import LineAction


class GpioConfig(OutputConfig):
    """Which pins are lines."""

    pins: Annotated[list[int | str], Field(min_length=1, max_length=64)] = Field(
        description="The pin of line 0, of line 1 and so on: BCM numbers such as 17, or names such as BOARD11."
    )
    active_high: bool = Field(True, description="Whether a line that is on has its pin high.")


class GpioOutput(Output):
    """Switches pins."""

    config: ClassVar[type[Any]] = GpioConfig
    action: ClassVar[type[Any]] = LineAction

    def __init__(self, name: str, config: GpioConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._config = config
        self._devices: list[Any] = []
        self._errors: tuple[type[Exception], ...] = (OSError,)

    def prepare(self, action: LineAction) -> None:
        """Check that there is such a line."""
        if (action.line or 0) >= len(self._config.pins):
            raise InvalidInputError(f"there is no line {action.line}; `pins` has 0 to {len(self._config.pins) - 1}")

    def open(self) -> None:
        """Take the pins, with all lines off."""
        gpiozero = library("gpiozero", "A GPIO output")
        self._errors = (OSError, gpiozero.GPIOZeroError)
        self.close()
        for pin in self._config.pins:
            try:
                self._devices.append(
                    gpiozero.DigitalOutputDevice(pin, active_high=self._config.active_high, initial_value=False)
                )
            except self._errors as error:
                self.close()
                raise OutputUnavailableError(
                    f"GPIO pin {pin} can't be used: {error}; on a Raspberry Pi run `pip install lgpio`, and see "
                    "`pinout` for the pins that there are."
                ) from None

    def execute(self, command: Command) -> Outcome:
        """Switch or pulse a line."""
        action: LineAction = command.action
        try:
            self.prepare(action)
        except InvalidInputError as error:
            return Outcome(command, Status.REFUSED, message=str(error))
        if not self._devices:
            raise OutputUnavailableError("The GPIO pins are not open.")
        device = self._devices[action.line or 0]
        sent_ns = now_ns()
        try:
            if action.pulse_ms is not None:
                device.blink(action.pulse_ms / 1e3, (action.gap_ms or 0) / 1e3, action.pulses, background=True)
            elif action.state:
                device.on()
            else:
                device.off()
        except self._errors as error:
            raise OutputUnavailableError(f"GPIO pin {device.pin} can't be switched: {error}.") from None
        return Outcome(command, Status.SENT, sent_ns=sent_ns)

    def close(self) -> None:
        """Switch all lines off and give the pins back."""
        devices, self._devices = self._devices, []
        for device in devices:
            with suppress(*self._errors):
                device.off()
            with suppress(*self._errors):
                device.close()

"""A microcontroller on a serial port: one byte starts what it does, and it keeps the time of its pulses itself."""

from __future__ import annotations

from typing import Any, ClassVar

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError

from poseloop_server.outputs.base import (
    Command,
    Outcome,
    Output,
    OutputServices,
    OutputUnavailableError,
    Status,
    library,
)
from poseloop_server.outputs.serial_config import SerialAction, SerialConfig
from poseloop_server.outputs.serial_device import Answer, Device
from poseloop_server.outputs.serial_link import SerialLink

_IDLE_CHECK_NS = 1_000_000_000


class SerialOutput(Output):
    """Speaks to the sketch of docs/arduino/poseloop_trigger, or writes a user's own bytes."""

    config: ClassVar[type[Any]] = SerialConfig
    action: ClassVar[type[Any]] = SerialAction

    def __init__(self, name: str, config: SerialConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._config = config
        self._raw = config.protocol == "raw"
        self._link: SerialLink | None = None
        self._device = Device(config)
        self._due_ns = 0

    def prepare(self, action: SerialAction) -> None:
        """Check an action, and let the device have its train when the port is opened."""
        if self._raw != (action.write is not None):
            raise InvalidInputError(
                "`write` goes with `protocol: raw`, for a sketch of your own; for ours ask for `state` or `pulse_ms`"
                if action.write is not None
                else "with `protocol: raw` an action says its bytes, such as `write: 0x01`"
            )
        if not self._raw:
            self._device.message(action)

    def switches_off(self, action: SerialAction) -> bool:
        """Return whether an action is ``state: off``, or of raw bytes the ones that are written at the end."""
        return action.only_ends or (action.write is not None and action.write == self._config.rest)

    def open(self) -> None:
        """Open the port and, where our sketch is there, greet it and give it its trains."""
        self._link = SerialLink(self._config, library("serial", "A serial output"))
        if self._raw:
            self._link.write(self._config.rest)  # a server that was killed may have left something on
        else:
            self._device.greet(self._link)
        self._set_due()

    def execute(self, command: Command) -> Outcome:
        """Write a command's bytes, and wait for the device's answer where it gives one."""
        try:
            self.prepare(command.action)
        except InvalidInputError as error:
            return Outcome(command, Status.REFUSED, message=str(error))
        link = self._opened()
        if self._raw:
            sent_ns = now_ns()
            link.write(command.action.write)
            return Outcome(command, Status.SENT, sent_ns=sent_ns)
        return self._outcome(command, self._device.ask(link, self._device.message(command.action)))

    def head_start(self, command: Command) -> int | None:
        """Write a command's byte at once, where the system takes it without waiting."""
        link = self._link
        message = command.action.write if self._raw else self._device.ready_message(command.action)
        if link is None or not message:
            return None
        if not self._raw:
            link.forget_input()
        return link.write_now(message)

    def finish(self, command: Command, sent_ns: int) -> Outcome:
        """Wait for the device's answer to a byte that was written, where it gives one."""
        link = self._opened()
        link.finish_writing()
        if self._raw:
            return Outcome(command, Status.SENT, sent_ns=sent_ns)
        message = self._device.message(command.action)
        return self._outcome(command, self._device.hear(link, message, sent_ns))

    def _outcome(self, command: Command, answer: Answer) -> Outcome:
        self._set_due()
        if answer.refused:
            self._due_ns = 0  # it was reset, and has to be greeted again
        status = Status.REFUSED if answer.refused else Status.ACKNOWLEDGED
        return Outcome(
            command, status, answer.sent_ns, answer.acknowledged_ns, f"at {answer.device_us} us of the device's clock"
        )

    def due_ns(self) -> int | None:
        """When to look whether the device is still there, or to tell it that we are."""
        return self._due_ns

    def tick(self) -> None:
        """Feed the device's watchdog, and notice where the port is gone before a command needs it."""
        if self._due_ns == 0:
            raise OutputUnavailableError(f"The device at {self._config.port} was reset; it is set up again.")
        link = self._opened()
        link.check()
        if self._config.watchdog_ms and not self._raw:
            self._device.keep_alive(link)
        self._set_due()

    def close(self) -> None:
        """Switch all lines off and let go of the port."""
        link, self._link = self._link, None
        if link is None:
            return
        if self._raw:
            link.try_to_write(self._config.rest)
        else:
            self._device.rest(link)
        link.close()

    def _opened(self) -> SerialLink:
        if self._link is None:
            raise OutputUnavailableError(f"The serial port {self._config.port} is not open.")
        return self._link

    def _set_due(self) -> None:
        fed = self._config.watchdog_ms and not self._raw
        self._due_ns = now_ns() + (self._config.watchdog_ms * 1_000_000 // 3 if fed else _IDLE_CHECK_NS)

"""What the server knows of a device that runs our sketch, and how it talks with it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError

from poseloop_server.outputs import device_protocol as wire
from poseloop_server.outputs.base import OutputUnavailableError, UnansweredError
from poseloop_server.outputs.device_protocol import Train
from poseloop_server.outputs.serial_config import SerialAction, SerialConfig
from poseloop_server.outputs.serial_link import SerialLink

_HELLO_EVERY_S = 0.1
_QUIET_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device said, and when; times of the server's monotonic clock, and of the device's own."""

    sent_ns: int
    acknowledged_ns: int
    device_us: int
    refused: bool


class Device:
    """Turns actions into bytes, gives the device its trains, and hears its answers."""

    def __init__(self, config: SerialConfig) -> None:
        self._config = config
        self._trains: dict[Train, int] = {}
        self._told: set[Train] = set()
        self._lines = wire.LINES
        self._greeted = False

    def message(self, action: SerialAction) -> bytes:
        """Return the byte that does it; a new train takes a place among the device's.

        Raises:
            InvalidInputError: there is no such line, or the device can't hold so many different trains.
        """
        line = self._config.line if action.line is None else action.line
        if line >= self._lines:
            raise InvalidInputError(f"there is no line {line}; the device has 0 to {self._lines - 1}")
        if action.pulse_ms is None:
            return bytes(((wire.ON if action.state else wire.OFF) + line,))
        train = Train(line, round(action.pulse_ms * 1e3), round((action.gap_ms or 0) * 1e3), action.pulses)
        if train not in self._trains:
            if len(self._trains) == wire.TRAINS:
                raise InvalidInputError(f"the device holds {wire.TRAINS} different pulses and trains; use fewer")
            self._trains[train] = len(self._trains)
        return bytes((wire.START + self._trains[train],))

    def greet(self, link: SerialLink) -> None:
        """Wait until the device answers, check its version, and tell it the watchdog and all trains.

        Raises:
            OutputUnavailableError: nothing answers, or it is not our sketch.
        """
        self._greeted = False
        self._lines = self._hello(link)
        self._greeted = True
        self._told.clear()
        for train in self._trains:
            if train.line >= self._lines:
                raise InvalidInputError(f"there is no line {train.line}; the device has 0 to {self._lines - 1}")
        if self._config.watchdog_ms:
            self._must(link, wire.watchdog(self._config.watchdog_ms))
        self._tell_trains(link)

    def ask(self, link: SerialLink, message: bytes) -> Answer:
        """Send a message and return the answer.

        Raises:
            UnansweredError: none came.
        """
        self._tell_trains(link)
        return self._ask(link, message)

    def ready_message(self, action: SerialAction) -> bytes | None:
        """Return the byte that does an action for which the device has all that it needs; None: it has not."""
        try:
            message = self.message(action)
        except InvalidInputError:
            return None
        return message if len(self._told) == len(self._trains) else None

    def keep_alive(self, link: SerialLink) -> None:
        """Tell the device that we are there."""
        link.write(bytes((wire.ALIVE,)))

    def rest(self, link: SerialLink) -> None:
        """Switch everything off, where the device is ours and still hears."""
        try:
            if self._greeted:
                self._ask(link, bytes((wire.REST,)))
        except OutputUnavailableError:
            return

    def _hello(self, link: SerialLink) -> int:
        """Greet until it answers; returns how many lines it has."""
        deadline = time.monotonic() + self._config.start_timeout_s
        expected = bytes((wire.DONE | wire.HELLO,))
        while time.monotonic() < deadline:
            link.forget_input()
            link.write(bytes((wire.HELLO,)))
            answer = link.read(wire.ANSWER_BYTES + wire.HELLO_BYTES, _HELLO_EVERY_S)
            if len(answer) == wire.ANSWER_BYTES + wire.HELLO_BYTES and answer.startswith(expected):
                self._check(answer[wire.ANSWER_BYTES :])
                while link.read(64, _QUIET_S):  # answers to greetings that it heard before it had started
                    pass
                return answer[-1]
        raise OutputUnavailableError(
            f"Nothing that speaks our protocol answers at {self._config.port}; load docs/arduino/poseloop_trigger onto "
            f"it, with {self._config.baud} baud, or use `protocol: raw` for a sketch of your own."
        )

    def _check(self, hello: bytes) -> None:
        if hello[:2] != b"PL":
            raise OutputUnavailableError(
                f"The device at {self._config.port} is not one of ours; load our sketch onto it."
            )
        if hello[2] != wire.VERSION:
            raise OutputUnavailableError(
                f"The sketch at {self._config.port} speaks version {hello[2]} of the protocol, and this server "
                f"{wire.VERSION}; load the sketch that comes with it."
            )

    def _tell_trains(self, link: SerialLink) -> None:
        if len(self._told) == len(self._trains):
            return
        for train, place in self._trains.items():
            if train not in self._told:
                self._must(link, wire.configure(place, train))
                self._told.add(train)

    def _must(self, link: SerialLink, message: bytes) -> None:
        if self._ask(link, message).refused:
            raise OutputUnavailableError(
                f"The device at {self._config.port} does not take its settings; is it the sketch of this version?"
            )

    def _ask(self, link: SerialLink, message: bytes) -> Answer:
        link.forget_input()
        sent_ns = now_ns()
        link.write(message)
        return self.hear(link, message, sent_ns)

    def hear(self, link: SerialLink, message: bytes, sent_ns: int) -> Answer:
        """Return the answer to a message that was sent.

        Raises:
            UnansweredError: none came.
        """
        answer = link.read(1)
        acknowledged_ns = now_ns()
        answer += link.read(wire.ANSWER_BYTES - 1) if answer else b""
        if len(answer) < wire.ANSWER_BYTES or answer[0] not in {wire.DONE | message[0], wire.REFUSED}:
            raise UnansweredError(
                f"The device at {self._config.port} did not answer within {self._config.answer_timeout_ms:g} ms.",
                sent_ns,
            )
        return Answer(sent_ns, acknowledged_ns, wire.answer_us(answer), answer[0] == wire.REFUSED)

"""An open serial port, whose errors are sentences."""

from __future__ import annotations

import errno
import os
from typing import Any

from poseloop.clock import now_ns

from poseloop_server.outputs.base import OutputUnavailableError
from poseloop_server.outputs.serial_config import SerialConfig

_WRITE_TIMEOUT_S = 0.2


class SerialLink:
    """Bytes to and from a port; every call raises `OutputUnavailableError` where the port is gone.

    Args:
        config: names the port.
        library: the module ``serial`` of pyserial.
    """

    def __init__(self, config: SerialConfig, library: Any) -> None:
        self._name = config.port
        self._unwritten = b""
        # What pyserial lets through where a device is pulled out: its own error, or the system's.
        self._errors = (library.SerialException, OSError, TypeError)
        try:
            self._port = library.Serial(
                config.port,
                config.baud,
                timeout=config.answer_timeout_ms / 1e3,
                write_timeout=_WRITE_TIMEOUT_S,
                exclusive=True,
            )
        except (library.SerialException, OSError, ValueError) as error:
            raise OutputUnavailableError(why_not(config.port, error)) from None

    def write(self, data: bytes) -> None:
        """Hand bytes to the system."""
        try:
            self._port.write(data)
        except self._errors as error:
            raise self._gone(error) from None

    def write_now(self, data: bytes) -> int | None:
        """Hand bytes to the system if it takes them without waiting; return when, or None where it does not.

        Where it takes a part, `finish_writing` has to write the rest.
        """
        if not hasattr(self._port, "fd"):  # pyserial's port is not a file on Windows
            return None
        sent_ns = now_ns()
        try:
            taken = os.write(self._port.fd, data)  # opened by pyserial so that it never waits
        except (OSError, TypeError):  # the thread of the output will find out why
            return None
        self._unwritten = data[taken:]
        return sent_ns if taken else None

    def finish_writing(self) -> None:
        """Write what `write_now` could not."""
        rest, self._unwritten = self._unwritten, b""
        if rest:
            self.write(rest)

    def read(self, count: int, timeout_s: float | None = None) -> bytes:
        """Return so many bytes, or fewer where they don't come in time; None: the configuration's time."""
        try:
            if timeout_s is None:
                return bytes(self._port.read(count))
            usual, self._port.timeout = self._port.timeout, timeout_s
            try:
                return bytes(self._port.read(count))
            finally:
                self._port.timeout = usual
        except self._errors as error:
            raise self._gone(error) from None

    def forget_input(self) -> None:
        """Drop what came in and was not read."""
        try:
            self._port.reset_input_buffer()
        except self._errors as error:
            raise self._gone(error) from None

    def check(self) -> None:
        """Notice where the port is gone."""
        try:
            _ = self._port.in_waiting
        except self._errors as error:
            raise self._gone(error) from None

    def try_to_write(self, data: bytes) -> None:
        """Write what may not arrive any more."""
        if data:
            try:
                self._port.write(data)
            except self._errors:
                return

    def close(self) -> None:
        """Let go of the port."""
        try:
            self._port.close()
        except self._errors:
            return

    def _gone(self, error: Exception) -> OutputUnavailableError:
        return OutputUnavailableError(
            f"The serial port {self._name} is gone ({error}); plug the device in again, and it goes on by itself."
        )


def why_not(port: str, error: Exception) -> str:
    """Return why a port can not be opened, and what to do, in a sentence."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or "FileNotFoundError" in text:
        return f"There is no serial port {port}; {_those_there_are()}."
    if number in {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY}:
        return (
            f"The serial port {port} is in use by another program, such as the Arduino IDE's monitor; close it there."
        )
    if number == errno.EACCES or "PermissionError" in text:
        return (
            f"The serial port {port} may not be opened, or another program has it; on Linux run "
            "`sudo usermod -aG dialout $USER` and log in again, elsewhere close the other program."
        )
    return f"The serial port {port} can't be opened: {text}; {_those_there_are()}."


def _those_there_are() -> str:
    from serial.tools import list_ports

    ports = sorted(
        port.device if port.description in {"n/a", ""} else f"{port.device} ({port.description})"
        for port in list_ports.comports()
    )
    return f"the ports here are {', '.join(ports)}" if ports else "there is none here: is the device plugged in?"

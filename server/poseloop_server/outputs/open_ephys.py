"""Open Ephys: TTL lines, messages and recording, through the text protocol of its Network Events plugin.

The protocol is that of the plugin's Source/NetworkEvents.cpp: one text asks, one text answers (ZeroMQ REQ to REP).
"""

from __future__ import annotations

import heapq
from typing import Any, ClassVar

import zmq
from poseloop.clock import now_ns

from poseloop_server.outputs.base import (
    Command,
    Outcome,
    Output,
    OutputServices,
    OutputUnavailableError,
    Status,
    UnansweredError,
)
from poseloop_server.outputs.lines import steps_ns
from poseloop_server.outputs.open_ephys_config import OpenEphysAction, OpenEphysConfig

_CHECK_NS = 1_000_000_000
_STARTED = {"start": "StartedRecording", "stop": "StoppedRecording"}


class OpenEphysOutput(Output):
    """Asks the plugin, one text at a time; the ends of pulses are sent when they are due, by the output's thread."""

    config: ClassVar[type[Any]] = OpenEphysConfig
    action: ClassVar[type[Any]] = OpenEphysAction

    def __init__(self, name: str, config: OpenEphysConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._config = config
        self._endpoint = f"tcp://{config.host}:{config.port}"
        self._socket: zmq.Socket[bytes] | None = None
        self._steps: list[tuple[int, int, bool]] = []
        self._on: set[int] = set()
        self._check_ns = 0

    def prepare(self, action: OpenEphysAction) -> None:
        """There is nothing to prepare."""

    def open(self) -> None:
        """Connect and ask something; lines that a broken connection left on go off."""
        self._let_go()
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        self._socket = socket
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # while nobody is there, nothing may wait in a queue and be sent late
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            raise OutputUnavailableError(f"{self._endpoint} is no address: {error.strerror}; correct `host`.") from None
        if not socket.poll(self._timeout_ms, zmq.POLLOUT):
            raise OutputUnavailableError(self._absent())
        try:
            answer, _, _ = self._ask("IsAcquiring")
        except UnansweredError as error:
            raise OutputUnavailableError(str(error)) from None
        if answer not in {"0", "1"}:
            raise OutputUnavailableError(
                f"What answers at {self._endpoint} is not the Network Events plugin of Open Ephys; correct `port`."
            )
        for line in sorted(self._on):
            self._switch(line, False)
        self._check_ns = now_ns() + _CHECK_NS

    def execute(self, command: Command) -> Outcome:
        """Send what the action asks, and wait for the answer."""
        action: OpenEphysAction = command.action
        line = self._config.line if action.line is None else action.line
        text = _text(action, line)
        if action.state or action.pulse_ms is not None:
            self._on.add(line)  # even if no answer comes
        answer, sent_ns, acknowledged_ns = self._ask(text)
        fits = answer == _expected(action, line)
        if fits and action.record is None and action.message is None:
            self._follow(action, line, sent_ns)
        return Outcome(
            command,
            Status.ACKNOWLEDGED if fits else Status.REFUSED,
            sent_ns,
            acknowledged_ns,
            "" if fits else f"Open Ephys answered {answer!r} to {text!r}",
        )

    def due_ns(self) -> int | None:
        """When the next pulse ends or begins, or the connection is looked at."""
        return min(self._steps[0][0], self._check_ns) if self._steps else self._check_ns

    def tick(self) -> None:
        """Do what pulses that run have come to."""
        while self._steps and self._steps[0][0] <= now_ns():
            _, line, on = heapq.heappop(self._steps)
            self._switch(line, on)
        if now_ns() >= self._check_ns:
            self._check_ns = now_ns() + _CHECK_NS
            if not self._opened().poll(0, zmq.POLLOUT):
                raise OutputUnavailableError(self._absent())

    def close(self) -> None:
        """Switch off what is on, where the plugin still hears, and let go."""
        self._steps.clear()
        try:
            for line in sorted(self._on):
                self._switch(line, False)
        except OutputUnavailableError:
            pass
        finally:
            self._let_go()

    def _follow(self, action: OpenEphysAction, line: int, rise_ns: int) -> None:
        """Remember how the line goes on."""
        self._steps = [step for step in self._steps if step[1] != line]
        heapq.heapify(self._steps)
        if action.pulse_ms is None:
            (self._on.add if action.state else self._on.discard)(line)
            return
        self._on.add(line)
        for at_ns, on in steps_ns(action, rise_ns):
            heapq.heappush(self._steps, (at_ns, line, on))

    def _switch(self, line: int, on: bool) -> None:
        try:
            self._ask(f"TTL Line={line} State={int(on)}")
        except UnansweredError as error:
            raise OutputUnavailableError(str(error)) from None
        (self._on.add if on else self._on.discard)(line)

    def _ask(self, text: str) -> tuple[str, int, int]:
        """Send a text; returns the answer, when it was sent, and when the answer was read."""
        socket = self._opened()
        if not socket.poll(0, zmq.POLLOUT):
            raise OutputUnavailableError(self._absent())
        sent_ns = now_ns()
        try:
            socket.send(text.encode(), zmq.NOBLOCK)
            if socket.poll(self._timeout_ms, zmq.POLLIN):
                return socket.recv(zmq.NOBLOCK).decode(errors="replace"), sent_ns, now_ns()
        except zmq.ZMQError as error:
            raise OutputUnavailableError(f"{self._absent()} ({error.strerror})") from None
        self._let_go()  # a REQ socket without its answer is of no use any more: the next one asks anew
        raise UnansweredError(
            f"Open Ephys at {self._endpoint} did not answer within {self._config.answer_timeout_ms:g} ms.", sent_ns
        )

    @property
    def _timeout_ms(self) -> int:
        return max(1, round(self._config.answer_timeout_ms))

    def _opened(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            raise OutputUnavailableError(f"There is no connection to Open Ephys at {self._endpoint}.")
        return self._socket

    def _let_go(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close(linger=0)

    def _absent(self) -> str:
        return (
            f"Nothing answers at {self._endpoint}; start Open Ephys with a Network Events plugin in its signal chain, "
            "or correct `host` and `port`."
        )


def _text(action: OpenEphysAction, line: int) -> str:
    if action.message is not None:
        return action.message
    if action.record == "stop":
        return "StopRecord"
    if action.record == "start":
        parts = ["StartRecord"]
        if action.new_folder:
            parts.append("CreateNewDir=1")
        if action.prepend_text:
            parts.append(f"PrependText='{action.prepend_text}'")
        if action.append_text:
            parts.append(f"AppendText='{action.append_text}'")
        return " ".join(parts)
    return f"TTL Line={line} State={int(action.state is not False)}"


def _expected(action: OpenEphysAction, line: int) -> str:
    """Return what the plugin says where it did it; a text that is no command is passed on and called not handled."""
    if action.message is not None:
        return "NotHandled"
    if action.record is not None:
        return _STARTED[action.record]
    return f"TTLHandled: Line={line} State={int(action.state is not False)}"

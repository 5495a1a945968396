"""HTTP: each command is a POST of a JSON document."""

from __future__ import annotations

import http.client
import json
import math
import ssl
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from poseloop.clock import now_ns
from pydantic import Field, JsonValue, field_validator

from poseloop_server.outputs.base import (
    Command,
    MessageAction,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    OutputUnavailableError,
    Status,
    UnansweredError,
)

_MOST_ANSWER_BYTES = 65_536
_MOST_DATA_BYTES = 65_536
_MOST_MESSAGE = 200


class HttpConfig(OutputConfig):
    """Who is called."""

    url: str = Field(description="Such as http://127.0.0.1:8000/stimulus.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with each request, such as Authorization.")
    answer_timeout_ms: Annotated[float, Field(ge=1, le=5_000)] = Field(
        1000.0, description="How long connecting, and an answer, may take."
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or any(character.isspace() or ord(character) < 32 for character in value):
            raise ValueError(f"{value!r} is no URL with http or https, such as http://127.0.0.1:8000/stimulus")
        return value

    @field_validator("headers")
    @classmethod
    def _headers_are_lines(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name.isascii() or not name.replace("-", "").isalnum() or any(ord(one) < 32 for one in text):
                raise ValueError(f"the header {name!r} can't be sent; a name has letters and -, a value is one line")
        return value


class HttpAction(MessageAction):
    """What is sent beside the cause."""

    data: JsonValue = Field(None, description="Anything; it stands under `data` in the document.")

    @field_validator("data")
    @classmethod
    def _is_small(cls, value: JsonValue) -> JsonValue:
        if len(json.dumps(value)) > _MOST_DATA_BYTES:
            raise ValueError(f"`data` is larger than {_MOST_DATA_BYTES} bytes; send less")
        return value


class HttpOutput(Output):
    """Posts to one URL over a connection that stays open; redirections are not followed."""

    config: ClassVar[type[Any]] = HttpConfig
    action: ClassVar[type[Any]] = HttpAction

    def __init__(self, name: str, config: HttpConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._config = config
        parts = urlsplit(config.url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        self._headers = {"Content-Type": "application/json", "User-Agent": "poseloop", **config.headers}
        self._connection: http.client.HTTPConnection | None = None

    def open(self) -> None:
        """Connect."""
        self.close()
        timeout_s = self._config.answer_timeout_ms / 1e3
        if self._secure:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            self._connection.connect()
        except OSError as error:
            self.close()
            raise OutputUnavailableError(
                f"{self._config.url} can't be reached: {error.strerror or error}; start what listens there."
            ) from None

    def execute(self, command: Command) -> Outcome:
        """Post the command; an answer of 2xx acknowledges it, any other refuses it."""
        body = _document(command)
        if self._connection is None or _was_closed(self._connection):
            self.open()  # a server may close a connection that rests
            late = now_ns() - command.decided_ns > self._config.deadline_ms * 1e6
            if late and not self.switches_off(command.action):
                return Outcome(command, Status.DROPPED_LATE, message=f"connecting to {self._config.url} took too long")
        connection = self._connection
        assert connection is not None
        sent_ns = now_ns()
        try:
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            acknowledged_ns = now_ns()
            answer.read(_MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise UnansweredError(f"{self._config.url} did not answer ({reason}).", sent_ns) from None
        if not answer.isclosed():  # more than an answer should have; the connection can't be used again
            self.close()
        if 200 <= answer.status < 300:
            return Outcome(command, Status.ACKNOWLEDGED, sent_ns, acknowledged_ns)
        message = f"{self._config.url} answered {answer.status} {answer.reason}"[:_MOST_MESSAGE]
        return Outcome(command, Status.REFUSED, sent_ns, acknowledged_ns, message)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _was_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed a connection on which nothing is awaited."""
    if connection.sock is None:
        return True
    usual_s = connection.sock.gettimeout()
    connection.sock.setblocking(False)
    try:
        connection.sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.sock.settimeout(usual_s)
    return True  # its end, or something that should not be there


def _document(command: Command) -> bytes:
    document = {
        "output": command.output,
        "stream": command.stream,
        "trigger": command.trigger,
        "edge": command.edge,
        "number": command.number,
        "sequence": command.sequence,
        "captured_ns": command.captured_ns,
        "decided_ns": command.decided_ns,
        "values": {name: float(value) if math.isfinite(value) else None for name, value in command.values.items()},
        "data": command.action.data,
    }
    return json.dumps(document).encode()

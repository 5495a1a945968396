"""What can be set of an output to Open Ephys, and asked of it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from poseloop_server.outputs.base import OutputConfig
from poseloop_server.outputs.lines import LineAction

_MOST_LINES = 256
_MOST_TEXT = 1000
_MOST_PULSES = 1000
_COMMANDS = (
    *("startacquisition", "stopacquisition", "startrecord", "stoprecord", "isacquiring", "isrecording", "ttl"),
    *("getnodeid", "getrecordingpath", "getrecordingnumber", "getexperimentnumber"),
)


class OpenEphysConfig(OutputConfig):
    """Where the plugin listens."""

    host: Annotated[str, Field(min_length=1)] = Field("127.0.0.1", description="The computer that Open Ephys runs on.")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(5556, description="The Network Events plugin's.")
    line: Annotated[int, Field(ge=1, le=_MOST_LINES)] = Field(1, description="The line of actions that name none.")
    answer_timeout_ms: Annotated[float, Field(ge=1, le=5_000)] = Field(
        500.0, description="How long the plugin may take to answer, before it counts as gone."
    )


class OpenEphysAction(LineAction):
    """A TTL line, a message into the recording, or the recording itself."""

    message: Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)] | None = Field(
        None, description="A text that stands in the recording."
    )
    record: Literal["start", "stop"] | None = Field(None, description="Start or stop recording.")
    prepend_text: str = Field("", description="With `record: start`: before the name of the recording's folder.")
    append_text: str = Field("", description="With `record: start`: behind it.")
    new_folder: bool = Field(False, description="With `record: start`: begin a folder of its own.")

    @field_validator("message")
    @classmethod
    def _is_no_command(cls, value: str | None) -> str | None:
        if value is not None and value.split(" ")[0].lower() in _COMMANDS:
            raise ValueError(
                f"a message that begins with {value.split(' ')[0]!r} is a command to Open Ephys; reword it"
            )
        return value

    @field_validator("prepend_text", "append_text")
    @classmethod
    def _stands_in_quotes(cls, value: str) -> str:
        if not re.fullmatch(r"[^'\"=\x00-\x1f]{0,100}", value):
            raise ValueError(f"{value!r} can't be sent; use no quotes and no =, and at most 100 characters")
        return value

    def _check_is_one_thing(self) -> None:
        others = [key for key in ("message", "record") if getattr(self, key) is not None]
        lines = self.state is not None or self.pulse_ms is not None
        if len(others) + lines > 1:
            raise ValueError(f"`{others[0]}` stands alone; make a second action of the rest")
        if not others:
            super()._check_is_one_thing()
        if self.line == 0:
            raise ValueError("lines are counted from 1 here, as Open Ephys does")
        if self.pulses > _MOST_PULSES:
            raise ValueError(f"{self.pulses} pulses are too many to be timed by the server; use at most {_MOST_PULSES}")

    @model_validator(mode="after")
    def _texts_go_with_record(self) -> Self:
        if self.record != "start" and (self.prepend_text or self.append_text or self.new_folder):
            raise ValueError("`prepend_text`, `append_text` and `new_folder` go with `record: start`")
        return self

"""What can be set of a serial output, and asked of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from poseloop_server.outputs.base import OutputConfig
from poseloop_server.outputs.device_protocol import MOST_WATCHDOG_MS
from poseloop_server.outputs.lines import LineAction

_MOST_BYTES = 256


def _as_bytes(value: object) -> object:
    """Read ``0x01``, ``"0x01 0xFF"``, ``[1, 255]`` or a text, which is taken as UTF-8."""
    if isinstance(value, str) and value.lower().startswith("0x"):
        value = [_byte(part) for part in value.split()]
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list):
        if not all(isinstance(one, int) and 0 <= one <= 0xFF for one in value):
            raise ValueError(f"{value} are not bytes; give numbers from 0x00 to 0xFF")
        return bytes(value)
    return value.encode() if isinstance(value, str) else value


def _byte(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ValueError(f"{text!r} is no byte; write them like 0x01 0xFF") from None


Bytes = Annotated[bytes, BeforeValidator(_as_bytes), Field(max_length=_MOST_BYTES)]


class SerialConfig(OutputConfig):
    """A serial port and what is behind it."""

    port: Annotated[str, Field(min_length=1)] = Field(description="Such as /dev/ttyACM0, /dev/cu.usbmodem1101 or COM3.")
    baud: Annotated[int, Field(ge=300, le=12_000_000)] = Field(115_200, description="Bits a second, as in the sketch.")
    protocol: Literal["poseloop", "raw"] = Field(
        "poseloop", description="poseloop: our sketch is there; raw: bytes as they are, for a sketch of your own."
    )
    line: Annotated[int, Field(ge=0, le=7)] = Field(0, description="The line of actions that name none.")
    watchdog_ms: Annotated[int, Field(ge=0, le=MOST_WATCHDOG_MS)] = Field(
        0, description="All lines go off when the server was silent for so long; 0: never. At least 100."
    )
    answer_timeout_ms: Annotated[float, Field(ge=1, le=5_000)] = Field(
        100.0, description="How long the device may take to answer, before it counts as gone."
    )
    start_timeout_s: Annotated[float, Field(gt=0, le=5)] = Field(
        4.0, description="How long the device may take to start: opening its port resets many an Arduino."
    )
    rest: Bytes = Field(
        b"", description="With raw: bytes to write when the port is opened, and when the output is closed."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if 0 < self.watchdog_ms < 100:
            raise ValueError(f"watchdog_ms {self.watchdog_ms} is too short to be met; use 100 or more, or 0 for none")
        if self.rest and self.protocol != "raw":
            raise ValueError("`rest` goes with `protocol: raw`; our sketch knows how to rest")
        return self


class SerialAction(LineAction):
    """A line of our sketch, or, with ``protocol: raw``, bytes."""

    write: Bytes | None = Field(None, description="With raw: bytes, such as 0x01 or [1, 2], or a text.")

    def _check_is_one_thing(self) -> None:
        if self.write is None:
            super()._check_is_one_thing()
        elif self.state is not None or self.pulse_ms is not None:
            raise ValueError("`write` stands alone; leave out `state` and `pulse_ms`")
        elif not self.write:
            raise ValueError("`write` has no byte in it; give one such as 0x01")

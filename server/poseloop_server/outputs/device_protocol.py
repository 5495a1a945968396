"""The bytes between the server and the sketch in docs/arduino/poseloop_trigger; docs/outputs.md has the table.

A message from the host is one byte, of which some are followed by arguments and the complement of their sum. The
device answers each one, but for `ALIVE`, with five bytes: the message's byte with its highest bit set, or `REFUSED`,
and the device's microseconds at which it was done, little-endian. After a reset it refuses all until it hears `HELLO`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

VERSION = 1
LINES = 8
TRAINS = 16

HELLO = 0x01  # rests, and is answered with four bytes more: "PL", the version, how many lines there are
REST = 0x02  # all lines off, all trains ended, the watchdog off
ALIVE = 0x03  # the host is there; not answered
CONFIGURE = 0x04  # train, line, pulse and gap in microseconds (u32), pulses (u16), sum
WATCHDOG = 0x05  # milliseconds of silence after which all lines go off (u16), 0: never; sum
OFF = 0x10  # + line
ON = 0x18  # + line
START = 0x20  # + train
DONE = 0x80  # + the message's byte: the answer to what was done
REFUSED = 0xFF

ANSWER_BYTES = 5
HELLO_BYTES = 4
MOST_WATCHDOG_MS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Train:
    """A train of pulses on a line; times in microseconds."""

    line: int
    pulse_us: int
    gap_us: int
    pulses: int


def configure(train: int, what: Train) -> bytes:
    """Return the message that tells the device one of its trains."""
    return _summed(CONFIGURE, struct.pack("<BBIIH", train, what.line, what.pulse_us, what.gap_us, what.pulses))


def watchdog(milliseconds: int) -> bytes:
    """Return the message that sets the watchdog."""
    return _summed(WATCHDOG, struct.pack("<H", milliseconds))


def answer_us(answer: bytes) -> int:
    """Return the device's microseconds in an answer; they begin anew every 71.6 minutes."""
    return int.from_bytes(answer[1:5], "little")


def _summed(message: int, arguments: bytes) -> bytes:
    return bytes((message, *arguments, ~sum(arguments) & 0xFF))

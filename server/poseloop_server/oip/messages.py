"""The protocol's requests, parsed; the pixels of an inference request stay where they lie in its message.

Protobuf would copy them twice, on the event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.refusal import RefusedError, invalid

M = TypeVar("M", bound=Message)
# More than any client sends; walking over millions of empty ones would hold the event loop up.
_MAX_FIELDS = 1024


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A ModelInferRequest.

    Attributes:
        header: all of it but the raw contents.
        raw: the raw contents, views of the message.
    """

    header: oip.ModelInferRequest
    raw: list[memoryview]


def read_message(kind: type[M], data: bytes) -> M:
    """Parse a request.

    Raises:
        RefusedError: it is none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        raise _no_message(kind, data) from None


def read_infer_request(data: bytes) -> InferRequest:
    """Parse a request for an inference.

    Raises:
        RefusedError: it is none.
    """
    message = memoryview(data)
    header: list[memoryview] = []
    raw: list[memoryview] = []
    at = 0
    try:
        while at < len(message):
            number, value, end = _field(message, at)
            if number == oip.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER and value is not None:
                raw.append(value)
            else:
                header.append(message[at:end])
            if len(raw) + len(header) > _MAX_FIELDS:
                raise invalid("message", f"a request of more than {_MAX_FIELDS} fields is not taken; send fewer.")
            at = end
    except ValueError:
        raise _no_message(oip.ModelInferRequest, data) from None
    return InferRequest(read_message(oip.ModelInferRequest, b"".join(header)), raw)


def _no_message(kind: type[Message], data: bytes) -> RefusedError:
    return invalid("message", f"{len(data)} bytes are no inference.{kind.DESCRIPTOR.name}; send one.")


def _field(message: memoryview, at: int) -> tuple[int, memoryview | None, int]:
    """Return a field's number, its bytes where it has a length, and where it ends.

    The last three bits of its key are its wire type (https://protobuf.dev/programming-guides/encoding).
    """
    key, at = _varint(message, at)
    value = None
    match key & 7:
        case 0:  # a varint
            _, end = _varint(message, at)
        case 1:  # 64 bits
            end = at + 8
        case 2:  # a length and so many bytes
            size, at = _varint(message, at)
            end = at + size
            value = message[at:end]
        case 5:  # 32 bits
            end = at + 4
        case _:
            raise ValueError("a wire type that protobuf does not write any more")
    if end > len(message):
        raise ValueError("the message ends in the middle of a field")
    return key >> 3, value, end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift <= 63:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number runs over its end")

"""Frames as bytes of the wire, copied once.

A `FrameMessage` built with protobuf copies the image three times before gRPC sees it. On the wire a message is just its
fields one after the other, so the small fields are written by protobuf and the image is joined to them.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseloop import jpeg
from poseloop.errors import InvalidInputError
from poseloop.images import guess_format, to_gray
from poseloop.types import Frame, PixelFormat
from poseloop.v1 import poseloop_pb2 as pb

_LENGTH_DELIMITED = 2
_DATA_TAG = bytes([pb.Frame.DATA_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])
_FRAME_TAG = bytes([pb.FrameMessage.FRAME_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])


@dataclass(frozen=True, slots=True)
class FrameData:
    """A frame that was checked and is ready to leave; ``data`` is a flat view of bytes."""

    data: memoryview
    width: int
    height: int
    format: PixelFormat
    captured_ns: int

    @classmethod
    def of(cls, frame: Frame) -> FrameData:
        """Check a frame and look at its bytes; copies only an image whose rows are not contiguous.

        Raises:
            InvalidInputError: the image is not what the frame's format says.
        """
        if frame.format is PixelFormat.JPEG:
            if isinstance(frame.image, np.ndarray):
                raise InvalidInputError("a JPEG frame's image must be the bytes of the JPEG, not an array")
            width, height = jpeg.size(frame.image)
            return cls(memoryview(frame.image), width, height, frame.format, frame.captured_ns)
        if not isinstance(frame.image, np.ndarray):
            raise InvalidInputError(f"a {frame.format} frame's image must be a uint8 array, not bytes")
        if guess_format(frame.image) is not (
            PixelFormat.GRAY8 if frame.format is PixelFormat.GRAY8 else PixelFormat.RGB8
        ):
            raise InvalidInputError(f"a frame of shape {frame.image.shape} can't be {frame.format}")
        if frame.image.size == 0:
            raise InvalidInputError(f"a frame of shape {frame.image.shape} is empty")
        height, width = frame.image.shape[:2]
        view = np.ascontiguousarray(frame.image).data.cast("B")
        return cls(view, width, height, frame.format, frame.captured_ns)

    def compressed(self, quality: int) -> FrameData:
        """Return the frame as JPEG; a JPEG stays as it is."""
        if self.format is PixelFormat.JPEG:
            return self
        channels = self.format.channels or 1
        image = np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, channels)
        data = memoryview(jpeg.encode(image, self.format, quality))
        return FrameData(data, self.width, self.height, PixelFormat.JPEG, self.captured_ns)

    def in_gray(self) -> FrameData:
        """Return an RGB or BGR frame in grey, as the server would make it; any other as it is."""
        if self.format not in (PixelFormat.RGB8, PixelFormat.BGR8):
            return self
        image = np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)
        gray = to_gray(image, self.format)
        return FrameData(gray.data.cast("B"), self.width, self.height, PixelFormat.GRAY8, self.captured_ns)

    def owned(self) -> FrameData:
        """Return the frame with bytes of its own, for when the source may overwrite its buffer."""
        if isinstance(self.data.obj, bytes):  # nobody can overwrite those
            return self
        return FrameData(memoryview(bytes(self.data)), self.width, self.height, self.format, self.captured_ns)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def frame_message(header: pb.Frame, data: memoryview) -> bytes:
    """Return the serialised `FrameMessage` whose frame is ``header``, which has no data, with ``data`` in it."""
    fields = header.SerializeToString()
    data_key = _DATA_TAG + _varint(len(data))
    length = len(fields) + len(data_key) + len(data)
    return b"".join((_FRAME_TAG, _varint(length), fields, data_key, data))

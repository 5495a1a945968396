"""Frames as bytes of the wire, copied once.

A `FrameMessage` built with protobuf copies the image three times before gRPC sees it. On the wire a message is just its
fields one after the other, so the small fields are written by protobuf and the image is joined to them.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import operator
from typing import Final, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from poseloop import jpeg
from poseloop.errors import InvalidInputError
from poseloop.images import guess_format, to_gray
from poseloop.types import Frame, PixelFormat
from poseloop.v1 import poseloop_pb2 as pb

# The server refuses what is further from 0: a time is an int64, which the offset between two clocks is added to.
_MOST_NS = 2**62 - 1
_COLORS: Final = (PixelFormat.RGB8, PixelFormat.BGR8)
_LENGTH_DELIMITED = 2
_DATA_TAG = bytes([pb.Frame.DATA_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])
_FRAME_TAG = bytes([pb.FrameMessage.FRAME_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])


class FrameData(NamedTuple):
    """A frame that was checked and is ready to leave.

    Attributes:
        pixels: uint8, in one piece, of any shape; of a JPEG its bytes.
        captured_ns: on the clock of this process.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: PixelFormat
    captured_ns: int

    @classmethod
    def of(cls, frame: Frame) -> FrameData:
        """Check a frame and look at its bytes; copies only an image whose rows are not contiguous.

        Raises:
            InvalidInputError: the image is not what the frame's format says, or its time is no number of nanoseconds.
        """
        if frame.format is PixelFormat.JPEG:
            if isinstance(frame.image, np.ndarray):
                raise InvalidInputError("a JPEG frame's image must be the bytes of the JPEG, not an array")
            width, height = jpeg.size(frame.image)
            pixels = np.frombuffer(frame.image, np.uint8)
            return cls(pixels, width, height, frame.format, _checked(frame.captured_ns))
        if not isinstance(frame.image, np.ndarray):
            raise InvalidInputError(f"a {frame.format} frame's image must be a uint8 array, not bytes")
        if guess_format(frame.image) is not (
            PixelFormat.GRAY8 if frame.format is PixelFormat.GRAY8 else PixelFormat.RGB8
        ):
            raise InvalidInputError(f"a frame of shape {frame.image.shape} can't be {frame.format}")
        return cls._of_pixels(frame.image, frame.format, frame.captured_ns)

    @classmethod
    def of_array(cls, image: NDArray[np.uint8], captured_ns: int) -> FrameData:
        """Do as `of` with an array that is grey, or else RGB."""
        return cls._of_pixels(image, guess_format(image), captured_ns)

    @classmethod
    def _of_pixels(cls, image: NDArray[np.uint8], pixel_format: PixelFormat, captured_ns: int) -> FrameData:
        if image.size == 0:
            raise InvalidInputError(f"a frame of shape {image.shape} is empty")
        height, width = image.shape[:2]
        # Of a subclass, a masked array for example, only the pixels; asking for both is quicker than making it so.
        is_plain = type(image) is np.ndarray and image.flags.c_contiguous
        pixels = image if is_plain else np.ascontiguousarray(image)
        return cls(pixels, width, height, pixel_format, _checked(captured_ns))

    @property
    def data(self) -> memoryview:
        """The bytes that leave, flat."""
        return self.pixels.data.cast("B")

    @property
    def nbytes(self) -> int:
        """How many bytes leave."""
        return self.pixels.nbytes

    def write_to(self, room: NDArray[np.uint8]) -> None:
        """Write the bytes that leave, ``(nbytes,)``."""
        np.copyto(room, self.pixels.reshape(-1))

    def compressed(self, quality: int) -> FrameData:
        """Return the frame as JPEG; a JPEG stays as it is."""
        if self.format is PixelFormat.JPEG:
            return self
        channels = self.format.channels or 1
        image = self.pixels.reshape(self.height, self.width, channels)
        encoded = np.frombuffer(jpeg.encode(image, self.format, quality), np.uint8)
        return self._replace(pixels=encoded, format=PixelFormat.JPEG)

    def in_gray(self) -> Leaving:
        """Return an RGB or BGR frame in grey, as the server would make it; any other as it is."""
        return GrayOfColor(self) if self.format in _COLORS else self

    def owned(self) -> FrameData:
        """Return the frame with bytes of its own, for when the source may overwrite its buffer."""
        # Nobody can overwrite bytes, but NumPy makes writable arrays of those that come from another process.
        if isinstance(self.pixels.base, bytes) and not self.pixels.flags.writeable:
            return self
        return self._replace(pixels=np.frombuffer(self.pixels.tobytes(), np.uint8))


class GrayOfColor:
    """A frame in colours that leaves in grey; the grey is first written where it is needed.

    Args:
        colored: RGB or BGR.
    """

    __slots__ = ("_colored", "captured_ns", "height", "nbytes", "width")
    format: Final = PixelFormat.GRAY8

    def __init__(self, colored: FrameData) -> None:
        self._colored = colored
        self.width = colored.width
        self.height = colored.height
        self.captured_ns = colored.captured_ns
        self.nbytes = colored.width * colored.height

    @property
    def data(self) -> memoryview:
        """The grey in memory of its own."""
        return self.owned().data

    def write_to(self, room: NDArray[np.uint8]) -> None:
        """As `FrameData.write_to`."""
        shape = self.height, self.width
        to_gray(self._colored.pixels.reshape(*shape, 3), self._colored.format, room.reshape(shape))

    def owned(self) -> FrameData:
        """Return the frame in grey, with bytes of its own."""
        gray = np.empty(self.nbytes, np.uint8)
        self.write_to(gray)
        return FrameData(gray, self.width, self.height, self.format, self.captured_ns)


Leaving = FrameData | GrayOfColor
"""What a connection takes."""


def _checked(captured_ns: SupportsIndex) -> int:
    # Whatever can't be written is refused here, where the caller hears of it; later it would end a thread.
    try:
        checked = operator.index(captured_ns)
    except TypeError:
        checked = _MOST_NS + 1
    if abs(checked) > _MOST_NS:
        raise InvalidInputError(
            f"captured_ns must be a whole number of nanoseconds, not {captured_ns!r}; use poseloop.now_ns()"
        )
    return checked


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

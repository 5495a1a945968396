"""The border: checks what clients send before any memory is taken for it, and makes it the server's own."""

from __future__ import annotations

import re

from google.protobuf.message import DecodeError
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.messages import FORMAT_FROM_WIRE, crop_from_wire
from poseloop.types import PixelFormat
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.frames import IncomingFrame
from poseloop_server.refusal import invalid
from poseloop_server.stream import ClientAccount
from poseloop_server.wire import length_delimited_tag

_STREAM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LARGEST_PRIORITY = 100
_SLOWEST_LIMIT, _FASTEST_LIMIT = 0.001, 1e6  # frames a second
_FRAME_TAG = length_delimited_tag(pb.FrameMessage.FRAME_FIELD_NUMBER)
_DATA_TAG = length_delimited_tag(pb.Frame.DATA_FIELD_NUMBER)
_LONGEST_HEADER = 512
_LONGEST_LENGTH = 5
# A time and an offset that are both this large still add up to what the wire's int64 holds.
_LARGEST_TIME_NS = 2**62 - 1


def read_message(data: bytes) -> pb.FrameMessage:
    """Parse one message of a Track call.

    Raises:
        RefusedError: it is no FrameMessage, or an empty one.
    """
    try:
        message = pb.FrameMessage.FromString(data)
    except DecodeError:
        raise invalid("message", f"{len(data)} bytes are no poseloop.v1.FrameMessage; send one.") from None
    if message.WhichOneof("message") is None:
        raise invalid("message", "a FrameMessage holds either `open` or `frame`; this one holds neither.")
    return message


def split_frame(message: bytes) -> tuple[pb.Frame, memoryview] | None:
    """Return the frame of a message without its data, and a view of the data where it lies; nothing is copied.

    Only where the data is the last field of the frame and the frame the only one of the message, as our clients write
    them; otherwise None. A place that looks like the data's begin is one, where protobuf takes what lies before it for
    whole fields: it refuses to end within one.
    """
    if not message.startswith(_FRAME_TAG):
        return None
    length, begin = _varint_at(message, len(_FRAME_TAG))
    if begin + length != len(message):
        return None
    at = begin - 1
    while (at := message.find(_DATA_TAG, at + 1, begin + _LONGEST_HEADER)) >= 0:
        length, data = _varint_at(message, at + len(_DATA_TAG))
        if data + length == len(message):
            try:
                return pb.Frame.FromString(message[begin:at]), memoryview(message)[data:]
            except DecodeError:
                continue
    return None


def _varint_at(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins there and where it ends; one that is no length at all is larger than any."""
    value = 0
    for place, byte in enumerate(message[at : at + _LONGEST_LENGTH]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    return len(message), len(message)


def read_open(data: bytes) -> pb.OpenStream:
    """Parse the first message of a Track call.

    Raises:
        RefusedError: it does not open a stream, or with a bad name, policy, priority or limit.
    """
    message = read_message(data)
    if message.WhichOneof("message") != "open":
        raise invalid("open", "the first message must open the stream; send `open` before any `frame`.")
    request = message.open
    if not _STREAM_NAME.fullmatch(request.stream):
        raise invalid(
            "stream", f"{request.stream[:80]!r} is no stream name; use 1 to 64 of the characters A-Z a-z 0-9 _ . -"
        )
    if request.policy not in pb.DeliveryPolicy.values():
        raise invalid("policy", f"{request.policy} is no DeliveryPolicy; use LIVE or LOSSLESS.")
    _check_turns(request)
    return request


def read_crop(request: pb.OpenStream, default: Crop | None) -> Crop | None:
    """Return the crop that a stream asks for, the default where it says nothing.

    Raises:
        RefusedError: it is out of its range.
    """
    if not request.HasField("crop"):
        return default
    try:
        return crop_from_wire(request.crop)
    except InvalidInputError as error:
        raise invalid("crop", f"{error}.") from None


def _check_turns(request: pb.OpenStream) -> None:
    if abs(request.priority) > _LARGEST_PRIORITY:
        raise invalid(
            "priority", f"{request.priority} is out of range; use -{_LARGEST_PRIORITY} to {_LARGEST_PRIORITY}."
        )
    limit = request.max_frames_per_second
    if limit and not _SLOWEST_LIMIT <= limit <= _FASTEST_LIMIT:
        raise invalid(
            "max_frames_per_second",
            f"{limit:g} is no limit; use {_SLOWEST_LIMIT:g} to {_FASTEST_LIMIT:g}, or 0 for every frame.",
        )
    if limit and request.policy == pb.DELIVERY_POLICY_LOSSLESS:
        raise invalid(
            "max_frames_per_second", "a lossless stream drops nothing; leave the limit out, or open a live stream."
        )


class FrameGate:
    """Lets the sound frames of one stream in.

    Args:
        max_pixels: largest width times height.
        fixed_width: the only width that the model takes, or None for any.
        fixed_height: the only height that the model takes, or None for any.
    """

    def __init__(self, max_pixels: int, fixed_width: int | None, fixed_height: int | None) -> None:
        self._max_pixels = max_pixels
        self._fixed_width = fixed_width
        self._fixed_height = fixed_height
        self._last_sequence = -1
        self._frames = 0

    def admit(self, data: bytes, received_ns: int) -> tuple[IncomingFrame, ClientAccount]:
        """Parse and check a message that has to carry a frame.

        Raises:
            RefusedError: it carries none, or one that can't be right.
        """
        split = split_frame(data)
        if split is not None:
            header, pixels = split
            # What decodes a JPEG takes bytes of its own.
            own = bytes(pixels) if header.format == pb.PIXEL_FORMAT_JPEG else pixels
            return self.admit_frame(header, own, received_ns)
        message = read_message(data)
        if message.WhichOneof("message") != "frame":
            raise invalid("open", "the stream is open already; send `frame`, and open another stream in another call.")
        return self.admit_frame(message.frame, message.frame.data, received_ns)

    def admit_frame(
        self, wire: pb.Frame, pixels: bytes | memoryview, received_ns: int, owner: object = None, gave_way: int = 0
    ) -> tuple[IncomingFrame, ClientAccount]:
        """Check a frame whose data may lie elsewhere; ``owner`` keeps that memory for as long as the frame is there.

        ``gave_way`` frames were sent before it that nobody saw, since it took their place in shared memory.

        Raises:
            RefusedError: it can't be right.
        """
        sequence, width, height = wire.sequence, wire.width, wire.height
        captured_ns, offset_ns = wire.captured_client_ns, wire.clock_offset_ns
        self._check_order(sequence)
        _check_time("captured_client_ns", captured_ns)
        _check_time("clock_offset_ns", offset_ns)
        pixel_format = FORMAT_FROM_WIRE.get(wire.format)
        if pixel_format is None:
            raise invalid("format", f"{wire.format} is no PixelFormat; use GRAY8, RGB8, BGR8 or JPEG.")
        self._check_size(width, height)
        _check_data(width, height, pixel_format, pixels)
        self._last_sequence = sequence
        self._frames += 1 + gave_way
        frame = IncomingFrame(
            sequence=sequence,
            width=width,
            height=height,
            format=pixel_format,
            data=pixels,
            received_ns=received_ns,
            captured_ns=captured_ns + offset_ns,
            captured_client_ns=captured_ns,
            clock_uncertainty_ns=wire.clock_uncertainty_ns,
            owner=owner,
        )
        return frame, self._account(wire)

    def _account(self, wire: pb.Frame) -> ClientAccount:
        if not wire.HasField("client"):
            return ClientAccount(sent=self._frames)  # a client that does not count has dropped nothing it knows of
        client = wire.client
        return ClientAccount(client.sent, client.dropped_outbox, client.lost_connection)

    def _check_order(self, sequence: int) -> None:
        if sequence <= self._last_sequence:
            raise invalid("sequence", f"{sequence} follows {self._last_sequence}; it has to rise with every frame.")

    def _check_size(self, width: int, height: int) -> None:
        if not width or not height:
            raise invalid("height" if width else "width", "a frame has at least one pixel; this one has none.")
        if width * height > self._max_pixels:
            raise invalid(
                "width",
                f"a frame of {width}x{height} is larger than the {self._max_pixels} pixels that this server takes; "
                "send smaller frames or raise --max-frame-pixels.",
            )
        if self._fixed_width is not None and width != self._fixed_width:
            raise invalid("width", f"this model only takes frames of width {self._fixed_width}, not {width}.")
        if self._fixed_height is not None and height != self._fixed_height:
            raise invalid("height", f"this model only takes frames of height {self._fixed_height}, not {height}.")


def _check_time(field: str, time_ns: int) -> None:
    if abs(time_ns) > _LARGEST_TIME_NS:
        raise invalid(field, f"{time_ns} ns is no time of a monotonic clock.")


def _check_data(width: int, height: int, pixel_format: PixelFormat, data: bytes | memoryview) -> None:
    channels = pixel_format.channels
    if channels is None:
        _check_jpeg(width, height, data)
        return
    expected = width * height * channels
    if len(data) != expected:
        raise invalid(
            "data",
            f"a {pixel_format.name} frame of {width}x{height} has {expected} bytes, this one has {len(data)}; send "
            "rows without padding and the true width and height.",
        )


def _check_jpeg(width: int, height: int, data: bytes | memoryview) -> None:
    """Compare a JPEG's own size with the one that was checked; reads its header only."""
    import simplejpeg

    try:
        own_height, own_width, _, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise invalid("data", f"these {len(data)} bytes are no JPEG: {error}.") from None
    if (own_width, own_height) != (width, height):
        raise invalid(
            "width", f"the JPEG is {own_width}x{own_height}, but the frame says {width}x{height}; send its own size."
        )

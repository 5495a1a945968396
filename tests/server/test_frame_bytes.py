"""A frame's data is found in its message without being copied, and exactly where protobuf finds it."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import frame_message
from poseloop_server.ingest.wire_frames import split_frame

HEADERS = st.builds(
    pb.Frame,
    sequence=st.integers(0, 2**64 - 1),
    captured_client_ns=st.integers(-(2**63), 2**63 - 1),
    sent_client_ns=st.integers(-(2**63), 2**63 - 1),
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
    format=st.integers(0, 5),
    client=st.none() | st.builds(pb.ClientCounters, sent=st.integers(0, 2**64 - 1), dropped_outbox=st.integers(0, 99)),
    clock_offset_ns=st.integers(-(2**63), 2**63 - 1),
    clock_uncertainty_ns=st.integers(0, 2**64 - 1),
)


def check(message: bytes) -> None:
    """Whatever is found is what protobuf finds."""
    split = split_frame(message)
    if split is None:
        return
    header, data = split
    whole = pb.FrameMessage.FromString(message)
    assert whole.WhichOneof("message") == "frame"
    assert bytes(data) == whole.frame.data
    whole.frame.ClearField("data")
    header.ClearField("data")
    assert header == whole.frame


@given(HEADERS, st.binary(max_size=300))
def test_what_our_client_writes_is_split(header: pb.Frame, data: bytes) -> None:
    message = frame_message(header, memoryview(data))
    split = split_frame(message)
    assert split is not None
    assert split[0] == header
    assert bytes(split[1]) == data
    assert split[1].obj is message
    check(message)


@given(HEADERS, st.binary(min_size=1, max_size=300))
def test_data_among_the_other_fields_is_left_to_protobuf_or_found_rightly(header: pb.Frame, data: bytes) -> None:
    header.data = data
    check(pb.FrameMessage(frame=header).SerializeToString())


@given(HEADERS, st.binary(max_size=60), st.data())
def test_changed_bytes_are_never_misread(header: pb.Frame, data: bytes, draw: st.DataObject) -> None:
    message = bytearray(frame_message(header, memoryview(data)))
    for _ in range(draw.draw(st.integers(1, 3))):
        message[draw.draw(st.integers(0, len(message) - 1))] = draw.draw(st.integers(0, 255))
    check(bytes(message))


# Bytes that look like the beginning of data, inside a number and inside the client's account.
@example(b"\x12\x04\x08\x3a\x3a\x00")
@example(b"\x12\x05\x42\x03\x3a\x01\x00")
@example(b"\x12\x06\x08\x80\x3a\x3a\x01\x00")
@given(st.binary(max_size=60).map(lambda frame: bytes([0x12, len(frame)]) + frame) | st.binary(max_size=60))
def test_any_bytes_are_never_misread(message: bytes) -> None:
    try:
        check(message)
    except DecodeError:
        raise AssertionError(f"{message!r} was split, and is no message") from None

"""The layout of a frame in shared memory, and where its processes meet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from poseloop import local, local_frames, local_poses
from poseloop.local import LocalTransportError
from poseloop.v1 import poseloop_pb2 as pb


@given(data=st.binary(max_size=200))
def test_garbage_is_no_frame_and_no_surprise(data: bytes) -> None:
    try:
        _, header, pixels = local_frames.unpack(memoryview(data))
    except (ValueError, DecodeError):
        return
    assert isinstance(header, pb.Frame)
    assert len(pixels) <= len(data)


@given(number=st.integers(0, 2**64 - 1), pixels=st.binary(max_size=300), room=st.integers(0, 63))
def test_what_is_packed_is_unpacked(number: int, pixels: bytes, room: int) -> None:
    header = pb.Frame(sequence=number, width=3)
    fields = header.SerializeToString()
    offset = local_frames.header_room(len(fields)) + room
    packed = bytearray(offset + len(pixels) + room)
    local_frames.write_header(memoryview(packed)[:offset], number, fields, offset, len(pixels))
    packed[offset : offset + len(pixels)] = pixels
    found_number, found, data = local_frames.unpack(memoryview(packed))
    assert found_number == number
    assert found == header
    assert bytes(data) == pixels


@given(data=st.binary(max_size=200))
def test_garbage_is_no_pose_and_no_surprise(data: bytes) -> None:
    try:
        _, (topic, payload) = local_poses.unpack(data)
    except LocalTransportError:
        return
    assert len(topic) + len(payload) <= len(data)


@given(
    number=st.integers(0, 2**64 - 1), topic=st.binary(max_size=80), payload=st.binary(max_size=300), room=st.binary()
)
def test_a_packed_pose_is_unpacked_from_memory_that_is_larger(
    number: int, topic: bytes, payload: bytes, room: bytes
) -> None:
    assert local_poses.unpack(local_poses.pack(number, topic, payload) + room) == (number, (topic, payload))


@pytest.mark.skipif(sys.platform == "win32", reason="a folder's owner is asked for on POSIX only")
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"poseloop-{os.getuid()}"
    assert local.meeting_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(LocalTransportError, match="others can write"):
        local.meeting_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(LocalTransportError):
        local.meeting_folder()

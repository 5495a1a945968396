from __future__ import annotations

import multiprocessing

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from poseloop import jpeg
from poseloop.clock import OffsetEstimator
from poseloop.errors import InvalidInputError
from poseloop.flow import Flow
from poseloop.images import to_model_color
from poseloop.types import Frame, PixelFormat, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import FrameData, Leaving, frame_message

IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90)))
COUNT = st.integers(0, 2**64 - 1)
TIME = st.integers(1 - 2**62, 2**62 - 1)


@given(image=IMAGES, sequence=COUNT, captured_ns=TIME, offset_ns=TIME)
def test_the_joined_bytes_are_the_message(image: np.ndarray, sequence: int, captured_ns: int, offset_ns: int) -> None:
    header = pb.Frame(
        sequence=sequence,
        captured_client_ns=captured_ns,
        width=image.shape[1],
        height=image.shape[0],
        format=pb.PIXEL_FORMAT_GRAY8,
        client=pb.ClientCounters(sent=sequence),
        clock_offset_ns=offset_ns,
    )
    data = FrameData.of(Frame(image, captured_ns, PixelFormat.GRAY8)).data
    message = pb.FrameMessage.FromString(frame_message(header, data))
    header.data = image.tobytes()
    assert message == pb.FrameMessage(frame=header)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152])
def test_lengths_around_the_steps_of_a_varint(size: int) -> None:
    message = pb.FrameMessage.FromString(frame_message(pb.Frame(width=1), memoryview(bytes(size))))
    assert len(message.frame.data) == size


@given(image=IMAGES, step=st.integers(-3, 3).filter(bool))
def test_rows_that_are_not_contiguous(image: np.ndarray, step: int) -> None:
    view = image[::step, ::-1]
    frame = FrameData.of(Frame(view, 0, PixelFormat.GRAY8))
    assert (frame.height, frame.width) == view.shape
    assert bytes(frame.data) == view.tobytes()


def test_owned_bytes_outlive_the_buffer() -> None:
    image = np.full((4, 4), 7, np.uint8)
    frame = FrameData.of(Frame(image, 0, PixelFormat.GRAY8))
    owned = frame.owned()
    image[:] = 0
    assert set(owned.data) == {7}
    assert owned.owned() is owned
    assert set(frame.data) == {0}


def test_an_image_of_another_process_is_not_taken_for_one_that_nobody_can_change() -> None:
    here, there = multiprocessing.Pipe(duplex=False)
    there.send(np.full((48, 64), 7, np.uint8))
    image = here.recv()
    assert isinstance(image.base, bytes)
    assert image.flags.writeable
    owned = FrameData.of_array(image, 0).owned()
    image[:] = 0
    assert set(owned.data) == {7}


def test_of_a_masked_array_the_pixels_leave() -> None:
    image = np.ma.MaskedArray(np.full((4, 4), 7, np.uint8), mask=np.eye(4, dtype=bool))
    frame = FrameData.of_array(image, 0)
    assert bytes(frame.data) == bytes(frame.owned().data) == bytes([7] * 16)


def test_no_frames_header_has_anything_of_the_one_before() -> None:
    headers: list[pb.Frame] = []

    class Recorder:
        newest_wins = True

        def send(self, header: pb.Frame, frame: Leaving) -> None:
            headers.append(pb.Frame.FromString(header.SerializeToString()))

    flow = Flow("cam0", Policy.LIVE)
    gray = FrameData.of_array(np.zeros((4, 6), np.uint8), 1)
    color = FrameData.of_array(np.zeros((8, 5, 3), np.uint8), 2)
    exact = OffsetEstimator()
    exact.add(0, 100, 100, 0)
    flow.push(gray)  # waits for the connection
    for clock, frames in ((None, [color, gray]), (exact, [gray, color, color])):
        flow.opened(Recorder(), window=9, clock=clock)
        for frame in frames:
            flow.push(frame)
        flow.broke()
    sizes = [(one.width, one.height, one.format) for one in headers]
    of_gray, of_color = (6, 4, pb.PIXEL_FORMAT_GRAY8), (5, 8, pb.PIXEL_FORMAT_RGB8)
    assert sizes == [of_gray, of_color, of_gray, of_gray, of_color, of_color]
    assert [one.captured_client_ns for one in headers] == [1, 2, 1, 1, 2, 2]
    assert [one.sequence for one in headers] == list(range(6))
    assert [one.client.sent for one in headers] == list(range(1, 7))
    assert [one.client.lost_connection for one in headers] == [0, 0, 0, 3, 3, 3]
    assert [one.clock_offset_ns for one in headers] == [0, 0, 0, 100, 100, 100]


@pytest.mark.parametrize("pixel_format", [PixelFormat.GRAY8, PixelFormat.RGB8, PixelFormat.BGR8])
def test_jpeg_has_the_frames_size_and_colours(pixel_format: PixelFormat) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    shape = (40, 56) if pixel_format is PixelFormat.GRAY8 else (40, 56, 3)
    image = np.zeros(shape, np.uint8)
    image[...] = 90 if pixel_format is PixelFormat.GRAY8 else (200, 100, 50)
    frame = FrameData.of(Frame(image, 5, pixel_format)).compressed(95)
    assert frame.format is PixelFormat.JPEG
    assert jpeg.size(bytes(frame.data)) == (56, 40) == (frame.width, frame.height)
    space = {PixelFormat.GRAY8: "GRAY", PixelFormat.RGB8: "RGB", PixelFormat.BGR8: "BGR"}[pixel_format]
    decoded = simplejpeg.decode_jpeg(bytes(frame.data), colorspace=space).reshape(shape)
    assert np.abs(decoded.astype(int) - image).max() <= 4
    assert FrameData.of(Frame(bytes(frame.data), 5, PixelFormat.JPEG)).width == 56


@given(st.binary(max_size=200))
def test_no_bytes_confuse_the_reader_of_jpeg_sizes(data: bytes) -> None:
    for attempt in (data, b"\xff\xd8" + data, b"\xff\xd8\xff" + data):
        try:
            width, height = jpeg.size(attempt)
        except InvalidInputError:
            continue
        assert 0 <= width < 65536
        assert 0 <= height < 65536


@pytest.mark.parametrize(
    ("image", "pixel_format"),
    [
        (np.zeros((4, 4), np.float32), PixelFormat.GRAY8),
        (np.zeros((4, 4, 4), np.uint8), PixelFormat.RGB8),
        (np.zeros((4, 4), np.uint8), PixelFormat.RGB8),
        (np.zeros((4, 4, 3), np.uint8), PixelFormat.GRAY8),
        (np.zeros((0, 4), np.uint8), PixelFormat.GRAY8),
        (np.zeros((4, 4), np.uint8), PixelFormat.JPEG),
        (b"no jpeg", PixelFormat.JPEG),
        (b"", PixelFormat.JPEG),
        (b"bytes", PixelFormat.GRAY8),
    ],
)
def test_what_is_no_frame_is_refused(image: np.ndarray | bytes, pixel_format: PixelFormat) -> None:
    with pytest.raises(InvalidInputError):
        FrameData.of(Frame(image, 0, pixel_format))


@pytest.mark.parametrize("pixels", [PixelFormat.RGB8, PixelFormat.BGR8])
def test_a_colour_frame_in_grey_is_what_the_server_would_make_of_it(pixels: PixelFormat) -> None:
    image = np.random.default_rng(0).integers(0, 256, (483, 641, 3), np.uint8)  # in several parts, the last one shorter
    gray = FrameData.of(Frame(image, 7, pixels)).in_gray()
    assert (gray.width, gray.height, gray.format, gray.captured_ns) == (641, 483, PixelFormat.GRAY8, 7)
    assert bytes(gray.data) == to_model_color(image, pixels, "gray").tobytes()
    assert bytes(gray.data) == cv2.cvtColor(image, getattr(cv2, f"COLOR_{pixels.name[:3]}2GRAY")).tobytes()
    owned = gray.owned()
    assert owned.in_gray() is owned
    assert (gray.nbytes, owned.data) == (641 * 483, gray.data)
    room = np.zeros(gray.nbytes, np.uint8)
    gray.write_to(room)
    assert room.tobytes() == bytes(gray.data)

"""Frames of a video are exactly those asked for, in any order, in any process."""

from __future__ import annotations

import multiprocessing
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_training.image_source import ImageFile, VideoFrame, read_image, read_size

from tests.training.label_files import frame_pixels, write_png


@pytest.mark.parametrize("video", ["flies/clip.mp4", "openfield/videos/m3v1mp4.mp4"])
def test_frames_in_any_order_are_those_of_a_straight_reading(shared_data: Path, video: str) -> None:
    wanted = [0, 1, 2, 40, 7, 90, 89, 91, 119, 60]
    capture = cv2.VideoCapture(str(shared_data / video))
    straight = [capture.read()[1] for _ in range(120)]
    for index in wanted:
        pixels = read_image(VideoFrame(shared_data / video, index))
        np.testing.assert_array_equal(pixels[:, :, ::-1], straight[index])


def write_clip(file: Path, *, equally_long: bool) -> Path:
    """Ten seconds of moving colours with B-frames and a keyframe now and then; three quarters of them or all."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    chosen = "null" if equally_long else "select='gt(mod(n,4),0)+lt(mod(n,31),7)'"
    codec = ["-c:v", "libvpx" if file.suffix == ".webm" else "libx264", "-g", "25", "-pix_fmt", "yuv420p"]
    source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=30:duration=10", "-vf", chosen, "-fps_mode", "vfr"]
    subprocess.run([ffmpeg, "-loglevel", "error", *source, *codec, str(file)], check=True)
    return file


@pytest.mark.parametrize("equally_long", [True, False])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "webm"])
def test_frames_are_counted_whatever_their_times(tmp_path: Path, kind: str, equally_long: bool) -> None:
    file = write_clip(tmp_path / f"clip.{kind}", equally_long=equally_long)
    capture = cv2.VideoCapture(str(file))
    straight = []
    while (found := capture.read())[0]:
        straight.append(found[1])
    for index in [*np.random.default_rng(0).permutation(len(straight))[:60].tolist(), 0, 1, len(straight) - 1, 150]:
        np.testing.assert_array_equal(read_image(VideoFrame(file, index))[:, :, ::-1], straight[index])
    assert read_size(VideoFrame(file, len(straight) - 1)) == (96, 64)
    with pytest.raises(InvalidInputError, match=f"has {len(straight)} frames"):
        read_size(VideoFrame(file, len(straight)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_process_reads_beside_its_parent(shared_data: Path) -> None:
    frames = [VideoFrame(shared_data / "flies/clip.mp4", index) for index in (50, 10, 30)]
    here = [read_image(frame) for frame in frames]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        for expected, found in zip(here, pool.map(read_image, frames), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_frame_beyond_the_end(shared_data: Path) -> None:
    with pytest.raises(InvalidInputError, match="has 1500 frames, and frame 1500 is labelled"):
        read_size(VideoFrame(shared_data / "flies/clip.mp4", 1500))


def test_what_is_no_video(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="can't be read as a video"):
        read_size(VideoFrame(file, 0))


def test_names_beyond_ascii(tmp_path: Path) -> None:
    file = write_png(tmp_path / "plain.png", frame_pixels(3)).rename(tmp_path / "Mäuse été 鼠.png")
    np.testing.assert_array_equal(read_image(ImageFile(file)), frame_pixels(3))
    assert read_size(ImageFile(file)) == (64, 48)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    file = tmp_path / "deep.png"
    deep = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20
    cv2.imwrite(str(file), deep)
    pixels = read_image(ImageFile(file))
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, deep / 257, atol=1)

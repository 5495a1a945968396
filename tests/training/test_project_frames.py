from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_training.project import extract_frames, open_project
from poseloop_training.project.choice import choose_kmeans, choose_uniform, thumbnail
from poseloop_training.project.frames import frames_there
from poseloop_training.video_file import VideoFile

from tests.training.project_files import arena_video, new_project, spot_frames, write_video


def colours(counts: list[int], size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Runs of equal frames, each run of its own brightness."""
    levels = np.linspace(20, 220, len(counts)).astype(np.uint8)
    runs = [[np.full(size[::-1], level, dtype=np.uint8)] * count for level, count in zip(levels, counts, strict=True)]
    return [frame for run in runs for frame in run]


def test_kmeans_takes_one_frame_of_each_kind(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.avi", colours([30, 3, 20, 5]))
    project = new_project(tmp_path / "p", video)
    report = extract_frames(project, count=4)
    (done,) = report.videos
    assert (done.video, done.frames, done.there_before) == ("cam", 58, 0)
    runs = [np.searchsorted([30, 33, 53], int(file.stem[3:]), side="right") for file in done.written]
    assert runs == [0, 1, 2, 3]
    for file in done.written:
        written = cv2.imread(str(file))[:, :, ::-1]
        np.testing.assert_array_equal(written, VideoFile(video).read(int(file.stem[3:])))


def test_uniform_draws_within_start_and_stop(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.avi", spot_frames([(x % 64, 5) for x in range(100)]))
    project = new_project(tmp_path / "p", video)
    text = project.config_file.read_text().replace("start: 0\nstop: 1\n", "start: 0.5\nstop: 0.8\n")
    project.config_file.write_text(text)
    report = extract_frames(open_project(project.folder), method="uniform", count=10, seed=1)
    numbers = sorted(frames_there(tmp_path / "p/labeled-data/cam"))
    assert len(numbers) == len(report.videos[0].written) == 10
    assert all(50 <= number < 80 for number in numbers)


def test_the_seed_decides(tmp_path: Path) -> None:
    arena_video(tmp_path / "cam.avi", 40)
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        report = extract_frames(new_project(tmp_path / name, tmp_path / "cam.avi"), count=6, seed=seed)
        drawn.append([file.name for file in report.videos[0].written])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 6


def test_frames_that_are_there_stay(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.avi", spot_frames([(x, 5) for x in range(12)]))
    project = new_project(tmp_path / "p", video)
    first = extract_frames(project, method="uniform", count=5)
    files = {file: file.read_bytes() for file in first.videos[0].written}
    again = extract_frames(project, method="uniform", count=5)
    assert (again.videos, again.skipped) == ((), ("cam",))
    more = extract_frames(project, method="uniform", count=50, more=True)
    assert len(more.videos[0].written) == 7
    assert more.videos[0].there_before == 5
    assert all(file.read_bytes() == data for file, data in files.items())
    assert sorted(frames_there(tmp_path / "p/labeled-data/cam")) == list(range(12))
    nothing = extract_frames(project, count=3, more=True)
    assert nothing.videos[0].written == ()


def test_a_new_video_is_added_to_the_project(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p")
    video = write_video(tmp_path / "late.avi", spot_frames([(x, 5) for x in range(12)]))
    report = extract_frames(project, [video], count=2)
    assert [done.video for done in report.videos] == ["late"]
    assert [known.path for known in open_project(project.folder).videos] == [video.resolve()]


def test_crop(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.avi", spot_frames([(20, 15)] * 5))
    project = new_project(tmp_path / "p", video)
    config = project.config_file
    config.write_text(config.read_text().replace("0, 64, 0, 48", "10, 40, 5, 25"))
    report = extract_frames(open_project(project.folder), method="uniform", count=1, crop=True)
    image = cv2.imread(str(report.videos[0].written[0]))
    assert image.shape == (20, 30, 3)
    assert np.argwhere(image[:, :, 0] == 255).tolist() == [[10, 10]]
    with pytest.raises(InvalidInputError, match="30x20, and these would be 64x48"):
        extract_frames(open_project(project.folder), count=1, more=True)
    config.write_text(config.read_text().replace("10, 40, 5, 25", "10, 70, 5, 25"))
    (tmp_path / "p/labeled-data/cam" / report.videos[0].written[0].name).unlink()
    with pytest.raises(InvalidInputError, match="reaches beyond its 64x48"):
        extract_frames(open_project(project.folder), count=1, crop=True)


def test_missing_videos_are_named(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p")
    with pytest.raises(InvalidInputError, match="lists no video"):
        extract_frames(project)
    with pytest.raises(InvalidInputError, match=r"there is no video nowhere\.mp4"):
        extract_frames(project, [Path("nowhere.mp4")])
    video = write_video(tmp_path / "cam.avi", spot_frames([(5, 5)]))
    extract_frames(project, [video], count=1)
    video.unlink()
    with pytest.raises(InvalidInputError, match="neither there nor in its videos/"):
        extract_frames(open_project(project.folder))
    with pytest.raises(InvalidInputError, match="--count"):
        extract_frames(project, count=0)


def test_names_have_the_digits_of_the_longest_number(tmp_path: Path) -> None:
    video = write_video(tmp_path / "cam.avi", spot_frames([(5, 5)] * 100))
    report = extract_frames(new_project(tmp_path / "p", video), method="uniform", count=3)
    assert all(len(file.stem) == len("img42") for file in report.videos[0].written)


def test_choices_of_few_candidates() -> None:
    assert choose_uniform([4, 7], 5, 0) == [4, 7]
    thumbnails = np.zeros((6, 30), dtype=np.uint8)
    assert len(choose_kmeans(range(6), thumbnails, 3, 0)) == 1, "equal frames are of one kind"
    thumbnails[3:] = 200
    assert choose_kmeans(range(6), thumbnails, 2, 0, best=max) == [2, 5]


def test_a_thumbnail_is_small_and_grey() -> None:
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    image[:, :, 0] = 30
    small = thumbnail(image)
    assert small.shape == (30 * 22,)
    assert set(small.tolist()) == {10}


def test_a_real_recording(tmp_path: Path, shared_data: Path) -> None:
    project = new_project(tmp_path / "p", shared_data / "openfield/videos/m3v1mp4.mp4")
    text = project.config_file.read_text().replace("stop: 1\n", "stop: 0.1\n")
    project.config_file.write_text(text)
    report = extract_frames(open_project(project.folder), count=6)
    numbers = [int(file.stem[3:]) for file in report.videos[0].written]
    assert len(numbers) == 6
    assert max(numbers) < 233
    assert max(numbers) - min(numbers) > 60, "kinds of frames lie apart"

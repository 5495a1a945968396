from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from poseloop.errors import InvalidInputError
from poseloop_training.project import create_project

from tests.training.project_files import NAMES, spot_frames, write_video

DAY = date(2026, 3, 1)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "cam.avi", spot_frames([(5, 5)] * 3))


def test_the_layout_is_deeplabcuts(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = create_project("reach", "Ada", NAMES, [video], skeleton=[NAMES], day=DAY)
    assert project.folder == tmp_path / "reach-Ada-2026-03-01"
    folders = {path.name for path in project.folder.iterdir() if path.is_dir()}
    assert folders == {"labeled-data", "videos", "training-datasets", "dlc-models"}
    assert (project.folder / "labeled-data/cam").is_dir()
    content = yaml.safe_load(project.config_file.read_text())
    assert list(content)[:8] == [
        "Task", "scorer", "date", "multianimalproject", "identity", "project_path", "engine", "video_sets",
    ]  # fmt: skip
    assert content["date"] == "Mar1"
    assert content["video_sets"] == {str(video.resolve()): {"crop": "0, 64, 0, 48"}}
    assert content["bodyparts"] == list(NAMES)
    assert content["skeleton"] == [list(NAMES)]
    assert content["project_path"] == str(project.folder)
    assert (project.bodyparts, project.skeleton, project.iteration) == (NAMES, (NAMES,), 0)


def test_videos_may_be_copied(tmp_path: Path, video: Path) -> None:
    project = create_project("reach", "Ada", NAMES, [video], folder=tmp_path / "p", copy_videos=True)
    assert project.videos[0].path == tmp_path / "p/videos/cam.avi"
    assert (tmp_path / "p/videos/cam.avi").read_bytes() == video.read_bytes()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not empty"):
        create_project("reach", "Ada", NAMES, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scorer": "Ada/Eve"}, "'Ada/Eve' becomes a part of file names"),
        ({"task": ""}, "the name ''"),
        ({"keypoints": []}, "needs keypoints"),
        ({"keypoints": ["a", "a"]}, "'a' stands twice"),
        ({"keypoints": ["a", "[b]"]}, "other programs may refuse"),
        ({"skeleton": [("snout", "ghost")]}, "'ghost' is no keypoint"),
        ({"videos": [Path("nowhere.mp4")]}, "there is no video nowhere.mp4"),
        ({"videos": [Path("a/cam.mp4"), Path("b/cam.avi")]}, "two videos are named 'cam'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    arguments: dict[str, Any] = {"task": "reach", "scorer": "Ada", "keypoints": NAMES, **change}
    with pytest.raises(InvalidInputError, match=expected.replace("[", r"\[")):
        create_project(**arguments, folder=tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "cam.mp4").write_bytes(b"not a video")
    with pytest.raises(InvalidInputError, match=r"cam\.mp4 can't be read as a video"):
        create_project("reach", "Ada", NAMES, [tmp_path / "cam.mp4"], folder=tmp_path / "p")

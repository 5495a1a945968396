from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from poseloop.errors import InvalidInputError
from poseloop_training.project import open_project
from poseloop_training.project.config import add_video, set_iteration

from tests.training.project_files import new_project, spot_frames, write_video

CONFIG = """# what the lab wrote
Task: reach
scorer: Ada   # who labels
video_sets:
  /gone/old.mp4:
    crop: 0, 64, 0, 48
bodyparts:
- snout
- tail

# refinement
iteration: 3 # third round
pcutoff: 0.4
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_bytes(text.encode())
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "new: cam #1.avi", spot_frames([(5, 5)] * 3))


def test_reads_what_old_projects_leave_empty(tmp_path: Path) -> None:
    project = open_project(write(tmp_path, "Task:\nscorer: Ada\nvideo_sets:\nbodyparts: [a]\niteration:\nstart:\n"))
    assert (project.iteration, project.start, project.stop, project.frames_to_pick) == (0, 0, 1, 20)
    assert project.videos == ()
    assert open_project(tmp_path / "config.yaml") == project


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_change_leaves_every_other_line_as_it_is(tmp_path: Path, video: Path, newline: str) -> None:
    project = open_project(write(tmp_path / "p", CONFIG.replace("\n", newline)))
    changed = set_iteration(add_video(project, video, (64, 48)), 4)
    assert changed.iteration == 4
    assert [v.path for v in changed.videos] == [video.resolve(), None]
    assert changed.videos[0].crop == (0, 64, 0, 48)
    lines = (tmp_path / "p/config.yaml").read_bytes().decode().splitlines()
    assert [line for line in CONFIG.splitlines() if line not in lines] == ["iteration: 3 # third round"]
    assert "iteration: 4 # third round" in lines
    assert len(lines) == len(CONFIG.splitlines()) + 2
    assert yaml.safe_load((tmp_path / "p/config.yaml").read_bytes())["scorer"] == "Ada"


@pytest.mark.parametrize("listed", ["video_sets:\n", "video_sets: {}\n", "", "video_sets: # none yet\n"])
def test_the_first_video_of_a_project(tmp_path: Path, video: Path, listed: str) -> None:
    project = open_project(write(tmp_path / "p", f"scorer: Ada\nbodyparts: [a]\n{listed}start: 0\n"))
    added = add_video(project, video, (64, 48))
    assert [v.path for v in added.videos] == [video.resolve()]
    before = (tmp_path / "p/config.yaml").read_bytes()
    assert add_video(added, video, (64, 48)) == added
    assert (tmp_path / "p/config.yaml").read_bytes() == before


def test_iteration_is_added_where_it_is_missing(tmp_path: Path) -> None:
    project = open_project(write(tmp_path, "scorer: Ada\nbodyparts: [a]"))
    assert set_iteration(project, 2).iteration == 2


@pytest.mark.parametrize("flow", ["video_sets: {/a.mp4: {crop: '0, 1, 0, 1'}}", "video_sets: {/a.mp4:\n   {crop: }}"])
def test_a_layout_that_can_not_be_changed_safely_is_left_alone(tmp_path: Path, video: Path, flow: str) -> None:
    text = f"scorer: Ada\n{flow}\nbodyparts: [a]\n"
    project = open_project(write(tmp_path / "p", text))
    with pytest.raises(InvalidInputError, match="so it stays as it is: list"):
        add_video(project, video, (64, 48))
    assert (tmp_path / "p/config.yaml").read_text() == text


def test_a_video_of_the_same_name(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a/cam.avi", spot_frames([(5, 5)]))
    second = write_video(tmp_path / "b/cam.avi", spot_frames([(5, 5)]))
    project = new_project(tmp_path / "p", first)
    with pytest.raises(InvalidInputError, match="rename"):
        add_video(project, second, (64, 48))
    first.unlink()
    text = project.config_file.read_text()
    found = add_video(open_project(project.folder), second, (64, 48))
    assert [v.path for v in found.videos] == [second.resolve()]
    assert project.config_file.read_text() == text


def test_a_video_is_found_in_the_folder_of_a_moved_project(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", CONFIG.replace("/gone/old.mp4", r"C:\gone\old.mp4"))
    write_video(folder / "videos/old.avi", spot_frames([(5, 5)])).rename(folder / "videos/old.mp4")
    (video,) = open_project(folder).videos
    assert (video.path, video.stem) == (folder / "videos/old.mp4", "old")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scorer: Ada\nbodyparts: [a]\niteration: many\n", "'iteration' is 'many'"),
        ("scorer:\nbodyparts: [a]\n", "'scorer' is empty"),
        ("scorer: Ada\nbodyparts: [a]\nstart: 0.5\nstop: 0.2\n", "must rise"),
        ("scorer: Ada\nbodyparts: [a]\nvideo_sets: [x.mp4]\n", "'video_sets' must list"),
        ("scorer: Ada\nbodyparts: [a]\nvideo_sets:\n  x.mp4:\n    crop: 0, 5\n", "four numbers"),
        ("scorer: Ada\nbodyparts: [a]\nvideo_sets:\n  x.mp4:\n    crop: 5, 5, 0, 9\n", "is empty"),
        ("scorer: [Ada\n", "not valid YAML"),
        ("scorer: " + "[" * 5000, "not valid YAML"),
        ("scorer: Ada\nbodyparts: [a]\ndate: 2026-13-45\n", "not valid YAML"),
        ("scorer: Ada\nbodyparts: [a]\ndate: " + "9" * 6000, "not valid YAML"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidInputError, match=expected) as caught:
        open_project(write(tmp_path, text))
    assert str(tmp_path / "config.yaml") in str(caught.value)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds no config\.yaml"):
        open_project(tmp_path)

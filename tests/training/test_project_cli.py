"""`poseloop project` as its user meets it, from videos to the second round of labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from poseloop_training.dataset import load_dataset
from poseloop_training.project import open_project
from poseloop_training.project.frames import frames_there
from poseloop_training.project.table import LabelRows, one_animal, read_both, write_both

from tests.models import write_spot_model
from tests.training.project_files import NAMES, spot_frames, write_video


def poseloop(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poseloop.cli", "project", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, encoding="utf-8", cwd=cwd)


def ok(*arguments: str | Path, cwd: Path) -> str:
    done = poseloop(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def video(tmp_path: Path) -> Path:
    spots = [(5 + number, 20 + number // 3) for number in range(40)]
    return write_video(tmp_path / "cam 1.avi", spot_frames(spots, [60 if n in (25, 35) else 255 for n in range(40)]))


def label(folder: Path, video: str) -> None:
    """Label every frame as a person would: at the spot."""
    project = open_project(folder)
    frames = frames_there(project.labeled_data / video)
    values = np.array([[(5 + n, 20 + n // 3), (15 + n, 15 + n // 3)] for n in frames], dtype=float)
    rows = LabelRows(video, tuple(file.name for file in frames.values()), one_animal(NAMES), values)
    write_both(project.labels_file(video), rows, "Ada")


def test_the_whole_way(tmp_path: Path, video: Path) -> None:
    made = ok(
        "new", "reach", video, "--scorer", "Ada", "--keypoints", "snout, tail", "--folder", "my mouse", cwd=tmp_path
    )
    assert 'poseloop project frames "my mouse"' in made
    folder = tmp_path / "my mouse"
    drawn = ok("frames", "my mouse", "--count", "6", cwd=tmp_path)
    assert "cam 1" in drawn
    assert 'in napari open "my mouse' in drawn
    assert "--more draws others" in ok("frames", folder, cwd=tmp_path)
    label(folder, "cam 1")
    checked = json.loads(ok("check", folder, "--json", cwd=tmp_path))
    assert (checked["frames"], checked["problems"]) == (6, [])
    assert all(Path(file).is_file() for file in checked["drawn"])
    write_spot_model(tmp_path / "spot.onnx", NAMES)
    found = ok("outliers", folder, video, "--model", "spot.onnx", cwd=tmp_path)
    assert "low confidence" in found
    refused = poseloop("merge", folder, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "are not labelled" in refused.stderr
    label(folder, "cam 1")
    merged = ok("merge", folder, cwd=tmp_path)
    assert "iteration 0 is over, 1 begins" in merged
    assert len(load_dataset(folder)) == len(frames_there(folder / "labeled-data/cam 1")) > 6
    written = json.loads(ok("sleap", folder, "all.slp", "--json", cwd=tmp_path))
    assert written["labelled"] == written["frames"]
    assert len(load_dataset(tmp_path / "all.slp")) == written["frames"]


def test_json(tmp_path: Path, video: Path) -> None:
    made = json.loads(ok("new", "reach", video, "--scorer", "Ada", "--keypoints", "snout,tail", "--json", cwd=tmp_path))
    folder = Path(made["project"])
    assert made["videos"][0]["folder"] == "cam 1"
    drawn = json.loads(ok("frames", folder, "--method", "uniform", "--count", "3", "--json", cwd=tmp_path))
    assert len(drawn["videos"][0]["written"]) == 3
    write_spot_model(tmp_path / "spot.onnx", NAMES)
    found = json.loads(ok("outliers", folder, video, "--model", "spot.onnx", "--augment", "--json", cwd=tmp_path))
    assert {reason["name"] for reason in found["reasons"]} == {"low confidence", "jump", "variations"}
    assert found["taken"]
    label(folder, "cam 1")
    merged = json.loads(ok("merge", folder, "--json", cwd=tmp_path))
    assert (merged["iteration_before"], merged["iteration"]) == (0, 1)
    assert read_both(open_project(folder).labels_file("cam 1")) is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["frames", "nowhere"], "holds no config.yaml"),
        (["new", "a/b", "--scorer", "Ada", "--keypoints", "x"], "becomes a part of file names"),
        (["new", "a", "--scorer", "Ada", "--keypoints", "x", "--edge", "x"], "must be two keypoints"),
        (["check", "nowhere"], "holds no config.yaml"),
        (["merge", "nowhere"], "holds no config.yaml"),
        (["sleap", "nowhere", "a.slp"], "holds no config.yaml"),
        (["outliers", "nowhere", "a.mp4", "--model", "a.onnx"], "holds no config.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = poseloop(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

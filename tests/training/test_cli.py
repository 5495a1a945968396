"""`poseloop evaluate` as its user meets it: a process, its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import KEYPOINT_STEP, write_spot_model
from tests.training.label_files import config_text, write_deeplabcut, write_png

NAMES = ("snout", "tail")


def poseloop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poseloop.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, encoding="utf-8")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_spot_model(tmp_path / "spot.onnx", NAMES)
    return tmp_path / "spot.onnx"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Four frames; in frame k the labels lie k pixels to the right of what the model answers."""
    spots = np.array([(10, 20), (30, 40), (7, 33), (41, 27)])
    labels = np.stack([spots, spots + KEYPOINT_STEP], axis=1).astype(float)
    labels[..., 0] += np.arange(4)[:, None]
    folder = write_deeplabcut(tmp_path / "project", labels, NAMES)
    for row, (x, y) in enumerate(spots):
        pixels = np.zeros((48, 64), dtype=np.uint8)
        pixels[y, x] = 255
        write_png(folder / f"labeled-data/cam/img{row:03d}.png", pixels)
    return folder


def test_json(model: Path, project: Path, tmp_path: Path) -> None:
    done = poseloop("evaluate", model, project, "--json", "--draw", tmp_path / "worst")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 4
    assert report["mean_error_px"] == pytest.approx(1.5)
    assert report["median_error_px"] == pytest.approx(1.5)
    assert report["rmse_px"] == pytest.approx(np.sqrt((0 + 1 + 4 + 9) / 4))
    assert set(report["per_keypoint"]) == set(NAMES)
    assert report["per_keypoint"]["tail"]["mean_error_px"] == pytest.approx(1.5)
    assert report["pck"]["radius_px"]["2.5"] == pytest.approx(0.75)
    assert [frame["index"] for frame in report["worst_frames"]] == [3, 2, 1, 0]
    assert len(report["drawn"]) == 5
    assert all(Path(file).is_file() for file in report["drawn"])
    assert Path(report["drawn"][-1]).name == "reliability.png"
    # The labels of a frame lie 11.2 px apart, of which a twentieth is less than the two pixels that are the least.
    confidence = report["confidence"]
    assert (confidence["calibrated"], confidence["radius_px"], confidence["keypoints"]) == (False, 2.0, 8)
    assert confidence["mean_confidence"] == 1
    assert confidence["within_radius"] == pytest.approx(0.75)
    assert confidence["brier"] == pytest.approx(0.25)
    assert confidence["expected_calibration_error"] == pytest.approx(0.25)
    (one,) = confidence["curve"]
    assert one["low"] < one["within_radius"] < one["high"] < one["confidence"]


def test_indices_choose_the_frames(model: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("3\n1\n")
    done = poseloop("evaluate", model, project, "--indices", tmp_path / "test.txt", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 2
    assert report["mean_error_px"] == pytest.approx(2)


def test_tables_for_people(model: Path, project: Path) -> None:
    done = poseloop("evaluate", model, project)
    assert done.returncode == 0, done.stderr
    assert "Errors on 4 frames" in done.stdout
    assert "cam/img003.png" in done.stdout
    assert "Confidence (not calibrated): 1.000 on average, and 75.0% of the keypoints lie within 2 px" in done.stdout


def test_problems_are_shown_and_errors_refused(model: Path, project: Path) -> None:
    (project / "labeled-data/cam/img002.png").unlink()
    done = poseloop("evaluate", model, project, "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "What to know about this dataset" in done.stderr
    assert "error: reach can't be used: frame 2:" in done.stderr
    assert "Traceback" not in done.stderr


def test_warnings_go_beside_the_json(model: Path, project: Path) -> None:
    (project / "config.yaml").write_text(config_text([*NAMES], skeleton=[["snout", "ghost"]]))
    done = poseloop("evaluate", model, project, "--json")
    assert done.returncode == 0, done.stderr
    assert "ghost" in done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize("which", ["model", "project", "indices", "keypoints"])
def test_what_is_wrong_is_one_sentence(model: Path, project: Path, tmp_path: Path, which: str) -> None:
    arguments: list[str | Path] = ["evaluate", model, project]
    expected = {"model": "no.onnx does not exist", "project": "nowhere does not exist", "indices": "no frame 4"}
    if which == "model":
        arguments[1] = tmp_path / "no.onnx"
    elif which == "project":
        arguments[2] = tmp_path / "nowhere"
    elif which == "indices":
        (tmp_path / "i.json").write_text("[4]")
        arguments += ["--indices", tmp_path / "i.json"]
    else:
        write_spot_model(tmp_path / "other.onnx", ("snout",))
        arguments[1] = tmp_path / "other.onnx"
    done = poseloop(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert expected.get(which, "does not know 'tail'") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_openfield_with_a_model_of_its_keypoints(tmp_path: Path, shared_data: Path) -> None:
    write_spot_model(tmp_path / "spot.onnx", ("tailbase", "snout", "rightear", "leftear"), "rgb")
    order = np.random.RandomState(0).permutation(116)[:3].tolist()
    (tmp_path / "test.json").write_text(json.dumps(order))
    done = poseloop(
        "evaluate", tmp_path / "spot.onnx", shared_data / "openfield", "--indices", tmp_path / "test.json", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 3
    assert report["labelled_keypoints"] == 12
    assert report["mean_error_px"] > 0

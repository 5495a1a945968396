"""Label file in, live keypoints out: each step is the program that a user would run."""

from __future__ import annotations

import csv
import json
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import poseloop
import pytest
from poseloop.sources import open_source
from poseloop_server.bundled import arena_model_path

from tests.e2e.real_server import RealServer, run_poseloop

FRAMES = 150


def read_table(path: Path) -> np.ndarray:
    """Return a DeepLabCut-style csv as float64 (frames, keypoints, 3)."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[3:]
    return np.array([[float(value) for value in row[1:]] for row in rows]).reshape(len(rows), -1, 3)


def first_frames(video: Path, out: Path, count: int) -> None:
    """Copy the first frames of a video without loss."""
    import cv2

    capture = cv2.VideoCapture(str(video))
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, size)
    assert writer.isOpened()
    for _ in range(count):
        found, image = capture.read()
        assert found
        writer.write(image)
    capture.release()
    writer.release()


@pytest.fixture
def recording(shared_data: Path, tmp_path: Path) -> Path:
    """The beginning of a real recording of a mouse."""
    video = tmp_path / "mouse.avi"
    first_frames(shared_data / "openfield" / "videos" / "m3v1mp4.mp4", video, FRAMES)
    return video


def test_a_served_video_gives_the_poses_of_offline_tracking(recording: Path, tmp_path: Path) -> None:
    table = tmp_path / "offline.csv"
    done = run_poseloop("track", str(recording), "--model", str(arena_model_path()), "-o", str(table))
    assert done.returncode == 0, done.stderr
    offline = read_table(table)
    assert len(offline) == FRAMES

    with RealServer(tmp_path, "--model", str(arena_model_path())) as server:
        poses: list[poseloop.Pose] = []
        with poseloop.subscribe(server.endpoint, "cam0") as subscription:
            subscription.wait_until_ready()
            reader = threading.Thread(target=lambda: poses.extend(islice(subscription, FRAMES)))
            reader.start()
            sent = run_poseloop(
                "stream", str(recording), "--name", "cam0", "--server", server.address, "--policy", "lossless", "--json"
            )
            assert sent.returncode == 0, sent.stderr
            reader.join(timeout=60)
            assert not reader.is_alive(), "poses are missing"
    account = json.loads(sent.stdout.splitlines()[-1])
    assert account["sent"] == account["published"] == FRAMES
    assert [pose.sequence for pose in poses] == list(range(FRAMES))
    served = np.stack([pose.keypoints[0] for pose in poses])
    np.testing.assert_allclose(served[..., :2], offline[..., :2], atol=1e-3)


def test_a_live_camera_is_followed_closely(tmp_path: Path) -> None:
    """The bundled model against the synthetic arena's truth, through the server."""
    with RealServer(tmp_path) as server, poseloop.connect(server.address) as connection:
        source = open_source("synthetic:640x480@60?seed=5")
        errors = []
        with connection.track(islice(source, 60), "arena", policy="lossless") as poses:
            from poseloop.arena import Arena, ArenaSettings

            arena = Arena(ArenaSettings(width=640, height=480, frames_per_second=60, seed=5))
            for pose in poses:
                truth = arena.keypoints(pose.sequence)
                errors.append(np.linalg.norm(pose.keypoints[0, :, :2] - truth, axis=1))
    assert len(errors) == 60
    assert np.mean(errors) < 0.05 * arena.body_length_px


@pytest.mark.slow
def test_from_labels_to_poses(tmp_path: Path) -> None:
    """Train a few steps on a labelled project, evaluate, and serve what came out."""
    from poseloop.arena import ArenaSettings
    from poseloop.arena_dataset import write_project

    project = tmp_path / "project"
    write_project(project, 24, ArenaSettings(width=160, height=120), appearances=2)
    model = tmp_path / "mouse.onnx"
    trained = run_poseloop(
        "train", str(project), "--out", str(model), "--epochs", "3", "--batch-size", "4", "--input-scale", "1",
        "--test-fraction", "0.2", "--seed", "1",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    evaluated = run_poseloop("evaluate", str(model), str(project), "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    report = json.loads(evaluated.stdout)
    assert {"mean_error_px", "median_error_px", "rmse_px", "per_keypoint", "frames"} <= set(report)
    with RealServer(tmp_path, "--model", f"mouse={model}") as server, poseloop.connect(server.address) as connection:
        images = [np.full((120, 160), value, np.uint8) for value in (0, 128, 255)]
        poses = list(connection.track(images, "cam0", model="mouse", policy="lossless"))
    assert [pose.sequence for pose in poses] == [0, 1, 2]
    assert set(poses[0].keypoint_names) == set(report["per_keypoint"])

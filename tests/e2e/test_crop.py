"""One small animal in a large frame, followed by the bundled model: live, lossless and offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import poseloop
import pytest
from poseloop.arena import Arena, ArenaSettings
from poseloop_server.bundled import arena_model_path

from tests.e2e.real_server import RealServer, run_poseloop

cv2 = pytest.importorskip("cv2")

SIDE, FRAMES = 1024, 40
# The animal has as many pixels as in the frames that the model was trained on.
ARENA = ArenaSettings(width=SIDE, height=SIDE, animal_size=480 / SIDE, seed=7)
CROP = "256x256"


def sequence() -> list[int]:
    """The arena's frames: a walk, a leap across the frame, and another walk."""
    return [*range(FRAMES // 2), *range(6000, 6000 + FRAMES // 2)]


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena(ARENA)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, arena: Arena) -> Path:
    path = tmp_path_factory.mktemp("video") / "arena.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 30.0, (SIDE, SIDE))
    assert writer.isOpened()
    for index in sequence():
        writer.write(cv2.cvtColor(arena.frame(index), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    with RealServer(tmp_path, "--crop", CROP, "--threads", "1") as running:
        yield running


def test_offline_and_online_find_the_same_animal_where_it_is(
    tmp_path: Path, recording: Path, arena: Arena, server: RealServer
) -> None:
    model = str(arena_model_path())
    table = tmp_path / "poses.h5"
    done = run_poseloop("track", str(recording), "-m", model, "-o", str(table), "--crop", CROP, "--threads", "1")
    assert done.returncode == 0, done.stderr
    tracked = pd.read_hdf(table).to_numpy().reshape(FRAMES, 1, -1, 3)
    with (
        poseloop.connect(server.address) as connection,
        poseloop.open_source(str(recording), speed="max") as source,
        connection.track(source, stream="cam0", policy="lossless") as poses,
    ):
        served = list(islice(poses, FRAMES))
    np.testing.assert_allclose(np.stack([pose.keypoints for pose in served]), tracked, atol=1e-3)
    truth = np.stack([arena.keypoints(index) for index in sequence()])
    errors = np.linalg.norm(tracked[:, 0, :, :2] - truth, axis=2)
    assert np.median(errors) < 0.05 * arena.body_length_px
    parts = [pose.crop for pose in served if pose.crop is not None]
    assert len(parts) == FRAMES
    assert not any(part.lost for part in parts)
    assert [number for number, part in enumerate(parts) if part.searched] == [0, FRAMES // 2]


def test_a_live_stream_asks_for_its_own_window_and_listeners_learn_where_it_was(server: RealServer) -> None:
    camera = f"synthetic:{SIDE}x{SIDE}@30?animal_size={480 / SIDE}&seed=7"
    with poseloop.subscribe(server.endpoint, "cam0", timeout_s=60) as poses:
        poses.wait_until_ready()
        arguments = ("--server", server.address, "--frames", "60", "--crop", "320x240", "--json")
        done = run_poseloop("stream", camera, *arguments)
        assert done.returncode == 0, done.stderr
        account = json.loads(done.stdout)
        assert account["published"] > 0
        found = list(islice(poses, account["published"]))
    assert {(pose.crop.width, pose.crop.height) for pose in found if pose.crop is not None} == {(320, 240)}
    assert found[0].crop is not None
    assert found[0].crop.searched
    assert not found[-1].crop.searched


def test_a_crop_that_is_none_is_refused_before_the_stream_is_opened(server: RealServer) -> None:
    done = run_poseloop("stream", "synthetic:", "--server", server.address, "--crop", "256")
    assert done.returncode == 1
    assert "give WIDTHxHEIGHT, such as 256x256" in " ".join(done.stderr.split())

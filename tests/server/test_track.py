import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.clip import Clip
from poseloop_server.model import ModelFailedError, PoseModel
from poseloop_server.track import TrackOutputs, track_video
from poseloop_server.video_poses import open_video

from tests.models import write_spot_model

cv2 = pytest.importorskip("cv2")

SIZE = (128, 96)
POSELOOP = [sys.executable, "-m", "poseloop.cli"]


def spot_of(index: int) -> tuple[int, int]:
    return 5 + (index * 7) % 110, 5 + (index * 3) % 80


def write_video(path: Path, frames: int) -> Path:
    """A lossless video of one bright red pixel that moves."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, SIZE)
    assert writer.isOpened()
    for index in range(frames):
        image = np.full((SIZE[1], SIZE[0], 3), 20, np.uint8)
        x, y = spot_of(index)
        image[y, x] = (30, 30, 250)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "spot.onnx"
    write_spot_model(path, ("spot", "beside"), "rgb")
    return path


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*POSELOOP, "track", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def positions(path: Path) -> np.ndarray:
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    return table["poseloop_spot"]["spot"][["x", "y"]].to_numpy()


def test_every_frame_is_tracked_in_order_into_every_output(tmp_path: Path, model: Path) -> None:
    video = write_video(tmp_path / "mouse.avi", 60)
    done = run(video, "-m", model, "-o", "out.csv", "--h5", "--video", "drawn.mp4", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["frames"], result["interrupted"]) == (60, False)
    assert result["outputs"] == ["out.csv", "out.h5", "drawn.mp4"]
    expected = [spot_of(index) for index in range(60)]
    assert positions(tmp_path / "out.csv") == pytest.approx(np.array(expected, float))
    table = pd.read_hdf(tmp_path / "out.h5", key="df_with_missing")
    assert table["poseloop_spot"]["spot"]["x"].tolist() == [x for x, _ in expected]
    drawn = cv2.VideoCapture(str(tmp_path / "drawn.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drawn.mp4", "mouse.avi", "out.csv", "out.h5", "spot.onnx"
    ]  # fmt: skip


def test_the_output_has_a_name_of_its_own_and_is_never_overwritten(tmp_path: Path, model: Path) -> None:
    video = write_video(tmp_path / "mouse.avi", 5)
    assert run(video, "-m", model, folder=tmp_path).returncode == 0
    table = tmp_path / "mouse_spot.csv"
    before = table.read_text()
    refused = run(video, "-m", model, folder=tmp_path)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert table.read_text() == before
    assert run(video, "-m", model, "--force", folder=tmp_path).returncode == 0


def test_stopped_in_the_middle_it_keeps_what_is_done(tmp_path: Path, model: Path) -> None:
    video = open_video(write_video(tmp_path / "mouse.avi", 200))
    done = []
    outputs = TrackOutputs([tmp_path / "out.csv", tmp_path / "out.h5"], tmp_path / "drawn.mp4")
    result = track_video(video, PoseModel(model), outputs, on_frame=done.append, stop=lambda: len(done) == 50)
    assert (result.frames, result.interrupted) == (50, True)
    assert positions(tmp_path / "out.csv") == pytest.approx(np.array([spot_of(i) for i in range(50)], float))
    assert len(pd.read_hdf(tmp_path / "out.h5")) == 50
    assert cv2.VideoCapture(str(tmp_path / "drawn.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 50


class FailsAtTwenty(PoseModel):
    """A real model that gives up in the middle of a video."""

    inferred = 0

    def infer(self, frames: np.ndarray) -> np.ndarray:
        self.inferred += 1
        if self.inferred > 20:
            raise ModelFailedError("the model failed")
        return super().infer(frames)


def test_a_run_that_fails_leaves_the_results_of_the_one_before(tmp_path: Path, model: Path) -> None:
    video = write_video(tmp_path / "mouse.avi", 60)
    outputs = TrackOutputs([tmp_path / "out.csv", tmp_path / "out.h5"], tmp_path / "drawn.mp4")
    track_video(open_video(video), PoseModel(model), outputs)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ModelFailedError):
        track_video(open_video(video), FailsAtTwenty(model), outputs)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_one_output_that_fails_leaves_the_others_as_they_were(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "mouse.avi", 30)
    outputs = TrackOutputs([tmp_path / "out.csv", tmp_path / "out.h5"], tmp_path / "drawn.mp4")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Clip, "add", full)
    with pytest.raises(OSError, match="no space left"):
        track_video(open_video(video), PoseModel(model), outputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mouse.avi", "spot.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_leaves_whole_files_and_says_so(tmp_path: Path) -> None:
    slow = tmp_path / "spot.onnx"
    write_spot_model(slow, ("spot",), "rgb", busy_rounds=200)
    video = write_video(tmp_path / "mouse.avi", 2000)
    command = [*POSELOOP, "track", str(video), "-m", str(slow), "-o", "out.csv"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (tmp_path / "out.partial.csv").exists():
            assert process.poll() is None, process.stderr
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped after" in said
    rows = positions(tmp_path / "out.csv")
    assert 0 <= len(rows) < 2000
    assert rows == pytest.approx(np.array([spot_of(i) for i in range(len(rows))], float).reshape(-1, 2))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nothing.mp4", "-m", "spot.onnx"], "there is no video nothing.mp4"),
        (["spot.onnx", "-m", "spot.onnx"], "can't be read as a video"),
        (["mouse.avi", "-m", "nothing.onnx"], "nothing.onnx can't be read"),
        (["mouse.avi", "-m", "spot.onnx", "-o", "out.txt"], "must end in .csv, .h5"),
        (["mouse.avi", "-m", "spot.onnx", "--video", "out.avi"], "must end in .mp4"),
        (["mouse.avi", "-m", "spot.onnx", "-o", "d.csv", "-o", "./d.csv"], "d.csv is given twice"),
        (["mouse.avi", "-m", "spot.onnx", "-o", "folder.h5", "--force"], "folder.h5 is a folder; choose another name"),
        (["mouse.avi", "-m", "spot.onnx", "-o", "d" * 300 + ".csv"], "d.csv is too long for a file; give a shorter"),
        (["m" * 300 + ".avi", "-m", "spot.onnx", "-o", "d.csv"], "m.avi is too long for a file; give a shorter one"),
        (["mouse.avi", "-m", "spot.onnx", "--provider", "abacus"], "abacus"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, model: Path, arguments: list[str], word: str) -> None:
    write_video(tmp_path / "mouse.avi", 3)
    (tmp_path / "folder.h5").mkdir()
    done = run(*arguments, folder=tmp_path)
    assert done.returncode in (1, 2)
    assert word in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("linked", [False, True])
def test_the_recording_itself_is_never_replaced(tmp_path: Path, model: Path, linked: bool) -> None:
    video = write_video(tmp_path / "mouse.avi", 3).rename(tmp_path / "mouse.mp4")
    content = video.read_bytes()
    output = tmp_path / "drawn.mp4" if linked else video
    if linked:
        output.hardlink_to(video)
    done = run(video, "-m", model, "--video", output, "--force", folder=tmp_path)
    assert done.returncode == 1
    assert "is the video that is tracked" in " ".join(done.stderr.split())
    assert video.read_bytes() == content


def test_a_video_without_a_frame_is_said_to_be_broken(tmp_path: Path, model: Path) -> None:
    whole = write_video(tmp_path / "mouse.avi", 3).read_bytes()
    broken = tmp_path / "broken.avi"
    broken.write_bytes(whole[: len(whole) // 4])
    with pytest.raises(InvalidInputError, match=r"broken\.avi"):
        track_video(open_video(broken), PoseModel(model), TrackOutputs([tmp_path / "out.csv"]))
    assert not (tmp_path / "out.csv").exists()


def test_it_tracks_a_real_recording(tmp_path: Path, shared_data: Path) -> None:
    path = tmp_path / "spot.onnx"
    write_spot_model(path, ("spot",), "gray")
    video = open_video(shared_data / "openfield" / "videos" / "m3v1mp4.mp4")
    assert (video.frames, round(video.own_frames_per_second)) == (2330, 30)
    done = []
    result = track_video(
        video, PoseModel(path), TrackOutputs([tmp_path / "out.h5"]), on_frame=done.append, stop=lambda: len(done) == 100
    )
    assert result.frames == 100
    assert pd.read_hdf(tmp_path / "out.h5").notna().all(axis=None)

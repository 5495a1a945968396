import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from poseloop.arena import Arena

from tests.models import write_spot_model

cv2 = pytest.importorskip("cv2")

DEMO = [sys.executable, "-m", "poseloop.cli", "demo"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "arena.onnx"
    write_spot_model(path, Arena.keypoint_names, "gray")
    return path


def children_of(process: "subprocess.Popen[str]", count: int) -> list[psutil.Process]:
    """Wait until the demo has that many processes of its own, and return them."""
    deadline = time.monotonic() + 60
    while len(children := psutil.Process(process.pid).children(recursive=True)) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline, "the demo did not start its processes"
        time.sleep(0.05)
    return children


def test_the_demo_runs_the_loop_and_leaves_its_files(tmp_path: Path, model: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--seconds", "3", "--model", str(model)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "starting the server" in done.stdout
    assert "What to try next" in done.stdout
    folder = tmp_path / "demo-output"
    figures = json.loads((folder / "summary.json").read_text())
    assert figures["received"] > 60
    # A pose's account is of the moment before its own publication.
    assert figures["sent"] >= figures["published"] >= figures["received"] - 1
    assert set(figures["errors_px"]) == set(Arena.keypoint_names)
    assert 0 < figures["inference_ms"]["p50"] < figures["latency_ms"]["p50"]
    clip = cv2.VideoCapture(str(folder / "clip.mp4"))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) >= 30
    assert cv2.imread(str(folder / "latency.png")).shape[1] > 500


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a process that was killed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_its_processes_end_with_it_whatever_happens(tmp_path: Path, model: Path, number: int) -> None:
    command = [*DEMO, "--seconds", "100", "--model", str(model)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as demo:
        children = children_of(demo, 2)
        os.kill(demo.pid, number)
        demo.wait(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_a_model_that_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    done = subprocess.run(
        [*DEMO, "--model", "broken.onnx"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "broken.onnx" in done.stderr
    assert "Traceback" not in done.stderr

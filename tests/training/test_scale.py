"""`poseloop train` in several processes: the model of one, one run folder, and one end, whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop_training.checkpoint import load_plain, read_checkpoint
from poseloop_training.model_runner import ModelRunner

from tests.training.test_fit import FAST

POSELOOP = [sys.executable, "-m", "poseloop.cli"]
# A small network, and a learning rate at which rounding is not magnified in a few steps.
STEADY = [*FAST, "--learning-rate", "1e-5", "--seed", "4"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("arena"), 40, ArenaSettings(width=96, height=80, seed=5)).parent


def start(arguments: list[str], program: list[str] = POSELOOP, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**ENVIRONMENT, **environment},
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=150)
    assert process.returncode == status, output
    return output


def train(project: Path, out: Path, *options: str) -> list[str]:
    return ["train", str(project), "--out", str(out), *options]


def same_model(first: Path, second: Path) -> None:
    one, two = (read_checkpoint(out.with_suffix(".run") / "last.ckpt").weights for out in (first, second))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    histories = [load_plain(out.with_suffix(".run") / "last.ckpt")["progress"]["history"] for out in (first, second)]
    assert len(histories[0]) == len(histories[1]) > 0
    for there, here in zip(*histories, strict=True):
        assert there["step"] == here["step"]
        assert there["heatmap_loss"] == pytest.approx(here["heatmap_loss"], rel=1e-4)
        assert there["validation_error_px"] == pytest.approx(here["validation_error_px"], rel=1e-3)


@pytest.fixture(scope="module")
def one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "m.onnx"
    finish(start(train(project, out, *STEADY, "--epochs", "2", "--devices", "1")))
    return out


@pytest.fixture(scope="module")
def two(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same of two processes, and what they printed."""
    out = tmp_path_factory.mktemp("two") / "m.onnx"
    return out, finish(start(train(project, out, *STEADY, "--epochs", "2", "--devices", "2")))


def test_two_processes_train_the_model_of_one(one: Path, two: tuple[Path, str]) -> None:
    same_model(one, two[0])


def test_the_first_alone_prints_and_writes(one: Path, two: tuple[Path, str]) -> None:
    out, printed = two
    assert printed.count("frames to train on") == printed.count("Run folder") == printed.count("Errors on") == 1
    names = [sorted(path.name for path in folder.with_suffix(".run").rglob("*")) for folder in (one, out)]
    assert [name for name in names[0] if not name.startswith("worst-")] == [
        name for name in names[1] if not name.startswith("worst-")
    ]
    assert ModelRunner(out).spec.training is not None


def test_torchrun_starts_them_too(project: Path, one: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port())]
    printed = finish(start(train(project, out, *STEADY, "--epochs", "2"), [*torchrun, "-m", "poseloop.cli"]))
    assert printed.count("Run folder") == 1
    same_model(one, out)


@pytest.mark.heavy
def test_machines_train_together(project: Path, one: Path, tmp_path: Path) -> None:
    out, where = tmp_path / "m.onnx", {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    options = [*STEADY, "--epochs", "2", "--nodes", "2", "--devices", "1"]
    nodes = [start(train(project, out, *options), NODE_RANK=str(rank), **where) for rank in (0, 1)]
    printed = [finish(node) for node in nodes]
    assert "Run folder" in printed[0]
    assert printed[1] == ""
    same_model(one, out)


@pytest.mark.heavy
def test_a_run_goes_on_with_other_devices(project: Path, two: tuple[Path, str]) -> None:
    folder = two[0].with_suffix(".run")
    printed = finish(start(["train", str(project), "--resume", str(folder), "--epochs", "3", "--devices", "2"]))
    assert "3 epochs" in printed
    assert json.loads((folder / "metrics.json").read_text())["training"]["epochs"] == 3
    finish(start(["train", str(project), "--resume", str(folder), "--epochs", "4"]))


def test_what_cannot_be_shared_touches_no_run(project: Path, one: Path) -> None:
    printed = finish(start(train(project, one, *STEADY, "--devices", "3")), 1)
    assert "error: a batch of 8 frames can't be shared evenly by 3 processes" in printed
    assert (one.with_suffix(".run") / "last.ckpt").is_file()


@pytest.mark.heavy
def test_the_time_limit_ends_all(project: Path, tmp_path: Path) -> None:
    printed = finish(start(train(project, tmp_path / "m.onnx", *FAST, "--time-limit", "25s", "--devices", "2")))
    assert "Run folder" in printed
    assert not left_over(tmp_path)


def test_ctrl_c_ends_all_in_order(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    process = start(train(project, out, *FAST, "--epochs", "100000", "--devices", "2"))
    wait_for(out.with_suffix(".run") / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    assert "Stopped by Ctrl-C" in finish(process)
    assert ModelRunner(out).spec.name == "m"
    assert not left_over(tmp_path)


def test_a_process_that_dies_ends_all_with_a_sentence(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    process = start(train(project, out, *FAST, "--epochs", "100000", "--devices", "2"))
    wait_for(out.with_suffix(".run") / "last.ckpt", process)
    other = next(p for p in psutil.Process(process.pid).children() if "train" in p.cmdline())
    other.kill()
    assert "error: process 1 of the training failed" in finish(process, 1)
    assert not out.exists()


@pytest.mark.heavy
def test_the_others_end_with_the_first(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    process = start(train(project, out, *FAST, "--epochs", "100000", "--devices", "2"))
    wait_for(out.with_suffix(".run") / "last.ckpt", process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while left_over(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_over(tmp_path)


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert file.exists(), process.communicate()[0] if process.poll() is not None else "it takes too long"


def left_over(folder: Path) -> list[int]:
    """Processes of a training that writes below this folder."""
    processes = psutil.process_iter(["cmdline"])
    return [p.pid for p in processes if any(str(folder) in part for part in p.info["cmdline"] or ())]

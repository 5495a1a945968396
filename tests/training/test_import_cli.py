"""`poseloop import` as its user meets it: a process, its output and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from poseloop_training.model_runner import ModelRunner

from tests.training.sleap_nets import unet, write_model_folder


def poseloop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poseloop.cli", "import", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, encoding="utf-8")


def test_help_lists_the_formats() -> None:
    done = poseloop("--help")
    assert all(name in done.stdout for name in ("dlc", "sleap-nn", "lightning-pose", "onnx"))


def test_a_model_file_comes_out(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model", unet(3, 1), 4)
    out = tmp_path / "mouse 2.onnx"
    done = poseloop("sleap-nn", folder, "--out", out, "--license", "CC-BY-4.0", "--size", "128x96")
    assert done.returncode == 0, done.stderr
    assert "written; it agrees with PyTorch to" in done.stderr
    spec = ModelRunner(out).spec
    assert (spec.name, spec.license) == ("mouse-2", "CC-BY-4.0")
    assert (spec.native_width, spec.native_height) == (128, 96)
    assert "sleap-nn 0.1.0" in spec.created_by
    assert ModelRunner(out).predict([np.zeros((50, 60, 1), np.uint8)]).shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sleap-nn", "nowhere", "--out", "m.onnx"], "nowhere does not exist"),
        (["dlc", "nowhere", "--out", "m.pt"], "a model file ends in .onnx"),
        (["dlc", "nowhere", "--out", "m.onnx", "--box", "1,2,3"], "--box 1,2,3: write X,Y,WIDTH,HEIGHT"),
        (["dlc", "nowhere", "--out", "m.onnx", "--size", "640"], "--size 640: write the width and height"),
        (["dlc", "nowhere", "--out", "m.onnx", "--size", "3x3"], "--size 3x3: give the width and height"),
        (["lightning-pose", "nowhere", "--out", "m.onnx"], "nowhere does not exist"),
        (["onnx", "n.onnx", "--config", "n.yaml", "--out", "m.onnx"], "n.yaml does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = poseloop(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.startswith("error:")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_checkpoint_without_weights(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model", unet(2, 0), 4)
    torch.save({"epoch": 1}, folder / "best.ckpt")
    done = poseloop("sleap-nn", folder, "--out", tmp_path / "m.onnx")
    assert done.returncode == 1
    assert "has no weights under 'state_dict'" in done.stderr
    assert not (tmp_path / "m.onnx").exists()

"""`poseloop export --precision`: one file that describes itself, says what it costs, and is served as any other."""

from __future__ import annotations

import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from click.testing import Result
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec, PrecisionRecord, TestErrors
from poseloop_server.model import PoseModel
from poseloop_training import export_cli
from poseloop_training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from poseloop_training.dataset import load_dataset
from poseloop_training.initialise import build_network
from poseloop_training.model_runner import ModelRunner
from poseloop_training.model_timing import TURN, WARM_UP_RUNS, time_models
from poseloop_training.plan import Identity, Plan
from poseloop_training.run_folder import RunFolder
from poseloop_training.settings import TrainSettings, choose_network
from poseloop_training.split import Split
from typer.testing import CliRunner

from tests.training.test_fit import run as train

SPLIT = Split(train=tuple(range(4, 12)), validation=(2, 3), test=(0, 1))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("arena"), 12, ArenaSettings(width=160, height=120, seed=5)).parent


@pytest.fixture(scope="module")
def checkpoint(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a run, as it leaves them; the head is random but its heatmaps are not flat."""
    dataset, settings = load_dataset(project), TrainSettings(width=16)
    config = choose_network(settings, dataset)
    torch.manual_seed(2)
    network = build_network(config, "imagenet")
    network.head.last[-1].weight.data[:] *= 30
    run = RunFolder(tmp_path_factory.mktemp("mouse") / "mouse.run")
    run.begin(Plan.of(dataset, SPLIT, settings, Identity("mouse"), run.path.parent / "mouse.onnx"))
    names = list(dataset.keypoint_names)
    spec = ModelSpec(name="mouse", keypoints=names, color="gray", native_width=160, native_height=120)
    write_checkpoint(run.best, Checkpoint(spec, config, network.state_dict()))
    return run.best


def export(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    export_cli.register(app)
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_file_says_what_it_costs_and_is_served(
    precision: str, checkpoint: Path, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mouse.onnx"
    done = export(checkpoint, "--precision", precision, "--project", project, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert [file.name for file in tmp_path.iterdir()] == ["mouse.onnx"]
    report = json.loads(done.stdout)
    assert report["precision"] == precision
    assert report["speedup"] == pytest.approx(report["fp32_milliseconds"] / report["milliseconds"])
    assert f"{precision}: keypoints lie" in done.stderr
    assert "Mean test error" in done.stderr
    assert "in fp32 it agrees with PyTorch" in done.stderr

    runner = ModelRunner(out)
    record, errors = runner.spec.precision, runner.spec.test_errors
    assert record is not None
    assert (record.kind, record.compared_frames) == (precision, 2)
    assert record.calibration_frames == (8 if precision == "int8" else 0)
    assert errors is not None
    assert errors.frames == 2
    assert errors.mean_error_px == pytest.approx(report["mean_error_px"])
    assert record.fp32_mean_error_px is not None

    served = PoseModel(out, warm_up_runs=1)
    assert served.precision == precision
    frames = np.stack([load_dataset(project).load_image(index, "gray") for index in (0, 1)])
    np.testing.assert_allclose(served.infer(frames), runner.predict(list(frames)), atol=0.01)


def test_without_frames_it_says_which_to_give(checkpoint: Path, project: Path, tmp_path: Path) -> None:
    for precision, text in (("int8", "--project"), ("fp16", "--images")):
        done = export(checkpoint, "--precision", precision, "--out", tmp_path / "x.onnx")
        assert isinstance(done.exception, InvalidInputError)
        assert text in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_fp16_of_one_frame(checkpoint: Path, project: Path, tmp_path: Path) -> None:
    frame = next(project.glob("labeled-data/*/*.png"))
    done = export(checkpoint, "--precision", "fp16", "--images", frame, "--out", tmp_path / "x.onnx")
    assert done.exit_code == 0, done.output
    spec = ModelRunner(tmp_path / "x.onnx").spec
    assert spec.precision is not None
    assert spec.precision.compared_frames == 1
    assert spec.precision.fp32_mean_error_px is None
    assert spec.test_errors is None


def test_errors_of_fp32_are_not_those_of_fp16(checkpoint: Path, project: Path, tmp_path: Path) -> None:
    loaded = read_checkpoint(checkpoint)
    errors = TestErrors(frames=2, mean_error_px=1.5, median_error_px=1.0, rmse_px=2.0, per_keypoint={"snout": 1.5})
    spec = loaded.spec.model_copy(update={"test_errors": errors})
    run = shutil.copytree(checkpoint.parent, tmp_path / "mouse.run")
    write_checkpoint(run / checkpoint.name, Checkpoint(spec, loaded.config, loaded.weights))
    frame = next(project.glob("labeled-data/*/*.png"))
    for precision, kept in (("fp32", errors), ("fp16", None)):
        out = tmp_path / f"{precision}.onnx"
        images = () if precision == "fp32" else ("--images", frame)
        done = export(run / checkpoint.name, "--precision", precision, *images, "--out", out)
        assert done.exit_code == 0, done.output
        assert ModelRunner(out).spec.test_errors == kept


def test_frames_of_another_run_are_refused(checkpoint: Path, project: Path, tmp_path: Path) -> None:
    alone = shutil.copy(checkpoint, tmp_path / "best.ckpt")
    done = export(alone, "--precision", "int8", "--project", project, "--out", tmp_path / "x.onnx")
    assert "settings.json" in str(done.exception)
    other = write_project(tmp_path / "other", 5, ArenaSettings(width=96, height=80, seed=9)).parent
    done = export(checkpoint, "--precision", "int8", "--project", other, "--out", tmp_path / "x.onnx")
    assert "was trained on other labels than these" in str(done.exception)
    assert not (tmp_path / "x.onnx").exists()


def test_descriptions_in_fp32_stay_readable_for_versions_without_precisions() -> None:
    spec = ModelSpec(name="mouse", keypoints=["a"], color="gray", native_width=4, native_height=4)
    assert "precision" not in json.loads(spec.model_dump_json())
    record = PrecisionRecord(kind="int8", compared_frames=3, mean_shift_px=0.2, largest_shift_px=1.0)
    lowered = spec.model_copy(update={"precision": record})
    assert json.loads(lowered.model_dump_json())["precision"]["kind"] == "int8"
    assert ModelSpec.model_validate_json(lowered.model_dump_json()) == lowered
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_models_are_timed_in_rows_of_frames(
    checkpoint: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(checkpoint, "--out", tmp_path / "x.onnx").exit_code == 0
    image = load_dataset(project).load_image(0, "gray")
    runs: list[onnxruntime.InferenceSession] = []
    run = onnxruntime.InferenceSession.run

    def noted(session: onnxruntime.InferenceSession, *given: Any) -> Any:
        runs.append(session)
        return run(session, *given)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", noted)
    times = time_models([tmp_path / "x.onnx"] * 3, image, seconds_each=0.05)
    assert len(times) == 3
    assert all(time > 0 for time in times)
    rows = [len(list(row)) for _, row in groupby(runs[3 * WARM_UP_RUNS :], id)]
    assert set(rows) == {1 + TURN}
    assert len(rows) % 3 == 0


def test_a_run_may_end_in_fewer_bits(project: Path, tmp_path: Path) -> None:
    done = train(project, tmp_path / "mouse.onnx", "--epochs", "1", "--precision", "int8")
    assert done.exit_code == 0, done.output
    assert "int8: keypoints lie" in done.stderr
    spec = ModelRunner(tmp_path / "mouse.onnx").spec
    assert spec.precision is not None
    assert spec.precision.kind == "int8"
    assert spec.training is not None
    assert spec.training.settings["precision"] == "int8"
    metrics = json.loads((tmp_path / "mouse.run" / "metrics.json").read_text())
    assert metrics["precision"]["precision"] == "int8"
    assert metrics["test"]["mean_error_px"] == pytest.approx(spec.test_errors.mean_error_px)
    assert read_checkpoint(tmp_path / "mouse.run" / "best.ckpt").spec.precision is None

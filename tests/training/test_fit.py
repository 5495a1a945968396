"""`poseloop train` from labels to a model file: real processes, real frames of the synthetic arena."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from click.testing import Result
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.errors import InvalidInputError
from poseloop_training import train_cli
from poseloop_training.callbacks import Progress, Validation
from poseloop_training.checkpoint import read_checkpoint
from poseloop_training.confidence import calibrate
from poseloop_training.dataset import load_dataset
from poseloop_training.export import DivergedError
from poseloop_training.fit import PoseTraining, average
from poseloop_training.model_runner import ModelRunner
from poseloop_training.network import PoseNetwork
from poseloop_training.settings import TrainSettings, animal_extent, choose_network, choose_window
from poseloop_training.train_cli import parse_duration
from typer.testing import CliRunner

from tests.training.label_files import some_labels, write_deeplabcut

FAST = [
    "--backbone",
    "mobilenetv4_conv_small_035",
    "--init",
    "none",
    "--most-stride",
    "16",
    "--width",
    "16",
    "--patience",
    "1",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("arena"), 40, ArenaSettings(width=160, height=120, seed=5)).parent


def run(project: Path, out: Path | None, *options: str, network: Sequence[str] = FAST) -> Result:
    """Run the command in this process, which spares each test the import of PyTorch."""
    place = ["--out", str(out)] if out else []
    app = typer.Typer()
    app.callback()(lambda: None)
    train_cli.register(app)
    return CliRunner().invoke(app, ["train", str(project), *place, *network, *options])


@pytest.fixture(scope="module")
def trained(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a few epochs; its run folder is beside it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "test.txt").write_text("3\n7\n11\n")
    options = ("--epochs", "4", "--test-indices", str(folder / "test.txt"), "--seed", "4", "--license", "CC0-1.0")
    done = run(project, folder / "mouse.onnx", *options)
    assert done.exit_code == 0, done.output
    return folder / "mouse.onnx"


def test_the_file_describes_itself(trained: Path, project: Path) -> None:
    spec = ModelRunner(trained).spec
    dataset = load_dataset(project)
    assert spec.name == "mouse"
    assert spec.keypoints == list(dataset.keypoint_names)
    assert spec.swap_pairs == [("left_ear", "right_ear")]
    assert (spec.color, spec.native_width, spec.native_height, spec.license) == ("gray", 160, 120, "CC0-1.0")
    assert spec.training is not None
    assert spec.training.labels_sha256 == dataset.labels_sha256()
    assert (spec.training.test_frames, spec.training.epochs, spec.training.seed) == (3, 4, 4)
    assert spec.test_errors is not None
    assert spec.test_errors.frames == 3


def test_the_file_counts_labelled_frames_and_the_time_of_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate_slowly(*given: Any) -> Any:
        time.sleep(5)
        return calibrate(*given)

    monkeypatch.setattr("poseloop_training.train.calibrate", calibrate_slowly)
    labels = some_labels(20, 3)
    labels[[1, 4, 9, 12]] = np.nan
    write_deeplabcut(tmp_path / "project", labels, ("snout", "leftear", "rightear"))
    (tmp_path / "test.txt").write_text("0\n1\n2\n")
    out = tmp_path / "mouse.onnx"
    done = run(tmp_path / "project", out, "--epochs", "1", "--test-indices", str(tmp_path / "test.txt"))
    assert done.exit_code == 0, done.output
    spec = ModelRunner(out).spec
    assert spec.training is not None
    assert spec.test_errors is not None
    assert spec.training.test_frames == spec.test_errors.frames == 2
    assert spec.training.train_frames + spec.training.validation_frames == 14
    history = json.loads((tmp_path / "mouse.run" / "metrics.json").read_text())["history"]
    assert history[-1]["seconds"] - 0.1 < spec.training.seconds < history[-1]["seconds"] + 5


def test_its_confidence_is_calibrated_on_validation_frames(trained: Path) -> None:
    spec = ModelRunner(trained).spec
    assert spec.confidence is not None
    assert spec.training is not None
    assert (spec.confidence.frames, spec.confidence.views) == (spec.training.validation_frames, 8)
    assert spec.confidence.scale > 0
    run = trained.with_suffix(".run")
    report = json.loads((run / "metrics.json").read_text())["test"]["confidence"]
    assert report["calibrated"]
    assert report["radius_px"] == spec.confidence.radius_px
    assert read_checkpoint(run / "best.ckpt").spec.confidence == spec.confidence


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        (
            ("Left_ear", "right_ear", "tailL"),
            (),
            "A mirror exchanges Left_ear and right_ear (guessed from the names; --swap LEFT,RIGHT replaces them). "
            "Without a counterpart: tailL.",
        ),
        (("LED", "RED", "a"), (), "No left and right are known: frames are not mirrored."),
        (
            ("leftear", "rightear", "[b]"),
            ("--swap", "leftear,[b]"),
            "exchanges leftear and [b]. Without a counterpart: r",
        ),
    ],
)
def test_it_says_what_a_mirror_exchanges(
    tmp_path: Path, names: tuple[str, ...], options: tuple[str, ...], text: str
) -> None:
    project = write_deeplabcut(tmp_path / "project", np.full((4, 3, 2), 20.0), names)
    done = run(project, tmp_path / "x.onnx", *options, "--backbone", "no_such_network", network=())
    assert text in " ".join(done.stderr.split())


def test_the_run_folder_is_complete(trained: Path) -> None:
    folder = trained.with_suffix(".run")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["frames"] == 3
    assert metrics["test"]["mean_error_px"] > 0
    assert metrics["parity"]["largest_px"] <= 0.01
    assert len(metrics["parity"]["sizes"]) >= 2
    assert metrics["history"][-1]["validation_error_px"] > 0
    assert metrics["history"][-1]["heatmap_loss"] < metrics["history"][0]["heatmap_loss"] * 1.5
    for name in ("losses.png", "errors.png", "reliability.png", "best.ckpt", "last.ckpt"):
        assert (folder / name).stat().st_size > 0
    assert len(list((folder / "worst").glob("*.png"))) == 3


def test_test_frames_are_in_no_other_part(trained: Path) -> None:
    split = json.loads((trained.with_suffix(".run") / "settings.json").read_text())["split"]
    assert split["test"] == [3, 7, 11]
    parts = [index for part in split.values() for index in part]
    assert sorted(parts) == list(range(40))
    assert split["validation"]


def test_same_seed_same_model(trained: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("3\n7\n11\n")
    again = tmp_path / "mouse.onnx"
    run(project, again, "--epochs", "4", "--test-indices", str(tmp_path / "test.txt"), "--seed", "4")
    first, second = (read_checkpoint(path.with_suffix(".run") / "last.ckpt").weights for path in (trained, again))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-3, msg=name)


def test_normalisations_learn_their_statistics_with_a_time_limit_too(project: Path, tmp_path: Path) -> None:
    done = run(project, tmp_path / "mouse.onnx", "--epochs", "1", "--time-limit", "5m")
    assert done.exit_code == 0, done.output
    weights = read_checkpoint(tmp_path / "mouse.run/best.ckpt").weights
    seen = {name: int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert seen
    assert min(seen.values()) > 0


def test_resume_goes_on_from_the_last_epoch(trained: Path, project: Path, tmp_path: Path) -> None:
    folder = trained.with_suffix(".run")
    before = json.loads((folder / "metrics.json").read_text())
    refused = run(project, tmp_path / "more.onnx", "--epochs", "6", "--resume", str(folder))
    assert "can't be changed with --resume" in str(refused.exception)
    done = run(project, tmp_path / "more.onnx", "--epochs", "6", "--resume", str(folder), network=())
    assert done.exit_code == 0, done.output
    after = json.loads((folder / "metrics.json").read_text())
    assert after["training"]["epochs"] == 6
    assert after["training"]["seconds"] > before["training"]["seconds"]
    assert after["history"][: len(before["history"])] == before["history"]


def test_ctrl_c_leaves_a_usable_model(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "mouse.onnx"
    command = [sys.executable, "-m", "poseloop.cli", "train", str(project), "--out", str(out), *FAST]
    process = subprocess.Popen([*command, "--epochs", "100000"], stderr=subprocess.PIPE, text=True)
    last = tmp_path / "mouse.run" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Stopped by Ctrl-C" in errors
    assert ModelRunner(out).spec.name == "mouse"
    assert json.loads((tmp_path / "mouse.run" / "metrics.json").read_text())["interrupted"] is True


def test_a_run_that_diverged_writes_no_model(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    done = run(project, out, "--epochs", "4", "--learning-rate", "1e30", "--test-fraction", "0")
    assert isinstance(done.exception, DivergedError)
    assert not out.exists()
    assert not (tmp_path / "x.run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--backbone", "no_such_network"), "timm has no network 'no_such_network'"),
        (("--batch-size", "0"), "--batch-size"),
        (("--stride", "32"), "stride 32 is more than that of the coarsest map"),
        (("--time-limit", "soon"), "'soon' is no time"),
        (("--resume", "nowhere.run"), "holds no run to go on with"),
        (("--swap", "snout"), "--swap 'snout'"),
        (("--init", "absent.pth"), "absent.pth does not exist"),
        (("--test-fraction", "0.99"), "leave none to train"),
        (("--most-stride", "12"), "--most-stride: 12 is no power of two; give 8 or 16"),
        (("--stride", "3"), "--stride: 3 is no power of two; give 2 or 4"),
        (("--input-scale", "0.01"), "would be 1.6x1.2 pixels to the network"),
    ],
)
def test_mistakes_are_one_sentence(project: Path, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    out = tmp_path / "x.onnx"
    done = run(project, out, *options)
    assert isinstance(done.exception, InvalidInputError)
    assert text in str(done.exception)
    assert not out.exists()


def test_labels_of_test_frames_only_are_refused(tmp_path: Path) -> None:
    labels = np.full((6, 2, 2), np.nan)
    labels[3] = 20.0
    project = write_deeplabcut(tmp_path / "project", labels, ("snout", "tail"))
    (tmp_path / "test.txt").write_text("3")
    done = run(project, tmp_path / "x.onnx", "--test-indices", str(tmp_path / "test.txt"))
    assert isinstance(done.exception, InvalidInputError)
    assert "none of the 4 frames to train on has a label" in str(done.exception)


def test_progress_follows_time_or_steps() -> None:
    progress = Progress(deadline=time.monotonic() + 1000)
    progress.start(batches=10, epochs=4)
    assert progress.fraction(20) == pytest.approx(0.5, abs=0.01)
    assert progress.is_over(40)
    endless = Progress(deadline=time.monotonic() - 1)
    endless.start(batches=10, epochs=-1)
    assert endless.is_over(1)


def test_resumed_progress_goes_on_from_its_fraction() -> None:
    first = Progress()
    first.start(10, 10)
    first.fraction(60)
    first.note_loss(2.0, 1.0)
    first.note_validation(60, 3.5)
    second = Progress(deadline=time.monotonic() + 1000)
    second.restore(first.state())
    second.start(10, -1)
    assert second.fraction(60) == pytest.approx(0.6, abs=0.01)
    assert second.history == first.history


@pytest.mark.parametrize(("step", "early"), [(30, False), (80, True), (100, False)])
def test_only_a_run_with_time_left_ends_early(project: Path, tmp_path: Path, step: int, early: bool) -> None:
    config = choose_network(TrainSettings(backbone="mobilenetv4_conv_small_035", width=16), load_dataset(project))
    progress = Progress()
    progress.start(batches=10, epochs=10)
    training = PoseTraining(PoseNetwork(config), TrainSettings(), progress, {})
    errors = iter([1.0, 2.0])
    validation = Validation(lambda _: next(errors), 0.2, tmp_path / "last.ckpt", lambda _: None)
    trainer = SimpleNamespace(global_step=10, should_stop=False, save_checkpoint=lambda _: None)
    for trainer.global_step in (10, step):
        trainer.should_stop = trainer.global_step == 100
        validation.on_train_epoch_end(trainer, training)
        validation._next = 0.0
    assert validation.exhausted is early


def test_newer_weights_are_kept_while_they_are_about_as_good(tmp_path: Path) -> None:
    progress = Progress()
    progress.start(batches=10, epochs=10)
    kept: list[int] = []
    trainer = SimpleNamespace(global_step=0, should_stop=False, save_checkpoint=lambda _: None)
    module = SimpleNamespace(progress=progress, averaged=SimpleNamespace(state_dict=lambda: trainer.global_step))

    def run(errors: list[float], steps: list[int], validation: Validation) -> None:
        remaining = iter(errors)
        validation._validate = lambda _: next(remaining)
        for trainer.global_step in steps:
            validation.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
            validation._next = 0.0

    def begun() -> Validation:
        return Validation(lambda _: 0.0, 0.2, tmp_path / "last.ckpt", kept.append)  # type: ignore[arg-type]

    first, second = begun(), begun()
    run([3.0, 2.0, 2.09, 2.11, 2.08], [10, 20, 30, 40, 50], first)
    assert kept == [10, 20, 30, 50]
    assert (first.best_px, first.least_px, first.best_weights) == (2.08, 2.0, 50)
    second.load_state_dict(first.state_dict())
    run([2.11, 2.2, 2.3], [60, 65, 72], second)
    assert (second.best_px, second.best_weights, second.exhausted) == (2.08, 50, True)


def test_average_moves_every_tensor() -> None:
    network, mean = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    torch.nn.init.constant_(network.weight, 3.0)
    network.num_batches_tracked += 7
    average(mean, network, 0.75)
    assert mean.weight.tolist() == [1.5, 1.5, 1.5]
    assert mean.num_batches_tracked == 7


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("10", 600)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5 x", "10m 5"])
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is no time"):
        parse_duration(text)


def test_network_and_window_follow_the_frames(project: Path, tmp_path: Path) -> None:
    small = load_dataset(project)
    config = choose_network(TrainSettings(), small)
    assert (config.channels, config.input_scale) == (1, 1.0)
    assert choose_window(TrainSettings(), config, small) == (128, 128)
    write_project(tmp_path, 2, ArenaSettings(width=1280, height=960, animal_size=1.2))
    large = load_dataset(tmp_path)
    assert choose_network(TrainSettings(), large).input_scale == 0.25
    assert choose_network(TrainSettings(input_scale=0.5, color="rgb"), large).channels == 3


def test_a_window_shows_a_whole_animal_and_no_more_than_the_frame(tmp_path: Path) -> None:
    write_project(tmp_path, 2, ArenaSettings(width=640, height=400, animal_size=1.5))
    dataset = load_dataset(tmp_path)
    extent = animal_extent(dataset, 95)
    config = replace(choose_network(TrainSettings(), dataset), input_scale=1.0)
    height, width = choose_window(TrainSettings(), config, dataset)
    assert height == width
    assert 128 < 1.6 * extent <= width < 1.6 * extent + config.most_stride
    twice = replace(config, input_scale=2.0)
    assert choose_window(TrainSettings(window=2048), twice, dataset) == (800, 1280)

"""`poseloop train --fast`, `--accurate` and `--target-ms`: what is chosen, from times that are given here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from poseloop.arena import ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.errors import InvalidInputError
from poseloop_training import speed
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.network import NetworkConfig
from poseloop_training.settings import TrainSettings
from poseloop_training.speed import SPARE, Timed, accurate, candidates, choose, measure

from tests.training.test_fit import run

IMAGE = np.zeros((480, 640, 1), np.uint8)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("arena"), 8, ArenaSettings(width=320, height=240, seed=5)).parent


@pytest.fixture(scope="module")
def dataset(project: Path) -> PoseDataset:
    return load_dataset(project)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fp32 takes as long as there are network pixels and channels, int8 half of it."""

    def measured(config: NetworkConfig, precisions: list[str], *_: object) -> list[Timed]:
        fp32 = 20 * config.input_scale**2 * config.width / 64
        by = {"fp32": fp32, "int8": fp32 / 2}
        return [Timed(config, precision, by[precision], fp32) for precision in precisions]

    monkeypatch.setattr(speed, "measure", measured)


def chosen(dataset: PoseDataset, target_ms: float, **given: object) -> tuple[float, int, str]:
    found = choose(target_ms, TrainSettings(**given), list(given), dataset, IMAGE)
    assert found.milliseconds <= target_ms * SPARE
    return found.config.input_scale, found.config.width, found.precision


@pytest.mark.usefixtures("times")
def test_as_much_network_as_the_time_allows(dataset: PoseDataset) -> None:
    assert chosen(dataset, 30) == (1, 64, "fp32")
    assert chosen(dataset, 12) == (1, 64, "int8")
    assert chosen(dataset, 10) == (1, 32, "int8")
    assert chosen(dataset, 4) == (0.5, 64, "int8")


@pytest.mark.usefixtures("times")
def test_what_was_asked_for_stays(dataset: PoseDataset) -> None:
    assert chosen(dataset, 12, precision="fp32") == (1, 32, "fp32")
    assert chosen(dataset, 30, width=48) == (1, 48, "fp32")
    assert chosen(dataset, 30, input_scale=0.5) == (0.5, 64, "fp32")
    with pytest.raises(InvalidInputError, match=r"nothing here takes 0\.001 ms .*the fastest is"):
        chosen(dataset, 0.001)


def test_animals_stay_large_enough_to_be_read(dataset: PoseDataset) -> None:
    scales = [config.input_scale for config in candidates(TrainSettings(), [], dataset)]
    assert scales == sorted(scales, reverse=True)
    extent = speed.animal_extent(dataset, 50)
    assert all(extent * scale >= speed.LEAST_ANIMAL_PIXELS for scale in scales)
    assert accurate(TrainSettings(), dataset) == {"input_scale": 1.0}
    assert accurate(TrainSettings(input_scale=0.5), dataset) == {"input_scale": 0.5}


def test_a_network_is_timed_in_both_precisions(dataset: PoseDataset) -> None:
    config = next(candidates(TrainSettings(input_scale=0.25, width=16), ["input_scale", "width"], dataset))
    image = dataset.load_image(0, config.color)
    found = measure(config, ("fp32", "int8"), image, (320, 240))
    assert [timed.precision for timed in found] == ["fp32", "int8"]
    assert all(timed.milliseconds > 0 for timed in found)
    assert [timed.precision for timed in measure(config, ("fp32", "int8"), image, (320, 240), 1e-9)] == ["fp32"]


def test_the_program_says_what_it_chose(project: Path, tmp_path: Path) -> None:
    options = ("--target-ms", "1000", "--epochs", "1", "--width", "16", "--input-scale", "0.5", "--precision", "fp32")
    done = run(project, tmp_path / "mouse.onnx", *options)
    assert done.exit_code == 0, done.output
    assert "For 1000 ms a frame: mobilenetv4_conv_small_035 at scale 1/2, width 16, fp32" in done.stderr
    wrong = run(project, tmp_path / "x.onnx", "--fast", "--accurate")
    assert "exclude each other" in str(wrong.exception)

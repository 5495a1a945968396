"""Confidence as a probability: the fit is sane on little data, the graph computes it, and evaluation judges it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop.types import ConfidenceSpec, ModelSpec
from poseloop_training.augment import AugmentSettings
from poseloop_training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from poseloop_training.confidence import MOST_FRAMES, MOST_IMAGES, calibrate, fit_logistic, images_for, views_of
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.drawing import draw_reliability
from poseloop_training.evaluate import EvaluationResult
from poseloop_training.export import export_model
from poseloop_training.export_cli import export
from poseloop_training.heads import Maps, decode
from poseloop_training.initialise import build_network
from poseloop_training.model_runner import ModelRunner
from poseloop_training.network import NetworkConfig, PoseNetwork
from poseloop_training.reliability import radius_px, reliability_of

CALIBRATED = ConfidenceSpec(radius_px=5.5, scale=1.75, offset=0.5, frames=9, keypoints=27, views=8)
SPEC = ModelSpec(
    name="mouse", keypoints=["a", "b", "c"], color="gray", native_width=160, native_height=120, confidence=CALIBRATED
)
SMALL = "mobilenetv4_conv_small_035"


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((1 + np.tanh(values / 2)) / 2)


# --- The fit


@pytest.mark.parametrize(("scale", "offset"), [(1.7, -0.4), (0.5, 1.5), (3.0, 0.0)])
def test_a_known_map_is_found_again(scale: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, 20_000)
    within = rng.random(20_000) < sigmoid(scale * logits + offset)
    found = fit_logistic(logits, within, np.ones(20_000))
    assert found == pytest.approx((scale, offset), rel=0.1, abs=0.05)


@given(
    samples=st.lists(st.tuples(st.floats(-15, 15), st.booleans(), st.floats(0.01, 1)), min_size=1, max_size=40),
    repeated=st.sampled_from([1, 1000]),
)
@settings(max_examples=200)
def test_every_map_rises_and_is_finite(samples: list[tuple[float, bool, float]], repeated: int) -> None:
    logits, within, weights = (np.array(column) for column in zip(*samples * repeated, strict=True))
    scale, offset = fit_logistic(logits.astype(float), within, weights)
    assert scale > 0
    assert np.isfinite([scale, offset]).all()
    confidences = sigmoid(scale * np.linspace(-15, 15, 200) + offset)
    assert (np.diff(confidences) >= 0).all()
    assert ((confidences >= 0) & (confidences <= 1)).all()


@pytest.mark.parametrize("count", [1, 4, 20])
def test_a_few_samples_do_not_make_certainty(count: int) -> None:
    sure = fit_logistic(np.full(count, 1.0), np.ones(count, dtype=bool), np.ones(count))
    assert 0.9 < sigmoid(sure[0] * np.array(1.0) + sure[1]) < 0.995
    lost = fit_logistic(np.full(count, 1.0), np.zeros(count, dtype=bool), np.ones(count))
    assert 0.01 < sigmoid(lost[0] * np.array(1.0) + lost[1]) < 0.7


def test_a_weight_counts_as_so_many_samples() -> None:
    logits, within = np.array([-1.0, 0.5, 2.0]), np.array([False, False, True])
    twice = fit_logistic(np.tile(logits, 2), np.tile(within, 2), np.ones(6))
    assert fit_logistic(logits, within, np.full(3, 2.0)) == pytest.approx(twice)


def test_the_number_of_images_is_bounded() -> None:
    assert views_of(5) == 8
    for frames in (0, 1, 5, 50, 80, 81, 5000):
        assert views_of(frames) >= 1
        assert images_for(frames) <= max(MOST_IMAGES, 2 * MOST_FRAMES)


# --- The radius


def test_the_radius_is_a_part_of_the_animal() -> None:
    labels = np.full((3, 4, 2), np.nan)
    labels[:, 0] = (10, 10)
    labels[:, 1] = (130, 100)  # 150 px apart
    assert radius_px(labels, 640, 480, 0.5) == 7.5
    labels[:, 1] = (16, 18)  # 10 px apart: a heatmap does not resolve half a pixel
    assert radius_px(labels, 640, 480, 0.5) == 4.0
    assert radius_px(labels[:, :1], 640, 480, 0.5) == 8.0  # one keypoint has no extent: of the frame's diagonal


# --- Training's side


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PoseDataset:
    return load_dataset(write_project(tmp_path_factory.mktemp("arena"), 8, ArenaSettings(width=160, height=120)))


@pytest.fixture(scope="module")
def small(dataset: PoseDataset) -> PoseNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(len(dataset.keypoint_names), 1, input_scale=1.0, backbone=SMALL, width=16)
    return build_network(config, "none").eval()


def calibrated(network: PoseNetwork, dataset: PoseDataset, validation: tuple[int, ...]) -> ConfidenceSpec | None:
    return calibrate(network, dataset, (0, 1, 2), validation, AugmentSettings())


def test_an_untrained_network_is_trusted_little(small: PoseNetwork, dataset: PoseDataset) -> None:
    state = torch.get_rng_state()
    found = calibrated(small, dataset, (3, 4))
    assert found is not None
    assert (found.frames, found.views) == (2, 8)
    assert found.keypoints == sum(int(dataset.samples[index].labelled.sum()) for index in (3, 4))
    # Before training every cell's logit is that of a hundredth.
    assert sigmoid(np.array(found.scale * -4.6 + found.offset)) < 0.2
    assert calibrated(small, dataset, (3, 4)) == found
    assert torch.equal(torch.get_rng_state(), state)


def test_unlabelled_keypoints_have_no_part(small: PoseNetwork, dataset: PoseDataset) -> None:
    samples = list(dataset.samples)
    samples[3] = replace(samples[3], keypoints=np.full_like(samples[3].keypoints, np.nan))
    other = replace(dataset, samples=tuple(samples))
    assert calibrated(small, other, (3,)) is None
    assert calibrated(small, other, ()) is None
    partly = samples[4].keypoints.copy()
    partly[:, 1:] = np.nan
    samples[4] = replace(samples[4], keypoints=partly)
    found = calibrated(small, replace(dataset, samples=tuple(samples)), (3, 4))
    assert found is not None
    assert (found.frames, found.keypoints) == (1, 1)


# --- The graph


def test_coordinates_are_the_same_and_confidence_is_the_map_of_the_highest_logit() -> None:
    torch.manual_seed(0)
    maps = Maps(3 * torch.randn(2, 3, 9, 11), torch.randn(2, 3, 2, 9, 11))
    plain, mapped = decode(maps, 4), decode(maps, 4, CALIBRATED)
    assert torch.equal(plain[..., :2], mapped[..., :2])
    highest = maps.heatmaps.flatten(2).amax(dim=-1)
    assert torch.equal(mapped[..., 2], torch.sigmoid(highest * CALIBRATED.scale + CALIBRATED.offset))


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    arena = Arena(ArenaSettings(width=160, height=120))
    return [arena.frame(index)[..., None] for index in (0, 400)]


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    return build_network(NetworkConfig(3, 1, width=16), "imagenet").eval()


def test_the_model_file_gives_the_probability(
    network: PoseNetwork, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    export_model(network, SPEC.model_copy(update={"confidence": None}), images, tmp_path / "plain.onnx")
    write_checkpoint(tmp_path / "best.ckpt", Checkpoint(SPEC, network.config, network.state_dict()))
    export(tmp_path / "best.ckpt", tmp_path / "mapped.onnx", None)  # compares with PyTorch itself
    plain, mapped = ModelRunner(tmp_path / "plain.onnx"), ModelRunner(tmp_path / "mapped.onnx")
    assert mapped.spec.confidence == CALIBRATED
    before, after = plain.predict(images), mapped.predict(images)
    np.testing.assert_array_equal(before[..., :2], after[..., :2])
    logits = np.log(before[..., 2] / (1 - before[..., 2]))
    np.testing.assert_allclose(after[..., 2], sigmoid(CALIBRATED.scale * logits + CALIBRATED.offset), atol=1e-5)


def test_a_description_of_another_calibration_is_refused(
    network: PoseNetwork, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="the network's calibration is None"):
        export_model(network, SPEC, images, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_files_from_before_say_nothing_of_confidence(tmp_path: Path, network: PoseNetwork) -> None:
    older = json.loads(SPEC.model_dump_json())
    del older["confidence"]
    spec = ModelSpec.model_validate(older)
    assert spec.confidence is None
    write_checkpoint(tmp_path / "best.ckpt", Checkpoint(spec, network.config, network.state_dict()))
    assert read_checkpoint(tmp_path / "best.ckpt").build().confidence is None


# --- Evaluation's side


def result_of(confidences: NDArray[np.float64], distances: NDArray[np.float64]) -> EvaluationResult:
    """Return an evaluation with these confidences and distances from labels, ``(frames, 2)``."""
    labels = np.zeros((*distances.shape, 2), dtype=np.float32)
    labels[:, 1] = (100, 0)
    predictions = np.concatenate((labels, confidences[..., None]), axis=2).astype(np.float32)
    predictions[..., 1] += distances
    frames = range(len(labels))
    return EvaluationResult(("a", "b"), tuple(frames), tuple(f"{i}.png" for i in frames), labels, predictions)


TWO = SPEC.model_copy(update={"keypoints": ["a", "b"]})


def test_honest_confidences_lie_on_the_diagonal_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.random((4000, 2))
    right = rng.random((4000, 2)) < confidences
    honest = reliability_of(result_of(confidences, np.where(right, 1.0, 9.0)), TWO)
    assert honest.calibrated
    assert honest.radius_px == CALIBRATED.radius_px
    assert honest.calibration_error < 0.02
    assert honest.brier == pytest.approx(1 / 6, abs=0.01)
    assert honest.log_loss == pytest.approx(0.5, abs=0.02)
    assert sum(one.low <= one.confidence <= one.high for one in honest.bins) >= 9
    boasting = reliability_of(result_of(np.sqrt(confidences), np.where(right, 1.0, 9.0)), TWO)
    assert boasting.calibration_error > 0.1
    assert boasting.log_loss > honest.log_loss


def test_what_was_missed_is_wrong_and_what_is_unlabelled_has_no_part() -> None:
    result = result_of(np.full((30, 2), 0.5), np.zeros((30, 2)))
    result.predictions[0, 0] = (np.nan, np.nan, 0)
    result.labels[1:3, 1] = np.nan
    result.predictions[1:3, 1, 2] = 0.25
    found = reliability_of(result, TWO)
    report = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert report["keypoints"] == 58
    assert report["within_radius"] == pytest.approx(57 / 58)
    assert report["unlabelled"] == {"keypoints": 2, "mean_confidence": 0.25}
    assert sum(one["keypoints"] for one in report["curve"]) == 58


def test_without_calibration_the_radius_is_of_the_labels() -> None:
    result = result_of(np.full((30, 2), 0.5), np.full((30, 2), 4.9))
    found = reliability_of(result, TWO.model_copy(update={"confidence": None}))
    assert not found.calibrated
    assert found.radius_px == 5.0  # a twentieth of 100 px
    assert found.within.all()
    assert "not calibrated" in str(found)


@pytest.mark.parametrize("count", [1, 45, 400])
@pytest.mark.parametrize("distance", [0.0, 50.0])
def test_the_curve_is_drawn_also_where_all_is_right_or_wrong(tmp_path: Path, count: int, distance: float) -> None:
    rng = np.random.default_rng(count)
    found = reliability_of(result_of(rng.random((count, 2)), np.full((count, 2), distance)), TWO)
    assert all(0 <= one.low <= one.within_radius <= one.high <= 1 for one in found.bins)
    picture = cv2.imread(str(draw_reliability(found, tmp_path / "reliability.png")))
    assert picture.shape[0] > 600

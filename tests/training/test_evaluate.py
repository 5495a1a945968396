"""Evaluation of a model file with known answers, of predictions that are missing, and its pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec, TestErrors
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.drawing import draw_worst
from poseloop_training.evaluate import Predict, evaluate_predictions
from poseloop_training.indices import read_indices, write_indices
from poseloop_training.model_runner import ModelRunner

from tests.models import KEYPOINT_STEP, write_spot_model
from tests.training.label_files import some_labels, write_deeplabcut, write_png

NAMES = ("snout", "leftear", "rightear")


@pytest.fixture
def dataset(tmp_path: Path) -> PoseDataset:
    return load_dataset(write_deeplabcut(tmp_path / "project", some_labels(9, 3), NAMES))


def offset_by(dataset: PoseDataset, indices: list[int], shift: tuple[float, float]) -> Predict:
    """Predict the labels, moved; where nothing is labelled, nothing is found."""
    queue = [dataset.samples[index].keypoints for index in indices]

    def predict(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        labels = np.stack([queue.pop(0) for _ in images])
        return np.concatenate([labels + np.float32(shift), np.ones((*labels.shape[:3], 1))], axis=3, dtype=np.float32)

    return predict


def test_errors_of_moved_labels(dataset: PoseDataset) -> None:
    done: list[int] = []
    result = evaluate_predictions(
        dataset, [4, 0, 7], offset_by(dataset, [4, 0, 7], (3, 4)), batch_size=2, on_progress=done.append
    )
    assert done == [2, 3]
    assert result.indices == (4, 0, 7)
    assert result.images == ("cam/img004.png", "cam/img000.png", "cam/img007.png")
    assert result.summary.mean_px == pytest.approx(5, abs=1e-4)
    assert result.summary.rmse_px == pytest.approx(5, abs=1e-4)
    assert result.summary.labelled == int(result.labelled.sum())
    errors = result.test_errors()
    assert errors.frames == 3
    assert TestErrors.model_validate_json(errors.model_dump_json()) == errors


def test_frames_without_a_label_are_in_no_count(dataset: PoseDataset) -> None:
    for index in (1, 2, 5):
        dataset.samples[index].keypoints[:] = np.nan
    result = evaluate_predictions(dataset, range(9), offset_by(dataset, list(range(9)), (3, 4)))
    assert result.labelled_frames == result.test_errors().frames == result.to_json()["frames"] == 6


def test_a_keypoint_without_test_labels_is_left_out_of_the_model_file(dataset: PoseDataset) -> None:
    for sample in dataset.samples:
        sample.keypoints[:, 1] = np.nan
    result = evaluate_predictions(dataset, range(9), offset_by(dataset, list(range(9)), (3, 4)))
    assert sorted(result.test_errors().per_keypoint) == ["rightear", "snout"]
    report = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert report["per_keypoint"]["leftear"]["mean_error_px"] is None
    assert report["per_keypoint"]["leftear"]["labelled_keypoints"] == 0


def test_what_the_model_missed_is_counted_and_wrong_in_pck(dataset: PoseDataset) -> None:
    def predict(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        found = offset_by(dataset, [0], (0, 0))(images)
        found[0, 0, 0, :2] = np.nan
        return found

    result = evaluate_predictions(dataset, [0], predict)
    assert result.summary.missed == 1
    assert result.summary.mean_px == 0
    assert result.summary.pck_radius[5.0] == pytest.approx(2 / 3)
    assert result.per_keypoint["snout"].missed == 1
    assert math.isnan(result.per_keypoint["snout"].mean_px)


def test_frames_without_any_label_are_refused(dataset: PoseDataset) -> None:
    dataset.samples[3].keypoints[:] = np.nan
    with pytest.raises(InvalidInputError, match="none of the 1 frames to evaluate has a label"):
        evaluate_predictions(dataset, [3], offset_by(dataset, [3], (0, 0)))


def test_several_animals_are_refused(shared_data: Path) -> None:
    with pytest.raises(InvalidInputError, match="up to 2 labelled animals"):
        evaluate_predictions(load_dataset(shared_data / "flies/flies.slp"), [0], lambda _: np.zeros((1, 1, 13, 3)))


def test_a_wrong_shape_is_a_fault_of_the_caller(dataset: PoseDataset) -> None:
    with pytest.raises(ValueError, match="predict gave"):
        evaluate_predictions(dataset, [0], lambda _: np.zeros((1, 1, 2, 3), dtype=np.float32))


def spot_project(folder: Path, color: bool = False) -> PoseDataset:
    """Frames of two sizes with one bright pixel; the labels are what the spot model answers, out of its order."""
    labels = np.empty((4, 3, 2))
    spots = [(5, 20), (30, 40), (7, 33), (41, 27)]
    for row, (x, y) in enumerate(spots):
        labels[row] = [(x + k * KEYPOINT_STEP[0], y + k * KEYPOINT_STEP[1]) for k in (1, 2, 0)]
    write_deeplabcut(folder, labels, NAMES)
    for row, (x, y) in enumerate(spots):
        pixels = np.zeros((48, 64, 3) if row % 2 else (60, 80, 3), dtype=np.uint8)
        pixels[y, x] = (250, 0, 0) if color else 250
        write_png(folder / f"labeled-data/cam/img{row:03d}.png", pixels)
    return load_dataset(folder)


@pytest.mark.parametrize("color", ["gray", "rgb"])
@pytest.mark.parametrize("colored", [False, True])
def test_a_model_file_with_known_answers(tmp_path: Path, color: str, colored: bool) -> None:
    dataset = spot_project(tmp_path / "project", colored)
    write_spot_model(tmp_path / "spot.onnx", ("rightear", "snout", "leftear", "extra"), color)  # type: ignore[arg-type]
    runner = ModelRunner(tmp_path / "spot.onnx")
    order = runner.order_of(dataset.keypoint_names)
    assert order == [1, 2, 0]
    result = evaluate_predictions(
        dataset, range(4), lambda images: runner.predict(images)[:, :, order], color=runner.spec.color
    )
    np.testing.assert_array_equal(result.distances, 0)


def test_a_model_that_lacks_a_keypoint(tmp_path: Path) -> None:
    write_spot_model(tmp_path / "spot.onnx", ("snout", "tail"))
    with pytest.raises(InvalidInputError, match=r"does not know 'leftear', 'rightear'.*it has snout, tail"):
        ModelRunner(tmp_path / "spot.onnx").order_of(NAMES)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def _foreign(file: Path) -> None:
    import onnx

    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "does not exist"),
        (_cut, "can't be opened as an ONNX model"),
        (lambda file: file.write_text("hello"), "can't be opened as an ONNX model"),
        (_foreign, "was not exported by poseloop"),
    ],
)
def test_what_is_no_model_file(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    write_spot_model(tmp_path / "spot.onnx")
    spoil(tmp_path / "spot.onnx")
    with pytest.raises(InvalidInputError, match=message):
        ModelRunner(tmp_path / "spot.onnx")


def test_a_graph_that_fails_says_so(tmp_path: Path) -> None:
    write_spot_model(tmp_path / "spot.onnx", fail_on_black=True)
    with pytest.raises(InvalidInputError, match=r"spot\.onnx fails on images of 8x6"):
        ModelRunner(tmp_path / "spot.onnx").predict([np.zeros((6, 8, 1), dtype=np.uint8)])


def test_a_model_of_three_channels_refuses_one(tmp_path: Path) -> None:
    spec: ModelSpec = write_spot_model(tmp_path / "spot.onnx", color="rgb")
    assert spec.channels == 3
    with pytest.raises(InvalidInputError, match="channels 3 only, and these have 1"):
        ModelRunner(tmp_path / "spot.onnx").predict([np.zeros((6, 8, 1), dtype=np.uint8)])


def test_worst_frames_are_drawn_worst_first(tmp_path: Path, dataset: PoseDataset) -> None:
    def predict(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.full((len(images), 1, 3, 3), 500.0, dtype=np.float32)  # outside of the frame: drawn all the same

    result = evaluate_predictions(dataset, range(9), predict)
    worst = result.worst_frames(2)
    assert worst[0].mean_px >= worst[1].mean_px
    files = draw_worst(result, dataset, tmp_path / "new" / "worst", count=2)
    assert [file.name for file in files] == [
        f"worst-{i + 1:02d}-frame-{frame.index}.png" for i, frame in enumerate(worst)
    ]
    picture = cv2.imread(str(files[0]))
    assert picture.shape[0] > 600
    # The label's circle is drawn in its colour, matplotlib's first blue, R 31, G 119, B 180.
    assert (np.abs(picture[..., ::-1].astype(int) - (31, 119, 180)).max(axis=2) < 12).sum() > 50


@pytest.mark.parametrize("text", ["[3, 0, 8]", "3\n0\n8\n", "\ufeff[3,0,8]", " 3 \n\n0\r\n8"])
def test_indices(tmp_path: Path, text: str) -> None:
    (tmp_path / "i").write_text(text, encoding="utf-8")
    assert read_indices(tmp_path / "i", 9) == (3, 0, 8)
    write_indices(tmp_path / "j", (3, 0, 8))
    assert read_indices(tmp_path / "j", 9) == (3, 0, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no frame"),
        ("[]", "names no frame"),
        ("[0, 9]", "there is no frame 9; the dataset has 9 frames, 0 to 8"),
        ("-1", "there is no frame -1"),
        ("1\n2\n1", "frame 1 stands twice"),
        ("[1, true]", "not a list of whole numbers"),
        ("[1, 2.0]", "not a list of whole numbers"),
        ('{"test": [1]}', "not a list of whole numbers"),
        ("[1, ", "is not valid JSON"),
        ("1\ntwo", "line 2: 'two' is no whole number"),
    ],
)
def test_wrong_indices(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "i").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        read_indices(tmp_path / "i", 9)
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_indices(tmp_path / "nowhere", 9)

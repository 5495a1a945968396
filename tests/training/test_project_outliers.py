from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from poseloop.errors import InvalidInputError
from poseloop.types import MODEL_METADATA_KEY
from poseloop_training.model_runner import ModelRunner
from poseloop_training.project import Project, extract_outliers, open_project
from poseloop_training.project import doubts as measures
from poseloop_training.project.opinions import SHIFT_PX, Opinions
from poseloop_training.project.outliers import Limits
from poseloop_training.project.table import read_both

from tests.models import KEYPOINT_STEP, write_spot_model
from tests.training.project_files import NAMES, new_project, spot_frames, write_video

JUMP, DIM = 20, (30, 31)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A spot that walks a pixel a frame, is elsewhere in one frame and dim in two."""
    spots = [(5 + number, 20) for number in range(40)]
    spots[JUMP] = (10, 40)
    return write_video(tmp_path / "cam.avi", spot_frames(spots, [60 if n in DIM else 255 for n in range(40)]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_spot_model(tmp_path / "spot.onnx", NAMES)
    return tmp_path / "spot.onnx"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "p")


def test_low_confidence_and_jumps(project: Project, video: Path, model: Path) -> None:
    report = extract_outliers(project, video, model, count=10)
    assert (report.video, report.frames) == ("cam", 40)
    found = {outlier.index: outlier.reasons for outlier in report.taken}
    assert {index for index, reasons in found.items() if "jump" in reasons} <= {JUMP - 1, JUMP, JUMP + 1}
    assert {index for index, reasons in found.items() if "low confidence" in reasons} == set(DIM)
    assert report.flagged == len(found) == 5
    assert {reason.name: reason.flagged for reason in report.reasons} == {"low confidence": 2, "jump": 3}
    assert all(outlier.confidence == pytest.approx(60 / 255) for outlier in report.taken if outlier.index in DIM)
    assert [known.path for known in open_project(project.folder).videos] == [video.resolve()]


def test_what_is_written_is_deeplabcuts(project: Project, video: Path, model: Path) -> None:
    report = extract_outliers(project, video, model, count=10)
    assert report.machine_labels == project.folder / "labeled-data/cam/machinelabels-iter0.csv"
    rows = read_both(report.machine_labels, likelihood=True)
    assert rows is not None
    assert rows.images == tuple(outlier.file.name for outlier in report.taken)
    for image, values in zip(rows.images, rows.values, strict=True):
        pixels = cv2.imread(str(project.folder / "labeled-data/cam" / image))[:, :, 0]
        y, x = np.argwhere(pixels == pixels.max())[0]
        np.testing.assert_allclose(values[0], (x, y, pixels.max() / 255), rtol=1e-6)
        np.testing.assert_allclose(values[1, :2], np.add((x, y), KEYPOINT_STEP))
    head = report.machine_labels.read_text().splitlines()[:3]
    assert head[0].startswith("scorer,,,poseloop_spot,")
    assert head[2] == "coords,,,x,y,likelihood,x,y,likelihood"


def test_few_of_many_are_of_different_kinds(project: Project, model: Path, tmp_path: Path) -> None:
    spots = [(20 + number, 20) for number in range(20)]
    frames = [np.maximum(frame, 0 if n < 15 else 40) for n, frame in enumerate(spot_frames(spots, [60] * 20))]
    report = extract_outliers(project, write_video(tmp_path / "two.avi", frames), model, count=2)
    assert report.flagged == 20
    assert sorted(outlier.index < 15 for outlier in report.taken) == [False, True]


def test_a_second_run_takes_others_and_keeps_the_rows(project: Project, video: Path, model: Path) -> None:
    first = extract_outliers(project, video, model, count=2)
    project = open_project(project.folder)
    before = read_both(first.machine_labels, likelihood=True)
    second = extract_outliers(project, video, model, count=10)
    assert {outlier.index for outlier in first.taken}.isdisjoint(outlier.index for outlier in second.taken)
    rows = read_both(first.machine_labels, likelihood=True)
    assert before is not None
    assert rows is not None
    assert rows.images[:2] == before.images
    np.testing.assert_array_equal(rows.values[:2], before.values)
    assert len(rows) == 5
    assert list(project.folder.glob("backups/*-outliers/labeled-data/cam/machinelabels-iter0.csv"))
    third = extract_outliers(project, video, model, count=10)
    assert (third.flagged, third.taken) == (0, ())


def test_limits(project: Project, video: Path, model: Path) -> None:
    report = extract_outliers(project, video, model, limits=Limits(confidence=0.1, jump_px=500))
    assert report.taken == ()
    assert not report.machine_labels.exists()
    assert [(reason.limit, reason.unit) for reason in report.reasons] == [(0.1, ""), (500, "px")]


def test_disagreement_of_two_models(project: Project, video: Path, model: Path, tmp_path: Path) -> None:
    write_spot_model(tmp_path / "other.onnx", tuple(reversed(NAMES)))
    report = extract_outliers(project, video, model, second_model=tmp_path / "other.onnx", count=3)
    assert {reason.name: reason.flagged for reason in report.reasons}["two models"] == 40
    same = extract_outliers(project, video, model, second_model=model, limits=Limits(0.0, 500), count=3)
    assert same.flagged == 0


def test_variations_of_a_frame_come_back_to_its_pixels(tmp_path: Path, model: Path) -> None:
    graph = onnx.load(model)
    for entry in graph.metadata_props:
        if entry.key == MODEL_METADATA_KEY:
            entry.value = entry.value.replace('"swap_pairs":[]', '"swap_pairs":[["snout","tail"]]')
    onnx.save(graph, tmp_path / "sided.onnx")
    (frame,) = spot_frames([(30, 20)])
    own, shifted, darker, mirrored = Opinions(ModelRunner(tmp_path / "sided.onnx"), NAMES, augment=True).of(frame)
    np.testing.assert_allclose(own[:, :2], [(30, 20), (40, 15)])
    np.testing.assert_allclose(shifted[:, :2], own[:, :2])
    np.testing.assert_allclose(darker[:, :2], own[:, :2])
    # This model sees no sides: it places the second keypoint 10 px to the right in the mirror too.
    np.testing.assert_allclose(mirrored[:, :2], [(20, 15), (30, 20)])
    assert len(Opinions(ModelRunner(model), NAMES, augment=True).of(frame)) == 3, "no pairs, no mirror"
    assert SHIFT_PX != (0, 0)


def test_variations_flag_what_they_change(project: Project, model: Path, tmp_path: Path) -> None:
    # Shifted by 5 px this spot leaves the frame.
    video = write_video(tmp_path / "edge.avi", spot_frames([(30, 20)] * 5 + [(62, 20)] + [(30, 20)] * 5))
    report = extract_outliers(project, video, model, augment=True, limits=Limits(jump_px=500))
    assert [(outlier.index, outlier.reasons) for outlier in report.taken] == [(5, ("variations",))]


def test_measures_of_absent_keypoints() -> None:
    keypoints = np.full((4, 2, 3), np.nan, dtype=np.float32)
    keypoints[..., 2] = 0
    assert measures.animal_size(keypoints) == 0
    assert measures.low_confidence(keypoints, 0.6).flagged.all()
    assert not measures.jumps(keypoints).flagged.any()
    assert not measures.disagreement("two models", keypoints, [keypoints]).flagged.any()
    assert not measures.low_confidence(keypoints, 0.0).flagged.any()


def test_what_is_wrong_is_one_sentence(project: Project, video: Path, model: Path, tmp_path: Path) -> None:
    write_spot_model(tmp_path / "few.onnx", ("snout",))
    with pytest.raises(InvalidInputError, match="does not know 'tail'"):
        extract_outliers(project, video, tmp_path / "few.onnx")
    with pytest.raises(InvalidInputError, match="there is no video"):
        extract_outliers(project, tmp_path / "no.avi", model)
    with pytest.raises(InvalidInputError, match=r"no\.onnx does not exist"):
        extract_outliers(project, video, tmp_path / "no.onnx")
    text = project.config_file.read_text().replace("multianimalproject: false", "multianimalproject: true")
    project.config_file.write_text(text.replace("bodyparts:", "multianimalbodyparts:"))
    with pytest.raises(InvalidInputError, match="several animals"):
        extract_outliers(open_project(project.folder), video, model)
    assert not list(project.labeled_data.iterdir())

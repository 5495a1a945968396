from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_training.project import Project, extract_frames, extract_outliers, merge_labels, open_project, write_slp
from poseloop_training.project.frames import frames_there
from poseloop_training.project.table import LabelRows, one_animal, read_both, write_both
from poseloop_training.readers import read_labels

from tests.models import write_spot_model
from tests.training.project_files import NAMES, new_project, spot_frames, write_video

POINTS = one_animal(NAMES)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two videos of four labelled frames each, and outliers of the first one that wait."""
    spots = [(5 + number, 20) for number in range(30)]
    levels = [60 if number in (10, 20) else 255 for number in range(30)]
    videos = [write_video(tmp_path / f"cam{number}.avi", spot_frames(spots, levels)) for number in (1, 2)]
    project = new_project(tmp_path / "p", *videos)
    config = project.config_file
    config.write_text(config.read_text().replace("stop: 1\n", "stop: 0.3\n"))
    project = open_project(project.folder)
    for done in extract_frames(project, method="uniform", count=4).videos:
        images = tuple(file.name for file in reversed(done.written))
        values = np.random.default_rng(0).uniform(0, 40, (4, 2, 2))
        write_both(project.labels_file(done.video), LabelRows(done.video, images, POINTS, values), "Ada")
    config.write_text(config.read_text().replace("stop: 0.3\n", "stop: 1\n"))
    write_spot_model(tmp_path / "spot.onnx", NAMES)
    project = open_project(project.folder)
    extract_outliers(project, videos[0], tmp_path / "spot.onnx")
    return project


def labels(project: Project, video: str) -> LabelRows:
    rows = read_both(project.labels_file(video))
    assert rows is not None
    return rows


def refined(project: Project) -> LabelRows:
    """The machine labels of the first video, every point moved by a pixel."""
    rows = read_both(project.machine_labels_file("cam1"), likelihood=True)
    assert rows is not None
    return LabelRows("cam1", rows.images, rows.points, rows.xy + 1)


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outliers_that_wait_are_refused_and_nothing_is_changed(project: Project) -> None:
    before = everything(project.folder)
    with pytest.raises(InvalidInputError, match=r"2 outliers of iteration 0 .* labeled-data/cam1/img10\.png"):
        merge_labels(project)
    assert everything(project.folder) == before


def test_labels_that_napari_saved_into_the_set(project: Project) -> None:
    old, new = labels(project, "cam1"), refined(project)
    values = np.concatenate([old.values, new.values])
    write_both(project.labels_file("cam1"), LabelRows("cam1", old.images + new.images, POINTS, values), "Ada")
    before = everything(project.labeled_data)
    report = merge_labels(project)
    assert (report.iteration_before, report.iteration) == (0, 1)
    assert open_project(project.folder).iteration == 1
    (folder,) = report.folders
    assert (folder.video, folder.labelled, folder.refined, folder.waiting) == ("cam1", 6, new.images, ())
    assert everything(project.labeled_data) == before
    assert report.backup is not None
    assert [path.name for path in report.backup.rglob("*") if path.is_file()] == ["config.yaml"]


def test_labels_that_older_deeplabcut_saved_beside_the_set(project: Project) -> None:
    old, new = labels(project, "cam1"), refined(project)
    write_both(project.labeled_data / "cam1/MachineLabelsRefine.csv", new, "Ada")
    files = [project.labels_file("cam1"), project.labels_file("cam1").with_suffix(".h5")]
    before = {file: file.read_bytes() for file in files}
    report = merge_labels(project)
    (folder,) = report.folders
    assert (folder.added, folder.changed, folder.refined) == (new.images, (), new.images)
    rows = labels(project, "cam1")
    assert rows.images == (*old.images, *new.images)
    np.testing.assert_array_equal(rows.values[:4], old.values)
    np.testing.assert_array_equal(rows.values[4:], new.values)
    assert report.backup is not None
    for file in files:
        assert (report.backup / file.relative_to(project.folder)).read_bytes() == before[file]
    assert len(read_labels(project.folder).images) == 10


def test_labels_corrected_in_sleap(project: Project, tmp_path: Path) -> None:
    import sleap_io

    done = write_slp(project, tmp_path / "all.slp")
    assert (done.frames, done.labelled, done.predicted) == (10, 8, 2)
    content = sleap_io.load_slp(str(tmp_path / "all.slp"))
    for frame in content.labeled_frames:
        if frame.predicted_instances:
            points = frame.predicted_instances[0].numpy() + 2.5
            points[1] = np.nan
            frame.instances.append(sleap_io.Instance.from_numpy(points, skeleton=content.skeletons[0]))
        elif Path(frame.video.filename[frame.frame_idx]).parent.name == "cam2":
            frame.instances[0]["snout"]["xy"] = (1.25, 2.5)
    content.save(str(tmp_path / "refined.slp"), embed=False)
    old, expected = labels(project, "cam1"), refined(project).values + 1.5
    report = merge_labels(project, tmp_path / "refined.slp")
    first, second = report.folders
    assert (len(first.added), first.changed, report.iteration) == (2, (), 1)
    assert (second.added, len(second.changed)) == ((), 4)
    rows = labels(project, "cam1")
    np.testing.assert_array_equal(rows.values[:4], old.values)
    np.testing.assert_allclose(rows.values[4:, 0], expected[:, 0], atol=1e-4)
    assert np.isnan(rows.values[4:, 1]).all()
    assert (labels(project, "cam2").values[:, 0] == (1.25, 2.5)).all()


def test_some_may_be_left_waiting(project: Project) -> None:
    new = refined(project)
    write_both(project.labeled_data / "cam1/MachineLabelsRefine.csv", new.only([1]), "Ada")
    report = merge_labels(project, leave_waiting=True)
    (folder,) = report.folders
    assert (folder.refined, folder.waiting) == (new.images[1:], new.images[:1])
    assert report.iteration == 1
    assert new.images[0] not in labels(project, "cam1").images


def test_first_labels_made_elsewhere_count_no_iteration(project: Project, tmp_path: Path) -> None:
    for file in project.labeled_data.glob("cam1/machinelabels*"):
        file.unlink()
    source = LabelRows("cam2", labels(project, "cam2").images[:1], POINTS, np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    write_both(tmp_path / "elsewhere/labeled-data/cam2/CollectedData_Eve.csv", source, "Eve")
    for name in source.images:
        image = project.labeled_data / "cam2" / name
        (tmp_path / "elsewhere/labeled-data/cam2" / name).write_bytes(image.read_bytes())
    report = merge_labels(project, tmp_path / "elsewhere/labeled-data/cam2/CollectedData_Eve.csv")
    assert report.iteration == report.iteration_before == 0
    assert [folder.changed for folder in report.folders] == [source.images]
    again = merge_labels(project, tmp_path / "elsewhere/labeled-data/cam2/CollectedData_Eve.csv")
    assert [folder.changed for folder in again.folders] == [()]
    assert again.backup is None


def test_nothing_to_merge(project: Project) -> None:
    for file in project.labeled_data.glob("cam1/machinelabels*"):
        file.unlink()
    with pytest.raises(InvalidInputError, match="nothing to merge"):
        merge_labels(project)


@pytest.mark.parametrize("which", ["frame", "keypoint", "table"])
def test_labels_that_are_not_of_the_project(project: Project, tmp_path: Path, which: str) -> None:
    images = ("img99.png",) if which == "frame" else labels(project, "cam2").images[:1]
    points = one_animal(["ghost"]) if which == "keypoint" else POINTS
    file = tmp_path / "elsewhere/labeled-data/cam2/CollectedData_Eve.csv"
    write_both(file, LabelRows("cam2", images, points, np.ones((1, len(points), 2))), "Eve")
    if which == "table":
        own = project.labels_file("cam2")
        own.write_text(own.read_text().replace("img", "image", 1))
    before = everything(project.folder)
    expected = {"frame": "no frame of the project", "keypoint": "labels 'ghost'", "table": "do not say the same"}[which]
    with pytest.raises(InvalidInputError, match=expected):
        merge_labels(project, file, leave_waiting=True)
    assert everything(project.folder) == before


def test_labels_by_another_scorer_are_not_hidden(project: Project, tmp_path: Path) -> None:
    new = refined(project)
    write_both(project.labeled_data / "cam1/MachineLabelsRefine.csv", new, "Ada")
    for file in (project.labels_file("cam1"), project.labels_file("cam1").with_suffix(".h5")):
        file.rename(file.with_stem("CollectedData_Eve"))
    before = everything(project.folder)
    with pytest.raises(InvalidInputError, match=r"has CollectedData_Eve\.csv, and the project's scorer is 'Ada'"):
        merge_labels(project)
    with pytest.raises(InvalidInputError, match="set 'scorer'"):
        write_slp(project, tmp_path / "all.slp")
    assert everything(project.folder) == before


def test_a_slp_is_not_written_over(project: Project, tmp_path: Path) -> None:
    (tmp_path / "all.slp").write_bytes(b"labels")
    with pytest.raises(InvalidInputError, match="is there already"):
        write_slp(project, tmp_path / "all.slp")
    assert (tmp_path / "all.slp").read_bytes() == b"labels"
    with pytest.raises(InvalidInputError, match=r"end in \.slp"):
        write_slp(project, tmp_path / "all.csv")
    with pytest.raises(InvalidInputError, match="make it first"):
        write_slp(project, tmp_path / "no/all.slp")
    assert frames_there(project.labeled_data / "cam1")

"""Whatever is wrong with a dataset is one plain sentence, of the right severity, in a table that shows it as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.problems import (
    LISTED_PER_KIND,
    Problem,
    Severity,
    find_problems,
    problem_table,
    refuse_errors,
    show_and_refuse,
)
from rich.console import Console

from tests.training.label_files import frame_pixels, some_labels, write_deeplabcut, write_png, write_table

NAMES = ("snout", "leftear", "rightear")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_deeplabcut(tmp_path / "project", np.full((3, 3, 2), 20.0), NAMES)


def relabel(project: Path, labels: np.ndarray, rows: tuple[int, ...] = (0, 1, 2)) -> PoseDataset:
    images = [("cam", f"img{row:03d}.png") for row in rows]
    write_table(project / "labeled-data/cam/CollectedData_Ada.csv", images, labels, NAMES)
    return load_dataset(project)


def only(dataset: PoseDataset, kind: str, severity: Severity) -> str:
    (problem,) = [problem for problem in find_problems(dataset) if problem.kind == kind]
    assert problem.severity is severity
    return problem.message


def test_a_good_dataset_has_none(project: Path) -> None:
    assert find_problems(load_dataset(project)) == ()
    console = Console(record=True)
    show_and_refuse(load_dataset(project), console)
    assert console.export_text() == ""


def test_missing_image(project: Path) -> None:
    (project / "labeled-data/cam/img001.png").unlink()
    message = only(load_dataset(project), "missing_image", Severity.ERROR)
    assert "frame 1" in message
    assert "img001.png does not exist" in message
    assert "restore it, or delete its row" in message


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image(project: Path, content: bytes) -> None:
    (project / "labeled-data/cam/img001.png").write_bytes(content)
    assert "img001.png can't be read as an image" in only(load_dataset(project), "unreadable_image", Severity.ERROR)


def test_an_image_whose_header_asks_for_gigabytes_is_refused_unread(project: Path) -> None:
    png = (project / "labeled-data/cam/img001.png").read_bytes()
    huge = png[:16] + (40000).to_bytes(4, "big") * 2 + png[24:]
    (project / "labeled-data/cam/img001.png").write_bytes(huge)
    message = only(load_dataset(project), "unreadable_image", Severity.ERROR)
    assert "img001.png" in message


def test_a_truncated_image_is_named_when_it_is_decoded(project: Path) -> None:
    file = project / "labeled-data/cam/img001.png"
    file.write_bytes(file.read_bytes()[:200])
    dataset = load_dataset(project)
    with pytest.raises(InvalidInputError, match=r"cam/img001\.png is damaged"):
        dataset.images_sha256(range(3))


@pytest.mark.parametrize(
    ("point", "outside"),
    [
        ((-0.5, -0.5), False),
        ((63.5, 47.5), False),
        ((-0.51, 10), True),
        ((10, 47.6), True),
        ((640.25, 10), True),
        ((float("inf"), 10), True),
        ((float("nan"), 10), False),
    ],
)
def test_label_outside(project: Path, point: tuple[float, float], outside: bool) -> None:
    labels = np.full((3, 3, 2), 20.0)
    labels[2, 1] = point
    dataset = relabel(project, labels)
    assert np.isnan(dataset.samples[2].keypoints[0, 1]).all() == (outside or bool(np.isnan(point).any()))
    if outside:
        message = only(dataset, "label_outside", Severity.WARNING)
        assert "frame 2 (cam/img002.png): 'leftear'" in message
        assert f"({point[0]:.1f}, {point[1]:.1f})" in message
        assert "64x48" in message
    else:
        assert find_problems(dataset) == ()


def test_keypoint_never_labelled(project: Path) -> None:
    labels = np.full((3, 3, 2), 20.0)
    labels[:, 2] = np.nan
    assert "'rightear' is labelled in no frame" in only(
        relabel(project, labels), "keypoint_never_labelled", Severity.WARNING
    )


def test_frame_without_label(project: Path) -> None:
    labels = np.full((3, 3, 2), 20.0)
    labels[1] = np.nan
    dataset = relabel(project, labels)
    assert len(dataset) == 3  # frame numbers stay those of the rows
    assert "frame 1 (cam/img001.png) has no label" in only(dataset, "frame_without_label", Severity.WARNING)


def test_duplicate_images(project: Path) -> None:
    dataset = relabel(project, np.full((3, 3, 2), 20.0), rows=(0, 1, 0))
    assert "labelled more than once (frames 0, 2)" in only(dataset, "duplicate_image", Severity.WARNING)


def test_mixed_sizes_are_fine(project: Path) -> None:
    write_png(project / "labeled-data/cam/img001.png", frame_pixels(1, (100, 80)))
    dataset = load_dataset(project)
    assert "1 of 100x80" in only(dataset, "mixed_sizes", Severity.INFO)
    show_and_refuse(dataset, Console(quiet=True))
    assert dataset.load_image(1).shape == (80, 100, 1)


@pytest.mark.parametrize(("name", "odd"), [("ear", False), ("left ear-2.b", False), ("[ear]", True), ("Öhrchen", True)])
def test_odd_names_are_shown_as_they_are(tmp_path: Path, name: str, odd: bool) -> None:
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", some_labels(2, 1), (name,)))
    assert [problem.kind for problem in find_problems(dataset)] == (["odd_name"] if odd else [])
    console = Console(record=True, width=200, quiet=False, file=(tmp_path / "out").open("w", encoding="utf-8"))
    console.print(problem_table(find_problems(dataset)))
    assert (name in console.export_text()) == odd


def test_several_animals_are_refused_and_the_remedy_named(shared_data: Path) -> None:
    dataset = load_dataset(shared_data / "flies/flies.slp")
    with pytest.raises(InvalidInputError, match=r"up to 2 labelled animals.*keep the labels of one animal a frame"):
        refuse_errors(find_problems(dataset), dataset.name)


def test_errors_come_first_and_many_of_a_kind_are_counted(project: Path) -> None:
    labels = np.full((20, 3, 2), 20.0)
    labels[:, 0, 0] = 1000
    big = write_deeplabcut(project.parent / "big", labels, NAMES)
    (big / "labeled-data/cam/img019.png").unlink()
    problems = find_problems(load_dataset(big))
    assert problems[0].severity is Severity.ERROR
    outside = [problem for problem in problems if problem.kind == "label_outside"]
    assert len(outside) == LISTED_PER_KIND + 1
    assert f"and {19 - LISTED_PER_KIND} more" in outside[-1].message


def test_the_first_error_is_raised_and_the_others_counted() -> None:
    errors = [Problem(Severity.ERROR, "missing_image", f"image {i} is gone.") for i in range(3)]
    with pytest.raises(InvalidInputError, match=r"mice can't be used: image 0 is gone\. \(2 more"):
        refuse_errors([Problem(Severity.WARNING, "odd_name", "?"), *errors], "mice")
    refuse_errors([Problem(Severity.WARNING, "odd_name", "?")], "mice")

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import InvalidInputError
from poseloop_training.names import guess_swap_pairs
from poseloop_training.problems import Severity
from poseloop_training.project import CheckReport, Project, check_project, open_project
from poseloop_training.project.duplicates import in_one_place
from poseloop_training.project.label_drawing import Drawing
from poseloop_training.project.swaps import find_swaps
from poseloop_training.project.table import LabelRows, one_animal, read_rows, write_both
from poseloop_training.readers import read_labels

from tests.training.label_files import config_text, write_deeplabcut, write_png, write_table
from tests.training.project_files import new_project

ARENA = Arena(ArenaSettings(width=160, height=120))
NAMES = ARENA.keypoint_names


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Twelve frames of the arena with their true labels."""
    project = new_project(tmp_path / "p", names=NAMES)
    images = tuple(f"img{number:03d}.png" for number in range(0, 240, 20))
    truth = np.stack([ARENA.keypoints(int(image[3:6])) for image in images]).astype(float)
    for image in images:
        write_png(project.labeled_data / "cam" / image, ARENA.frame(int(image[3:6])))
    write_both(project.labels_file("cam"), LabelRows("cam", images, one_animal(NAMES), truth), "Ada")
    return project


def change(project: Project, row: int, values: dict[str, tuple[float, float]]) -> None:
    rows = read_rows(project.labels_file("cam"))
    changed = rows.values.copy()
    for name, value in values.items():
        changed[row, NAMES.index(name)] = value
    write_both(project.labels_file("cam"), LabelRows("cam", rows.images, rows.points, changed), "Ada")


def kinds(report: CheckReport) -> list[str]:
    return [problem.kind for problem in report.problems]


def test_true_labels_have_nothing_to_remark(project: Project) -> None:
    report = check_project(project)
    assert report.problems == ()
    assert (report.frames, report.labels) == (12, 12 * len(NAMES))
    assert [file.parent.name for file in report.drawn] == ["cam_labeled"] * 12
    again = check_project(project)
    assert (again.problems, again.replaced) == ((), 12)


def test_exchanged_sides_are_found_wherever_the_animal_heads(project: Project) -> None:
    rows = read_rows(project.labels_file("cam"))
    left, right = (rows.xy[7, NAMES.index(name)] for name in ("left_ear", "right_ear"))
    change(project, 7, {"left_ear": tuple(right), "right_ear": tuple(left)})
    report = check_project(project, draw=False)
    assert kinds(report) == ["sides_swapped"]
    assert "frame 7 (cam/img140.png): 'left_ear' and 'right_ear'" in report.problems[0].message


def test_points_on_one_another_outside_and_missing(project: Project) -> None:
    rows = read_rows(project.labels_file("cam"))
    change(project, 2, {"snout": tuple(rows.xy[2, NAMES.index("left_ear")])})
    change(project, 3, {"snout": (500.0, 20.0)})
    shutil.copy(project.labeled_data / "cam/img000.png", project.labeled_data / "cam/img239.png")
    report = check_project(project, draw=False)
    assert sorted(kinds(report)) == ["label_outside", "not_labelled", "one_place"]
    assert "1 of 13 frames of labeled-data/cam are not labelled" in report.problems[-1].message
    assert report.problems[-1].severity is Severity.INFO


def test_the_same_picture_under_two_names(project: Project) -> None:
    rows = read_rows(project.labels_file("cam"))
    shutil.copytree(project.labeled_data / "cam", project.labeled_data / "copy")
    for file in (project.labeled_data / "copy").glob("*[!0].png"):
        file.unlink()
    moved = LabelRows("copy", rows.images[:1], rows.points, rows.values[:1] + 3)
    write_both(project.labels_file("copy"), moved, "Ada")
    for file in (project.labeled_data / "copy").glob("img*"):
        if file.name not in moved.images:
            file.unlink()
    report = check_project(project, draw=False)
    assert kinds(report) == ["same_picture"]
    assert "(cam/img000.png, copy/img000.png) show the same picture, and the labels differ by up to 4.2 px" in (
        report.problems[0].message
    )


def test_tables_that_disagree(project: Project) -> None:
    file = project.labels_file("cam")
    file.write_text(file.read_text().replace("img000", "img020x"))
    report = check_project(project, draw=False)
    assert {"tables_differ", "missing_image"} <= set(kinds(report))


def test_drawings_are_no_frames(project: Project) -> None:
    check_project(project)
    report = check_project(open_project(project.folder))
    assert "not_labelled" not in kinds(report)


def test_nothing_labelled_yet(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p")
    with pytest.raises(InvalidInputError, match="no frame is labelled yet: draw some"):
        check_project(project)
    write_png(project.labeled_data / "cam/img1.png", ARENA.frame(0))
    with pytest.raises(InvalidInputError, match="none of its 1 frames is labelled yet: label them"):
        check_project(project)


def heading(keypoints: NDArray[np.float64], frames: int) -> NDArray[np.float32]:
    """The same animal, heading anywhere and a little shaken."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, frames)
    turn = np.stack([np.stack([np.cos(angles), -np.sin(angles)]), np.stack([np.sin(angles), np.cos(angles)])])
    turned = np.einsum("ijf,kj->fki", turn, keypoints) + rng.normal(0, 0.5, (frames, len(keypoints), 2))
    return turned[:, None].astype(np.float32)


def test_swaps_need_something_to_tell_them_by() -> None:
    names, pairs = ("left", "right", "nose"), (("left", "right"),)
    mouse = heading(np.array([(-10.0, 0.0), (10.0, 0.0), (0.0, 30.0)]), 40)
    mouse[5, 0, :2] = mouse[5, 0, 1::-1]
    (swap,) = find_swaps(mouse, names, pairs)
    assert (swap.frame, swap.animal, swap.seen_from) == (5, 0, ("nose",))
    assert find_swaps(mouse[:8], names, pairs) == (), "too few frames to know what is usual"
    assert find_swaps(mouse[:, :, :2], ("left", "right"), pairs) == ()
    # Seen from either side, as animals that walk past a camera are, no side is usual.
    mouse[::2, :, :, 0] *= -1
    assert find_swaps(mouse, names, pairs) == ()
    mouse[:] = np.nan
    assert find_swaps(mouse, names, pairs) == ()


def test_points_in_one_place_of_unlabelled_ones() -> None:
    keypoints = np.full((2, 1, 3, 2), np.nan, dtype=np.float32)
    keypoints[1, 0, :2] = 5
    assert list(in_one_place(keypoints)) == [(1, 0, 0, 1)]


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (1200, 1600), (3000, 500)])
def test_labels_are_drawn_where_they_are(size: tuple[int, int]) -> None:
    width, height = size
    image = np.full((height, width, 1), 90, dtype=np.uint8)
    x, y = int(0.7 * width), int(0.4 * height)
    image[max(y - 20, 0) : y + 21, max(x - 20, 0) : x + 21] = 255
    keypoints = np.array([[(x, y), (np.nan, np.nan)]], dtype=np.float32)
    drawn = Drawing(("snout", "[tail]"), (("snout", "[tail]"),)).of(image, keypoints, "frame 1", {"snout"})
    shown = float(np.clip(height, 420, 800))
    whole = drawn[: round(shown), : round(width * shown / height)]
    coloured = (whole.max(axis=2) - whole.min(axis=2)) > 60
    ys, xs = np.nonzero(coloured)
    zoom = shown / height
    middle = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
    np.testing.assert_allclose(middle, ((x + 0.5) * zoom - 0.5, (y + 0.5) * zoom - 0.5), atol=1)
    enlarged = drawn[: round(shown), whole.shape[1] + 4 :]
    assert enlarged.shape[0] == enlarged.shape[1]
    assert ((enlarged.max(axis=2) - enlarged.min(axis=2)) > 60).any()
    assert cv2.imencode(".png", drawn)[0]


def test_openfield(tmp_path: Path, shared_data: Path) -> None:
    shutil.copytree(shared_data / "openfield/labeled-data", tmp_path / "labeled-data", copy_function=shutil.copyfile)
    shutil.copyfile(shared_data / "openfield/config.yaml", tmp_path / "config.yaml")
    report = check_project(open_project(tmp_path), draw=False)
    assert (report.frames, report.labels) == (116, 464)
    # In this frame the mouse heads left, and its left ear is labelled as the right one.
    assert kinds(report) == ["sides_swapped"]
    assert "m4s1/img0102.png" in report.problems[0].message


def test_flies(shared_data: Path) -> None:
    labels = read_labels(shared_data / "flies/flies.slp")
    keypoints = np.stack([image.keypoints for image in labels.images])
    names = labels.keypoint_names
    pairs = guess_swap_pairs(names)
    assert len(pairs) == 5
    assert find_swaps(keypoints, names, pairs) == ()
    rows = np.arange(0, 1000, 50)[:, None]
    left, right = names.index("eyeL"), names.index("eyeR")
    keypoints[rows, 0, [[left, right]]] = keypoints[rows, 0, [[right, left]]]
    assert [swap.frame for swap in find_swaps(keypoints, names, pairs)] == rows.ravel().tolist()


def test_a_project_of_several_animals_is_drawn_and_told_of(tmp_path: Path) -> None:
    names = ("nose", "tail")
    folder = write_deeplabcut(tmp_path, np.zeros((2, 2, 2)), names)
    images = [("cam", "img000.png"), ("cam", "img001.png")]
    labels = np.array([[[(5, 5), (15, 5)], [(30, 30), (40, 40)]]] * 2, dtype=float)
    write_table(folder / "labeled-data/cam/CollectedData_Ada.csv", images, labels, names, "new", ["one", "two"])
    config = config_text(names, multianimalbodyparts=list(names)).replace(
        "multianimalproject:", "multianimalproject: true"
    )
    (folder / "config.yaml").write_text(config)
    report = check_project(open_project(folder))
    assert (report.frames, report.labels, len(report.drawn)) == (2, 8, 2)
    assert kinds(report) == ["several_animals"]

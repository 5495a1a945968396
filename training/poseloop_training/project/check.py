"""`poseloop project check`: what is wrong with a project's labels, and each frame with its labels drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from poseloop.errors import InvalidInputError

from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.image_source import ImageFile
from poseloop_training.problems import Problem, Severity, find_problems
from poseloop_training.project.config import Project
from poseloop_training.project.duplicates import equal_images, in_one_place, pixels_hash
from poseloop_training.project.files import encode_png, write_whole
from poseloop_training.project.frames import DRAWN, frame_folders, frames_there
from poseloop_training.project.label_drawing import Drawing
from poseloop_training.project.swaps import find_swaps
from poseloop_training.project.table import read_both

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found.

    Attributes:
        frames: labelled frames.
        labels: keypoints labelled in them.
        problems: errors first, each one sentence.
        drawn: the pictures, in the order of the frames.
        replaced: how many of them took the place of an earlier check's.
    """

    frames: int
    labels: int
    problems: tuple[Problem, ...]
    drawn: tuple[Path, ...] = ()
    replaced: int = 0


def check_project(project: Project, *, draw: bool = True, on_progress: Progress | None = None) -> CheckReport:
    """Look a project's labels over, and draw them into ``labeled-data/<video>_labeled`` as DeepLabCut does.

    Args:
        project: single or multi-animal.
        draw: write the pictures; those of an earlier check are replaced.
        on_progress: called with frames done and frames to do.

    Raises:
        InvalidInputError: nothing is labelled, or no labelled image can be read.
    """
    _refuse_unlabelled(project)
    dataset = load_dataset(project.folder)
    keypoints = _stacked(dataset)
    found = [*_doubtful_places(dataset, keypoints), *_unfinished(project, dataset)]
    doubtful = _names_by_frame(found)
    drawn, replaced, hashes = [], 0, []
    drawing = Drawing(dataset.keypoint_names, dataset.skeleton)
    for row, sample in enumerate(dataset.samples):
        image = dataset.load_image(row)
        hashes.append(pixels_hash(image))
        if draw and isinstance(sample.image, ImageFile):
            file = _picture(project, sample.image.path)
            replaced += file.exists()
            title = f"{sample.image.name}, frame {row}"
            write_whole(file, encode_png(drawing.of(image, keypoints[row], title, doubtful[row])))
            drawn.append(file)
        if on_progress is not None:
            on_progress(row + 1, len(dataset))
    more = [*(note.problem for note in found), *_equal(dataset, keypoints, hashes)]
    labels = int(np.isfinite(keypoints).all(axis=3).sum())
    return CheckReport(len(dataset), labels, find_problems(dataset, more), tuple(drawn), replaced)


@dataclass(frozen=True, slots=True)
class _Note:
    """A problem, and the keypoints that it is about, to be marked in the picture of their frame."""

    problem: Problem
    frame: int | None = None
    names: tuple[str, ...] = ()


def _refuse_unlabelled(project: Project) -> None:
    if not list(project.labeled_data.glob("*/CollectedData_*")):
        frames = sum(len(frames_there(folder)) for folder in frame_folders(project))
        what = f"none of its {frames} frames is" if frames else "no frame is"
        todo = "label them in napari-deeplabcut" if frames else "draw some with `poseloop project frames`"
        raise InvalidInputError(f"{project.folder}: {what} labelled yet: {todo}, then check again.")


def _stacked(dataset: PoseDataset) -> np.ndarray:
    return np.stack([sample.keypoints for sample in dataset.samples])


def _names_by_frame(notes: list[_Note]) -> defaultdict[int, set[str]]:
    names: defaultdict[int, set[str]] = defaultdict(set)
    for note in notes:
        if note.frame is not None:
            names[note.frame] |= set(note.names)
    return names


def _doubtful_places(dataset: PoseDataset, keypoints: np.ndarray) -> Iterator[_Note]:
    names = dataset.keypoint_names
    for swap in find_swaps(keypoints, names, dataset.swap_pairs):
        message = (
            f"{_where(dataset, swap.frame)}: {swap.left!r} and {swap.right!r} lie the other way round than in most "
            f"frames, seen from {', '.join(swap.seen_from)}: exchange them if left and right are mixed up."
        )
        yield _Note(Problem(Severity.WARNING, "sides_swapped", message), swap.frame, (swap.left, swap.right))
    for frame, _, first, second in in_one_place(keypoints):
        message = (
            f"{_where(dataset, frame)}: {names[first]!r} and {names[second]!r} lie on one another: move the one that "
            "was set by mistake, or delete it."
        )
        yield _Note(Problem(Severity.WARNING, "one_place", message), frame, (names[first], names[second]))


def _where(dataset: PoseDataset, row: int) -> str:
    return f"frame {row} ({dataset.samples[row].image.name})"


def _equal(dataset: PoseDataset, keypoints: np.ndarray, hashes: list[bytes]) -> Iterator[Problem]:
    for rows in equal_images(hashes):
        if len({dataset.samples[row].image for row in rows}) < 2:
            continue  # one file with two rows is told already
        numbers, names = ", ".join(map(str, rows)), ", ".join(dataset.samples[row].image.name for row in rows)
        apart = np.nan_to_num(np.linalg.norm(keypoints[rows[0]] - keypoints[rows[1]], axis=2)).max(initial=0)
        differ = f", and the labels differ by up to {apart:.1f} px" if apart > 0 else ""
        yield Problem(
            Severity.WARNING,
            "same_picture",
            f"frames {numbers} ({names}) show the same picture{differ}: one may be trained on and "
            "another tested on, so keep one of them.",
        )


def _unfinished(project: Project, dataset: PoseDataset) -> Iterator[_Note]:
    """Yield what is not done yet: frames without labels, outliers that wait, tables that disagree."""
    labelled = {sample.image.path for sample in dataset.samples if isinstance(sample.image, ImageFile)}
    for folder in frame_folders(project):
        frames = frames_there(folder).values()
        missing = [file for file in frames if file not in labelled]
        if missing:
            message = (
                f"{len(missing)} of {len(frames)} frames of labeled-data/{folder.name} are not labelled, the first "
                f"being {missing[0].name}: label them, or leave them out of training as they are."
            )
            yield _Note(Problem(Severity.INFO, "not_labelled", message))
        try:
            read_both(project.labels_file(folder.name))
        except InvalidInputError as error:
            yield _Note(Problem(Severity.WARNING, "tables_differ", str(error)))


def _picture(project: Project, image: Path) -> Path:
    return project.labeled_data / f"{image.parent.name}{DRAWN}" / f"{image.stem}.png"

"""`poseloop project merge`: refined labels into the set, and the project's iteration counted on.

Labelling programs save refined machine labels in one of three places: napari-deeplabcut in ``CollectedData_<scorer>``
itself, older DeepLabCut in ``MachineLabelsRefine``, SLEAP in a ``.slp`` of its own. All are taken. An iteration is over
when every outlier of it is labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from poseloop.errors import InvalidInputError

from poseloop_training.image_source import ImageFile
from poseloop_training.project.config import Project, set_iteration
from poseloop_training.project.files import back_up
from poseloop_training.project.frames import frame_folders, frames_there
from poseloop_training.project.table import (
    LabelRows,
    Merged,
    merge_rows,
    no_rows,
    one_animal,
    read_both,
    write_both,
)
from poseloop_training.readers import read_labels
from poseloop_training.readers.base import LabelledImage, Labels

REFINED: Final = "MachineLabelsRefine.csv"
# Labels of other programs come as float32; what lies beyond their precision is not written.
DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class FolderMerge:
    """What a merge does to the labels of one video.

    Attributes:
        video: name of the folder in ``labeled-data``.
        labelled: frames with a row, after the merge.
        added: frames that are new among the labels.
        changed: frames whose labels are others now.
        refined: outliers of the iteration that are labelled.
        waiting: outliers of the iteration that are not.
    """

    video: str
    labelled: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    refined: tuple[str, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    Attributes:
        folders: those with outliers, or with labels that came in.
        iteration_before: the project's, before.
        iteration: the project's, now.
        backup: folder with the files as they were, or None if no file was changed.
    """

    folders: tuple[FolderMerge, ...]
    iteration_before: int
    iteration: int
    backup: Path | None


def merge_labels(project: Project, labels: Path | None = None, *, leave_waiting: bool = False) -> MergeReport:
    """Take refined labels into ``CollectedData_<scorer>`` and begin the next iteration.

    Labels given by ``labels`` without outliers waiting in the project are taken in, and the iteration stays.

    Args:
        project: where to.
        labels: a SLEAP ``.slp``, a table or another project with labels of frames of this project.
        leave_waiting: begin the next iteration although some outliers are not labelled.

    Raises:
        InvalidInputError: outliers are not labelled yet, nothing is to be merged, or labels are of other frames or
            keypoints. Nothing was changed then.
    """
    project.refuse_several_animals("merge")
    incoming = _incoming(project, labels) if labels is not None else {}
    plans = [_plan(project, folder, incoming) for folder in frame_folders(project)]
    plans = [plan for plan in plans if plan.folder.refined or plan.folder.waiting or plan.merged]
    waiting = [plan.folder for plan in plans if plan.folder.waiting]
    if waiting and not leave_waiting:
        raise InvalidInputError(_still_waiting(project, waiting))
    if not plans:
        raise InvalidInputError(
            f"{project.folder} has no machinelabels-iter{project.iteration} and no labels were given, so there is "
            "nothing to merge: find outliers first (poseloop project outliers), or give refined labels with --labels."
        )
    outliers = any(plan.folder.refined for plan in plans)
    changed = [plan for plan in plans if plan.merged and (plan.folder.added or plan.folder.changed)]
    backup = _backed_up(project, changed, outliers)
    for plan in changed:
        assert plan.merged is not None
        write_both(project.labels_file(plan.folder.video), plan.merged.rows, project.scorer)
    after = set_iteration(project, project.iteration + 1) if outliers else project
    return MergeReport(tuple(plan.folder for plan in plans), project.iteration, after.iteration, backup)


@dataclass(frozen=True, eq=False)
class _Plan:
    folder: FolderMerge
    merged: Merged | None


def _plan(project: Project, folder: Path, incoming: dict[str, LabelRows]) -> _Plan:
    points = one_animal(project.bodyparts)
    rows = read_both(project.labels_file(folder.name)) or no_rows(folder.name, points)
    merged: Merged | None = None
    added: set[str] = set()
    changed: set[str] = set()
    for refined in (read_both(folder / REFINED), incoming.get(folder.name)):
        if refined is not None:
            project.refuse_other_scorers(folder.name)
            merged = merge_rows(merged.rows if merged else rows, refined)
            added |= set(merged.added)
            changed |= set(merged.changed) - added
    machine = read_both(project.machine_labels_file(folder.name), likelihood=True)
    outliers = machine.images if machine else ()
    known = set((merged.rows if merged else rows).images)
    done = FolderMerge(
        video=folder.name,
        labelled=len(known),
        added=tuple(sorted(added)),
        changed=tuple(sorted(changed)),
        refined=tuple(image for image in outliers if image in known),
        waiting=tuple(image for image in outliers if image not in known),
    )
    return _Plan(done, merged)


def _backed_up(project: Project, changed: Sequence[_Plan], outliers: bool) -> Path | None:
    tables = [project.labels_file(plan.folder.video) for plan in changed]
    files = [file for table in tables for file in (table, table.with_suffix(".h5"))]
    return back_up(
        project.folder, [*files, *([project.config_file] if outliers else [])], f"iteration-{project.iteration}"
    )


def _still_waiting(project: Project, waiting: Sequence[FolderMerge]) -> str:
    total = sum(len(folder.waiting) for folder in waiting)
    first = waiting[0]
    return (
        f"{total} outliers of iteration {project.iteration} are not labelled, the first being "
        f"labeled-data/{first.video}/{first.waiting[0]}: refine machinelabels-iter{project.iteration} in napari and "
        "save, give refined labels with --labels, or go on without them with --leave-waiting."
    )


def _incoming(project: Project, path: Path) -> dict[str, LabelRows]:
    """Return labels that another program saved, by folder of this project."""
    labels = read_labels(path)
    _refuse_other_keypoints(project, labels, path)
    by_video: dict[str, dict[str, LabelledImage]] = {}
    for labelled in labels.images:
        video, image = _place(project, labelled, path)
        if image in by_video.setdefault(video, {}):
            raise InvalidInputError(
                f"{path} has labels of {video}/{image} twice: delete one of them, then merge again."
            )
        by_video[video][image] = labelled
    return {video: _rows(project, labels, video, images, path) for video, images in by_video.items()}


def _refuse_other_keypoints(project: Project, labels: Labels, path: Path) -> None:
    unknown = [name for name in labels.keypoint_names if name not in project.bodyparts]
    if unknown:
        raise InvalidInputError(
            f"{path} labels {', '.join(map(repr, unknown))}, which the project does not have (it has "
            f"{', '.join(project.bodyparts)}): rename or remove them there, or add them to 'bodyparts' in config.yaml."
        )


def _place(project: Project, labelled: LabelledImage, path: Path) -> tuple[str, str]:
    """Return folder and file name, in this project, of a labelled image or frame of a video."""
    reference = labelled.image
    if isinstance(reference, ImageFile):
        video, image = reference.path.parent.name, reference.path.name
        if (project.labeled_data / video / image).is_file():
            return video, image
    else:
        video = reference.path.stem
        frame = frames_there(project.labeled_data / video).get(reference.index)
        if frame is not None:
            return video, frame.name
    raise InvalidInputError(
        f"{path} labels {reference.name}, which is no frame of the project (it has none such in "
        f"labeled-data/{video}): draw the frames with `poseloop project frames` and label those."
    )


def _rows(project: Project, labels: Labels, video: str, images: dict[str, LabelledImage], path: Path) -> LabelRows:
    values = np.full((len(images), len(project.bodyparts), 2), np.nan)
    order = [project.bodyparts.index(name) for name in labels.keypoint_names]
    for row, (image, labelled) in enumerate(images.items()):
        animals = labelled.keypoints[np.isfinite(labelled.keypoints).any(axis=(1, 2))]
        if len(animals) > 1:
            raise InvalidInputError(
                f"{path} has {len(animals)} animals in {video}/{image}, and this project has one: keep one's labels."
            )
        if len(animals):
            values[row, order] = animals[0].astype(np.float64).round(DECIMALS)
    return LabelRows(video, tuple(images), one_animal(project.bodyparts), values)

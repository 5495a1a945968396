"""A project as a SLEAP ``.slp``: frames as image sequences, labels as a person's, machine labels as predictions.

`poseloop project merge --labels` brings back what SLEAP saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.names import guess_swap_pairs
from poseloop_training.project.config import Project
from poseloop_training.project.files import partial_of
from poseloop_training.project.frames import frame_folders, frames_there
from poseloop_training.project.table import LabelRows, one_animal, read_both


@dataclass(frozen=True, slots=True)
class SleapReport:
    """What a ``.slp`` was filled with: frames, those of them with a person's labels, and with the model's."""

    file: Path
    frames: int
    labelled: int
    predicted: int


def write_slp(project: Project, file: Path) -> SleapReport:
    """Write every frame of a project, with its labels, as a SLEAP file that is not there yet.

    Raises:
        InvalidInputError: the file is there, its ending is not ``.slp``, or the project holds no frame.
    """
    import sleap_io

    project.refuse_several_animals("sleap")
    if file.suffix != ".slp":
        raise InvalidInputError(f"{file} must end in .slp.")
    if file.exists():
        raise InvalidInputError(
            f"{file} is there already and may hold labels, so it is left as it is: give another name."
        )
    if not file.absolute().parent.is_dir():
        raise InvalidInputError(f"the folder {file.absolute().parent} is not there: make it first.")
    skeleton = _skeleton(project)
    videos, frames, counts = [], [], [0, 0, 0]
    for folder in frame_folders(project):
        images = [path.name for path in frames_there(folder).values()]
        if not images:
            continue
        project.refuse_other_scorers(folder.name)
        video = sleap_io.Video.from_filename([str(folder / image) for image in images])
        videos.append(video)
        counts[0] += len(images)
        for index, instance in _instances(project, folder.name, images, skeleton):
            counts[2 if isinstance(instance, sleap_io.PredictedInstance) else 1] += 1
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=index, instances=[instance]))
    if not videos:
        raise InvalidInputError(f"{project.labeled_data} holds no frame: draw some with `poseloop project frames`.")
    labels = sleap_io.Labels(labeled_frames=frames, videos=videos, skeletons=[skeleton])
    partial = partial_of(file)
    sleap_io.save_slp(labels, str(partial), embed=False, verbose=False)
    partial.replace(file)
    return SleapReport(file, *counts)


def _skeleton(project: Project) -> Any:
    import sleap_io

    edges = [edge for edge in project.skeleton if set(edge) <= set(project.bodyparts)]
    pairs = [list(pair) for pair in guess_swap_pairs(project.bodyparts)]
    return sleap_io.Skeleton(nodes=list(project.bodyparts), edges=edges, symmetries=pairs, name=project.task)


def _instances(project: Project, video: str, images: list[str], skeleton: Any) -> list[tuple[int, Any]]:
    import sleap_io

    labelled = _by_image(read_both(project.labels_file(video)), project)
    predicted = _by_image(read_both(project.machine_labels_file(video), likelihood=True), project)
    found = []
    for index, image in enumerate(images):
        if image in labelled and np.isfinite(labelled[image]).any():
            found.append((index, sleap_io.Instance.from_numpy(labelled[image], skeleton=skeleton)))
        elif image in predicted and image not in labelled:
            values = predicted[image]
            scores = np.nan_to_num(values[:, 2])
            instance = sleap_io.PredictedInstance.from_numpy(
                values[:, :2], skeleton=skeleton, point_scores=scores, score=float(scores.mean())
            )
            found.append((index, instance))
    return found


def _by_image(rows: LabelRows | None, project: Project) -> dict[str, NDArray[np.float64]]:
    if rows is None:
        return {}
    ordered = rows.ordered(one_animal(project.bodyparts))
    return dict(zip(ordered.images, ordered.values, strict=True))

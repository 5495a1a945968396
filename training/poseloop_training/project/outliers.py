"""`poseloop project outliers`: the frames of a video that a model is weak on, with its labels to be refined.

They are written as DeepLabCut writes them: PNGs beside the other frames, and the model's keypoints as
``machinelabels-iter<N>``, which napari-deeplabcut opens and saves into ``CollectedData_<scorer>``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.model_runner import ModelRunner
from poseloop_training.project import doubts as measures
from poseloop_training.project.choice import choose_kmeans, thumbnail
from poseloop_training.project.config import Crop, Project, ProjectVideo
from poseloop_training.project.doubts import Doubt, Keypoints
from poseloop_training.project.files import back_up, write_png
from poseloop_training.project.frames import frame_names, frames_there, refuse_other_size
from poseloop_training.project.opinions import Opinions
from poseloop_training.project.table import LabelRows, merge_rows, no_rows, one_animal, read_both, write_both
from poseloop_training.project.videos import cropped, numbers_within, open_video, size_after, videos_of
from poseloop_training.video_file import VideoFile

# Of many outliers these many times the number asked for, the most doubtful, are sorted into kinds.
CONSIDERED: Final = 10

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond which a frame is an outlier; None: what the project and the animal's size suggest."""

    confidence: float | None = None
    jump_px: float | None = None
    disagreement_px: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """How many frames one measure flagged, and beyond which limit."""

    name: str
    limit: float
    unit: str
    flagged: int


@dataclass(frozen=True, slots=True)
class Outlier:
    """One frame that was taken.

    Attributes:
        index: in the video, from 0.
        file: its new PNG.
        reasons: names of the measures that flagged it.
        least_confident: the keypoint that the model is least certain of.
        confidence: of that keypoint.
    """

    index: int
    file: Path
    reasons: tuple[str, ...]
    least_confident: str
    confidence: float


@dataclass(frozen=True, slots=True)
class OutlierReport:
    """What was found in a video.

    Attributes:
        video: name of its folder in ``labeled-data``.
        frames: looked at.
        flagged: by any measure, among the frames that the project does not have yet.
        machine_labels: the csv of the model's labels of the frames that were taken; the h5 lies beside it.
    """

    video: str
    frames: int
    flagged: int
    reasons: tuple[Reason, ...]
    taken: tuple[Outlier, ...]
    machine_labels: Path


def extract_outliers(
    project: Project,
    video: Path,
    model: Path,
    *,
    second_model: Path | None = None,
    augment: bool = False,
    limits: Limits | None = None,
    count: int | None = None,
    crop: bool = False,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> OutlierReport:
    """Run a model over a video, take the frames that it is weak on and write them with its labels.

    Args:
        project: where to; the video is added to it if it is new.
        video: every frame of it is looked at, within the project's ``start`` and ``stop``.
        model: of this project's keypoints.
        second_model: frames on which the two disagree are outliers too.
        augment: frames on which the model disagrees with itself when they are shifted, darker or mirrored, too.
        limits: instead of the project's ``pcutoff``, half and a tenth of the animal's size.
        count: most frames to take; the project's ``numframes2pick`` if None.
        crop: cut frames to the video's ``crop`` of ``config.yaml``, as its frames were.
        seed: decides which of many are taken.
        on_progress: called with frames done and frames to do.

    Raises:
        InvalidInputError: a file can't be read, a model is of other keypoints, or the folder holds other frames.
    """
    project.refuse_several_animals("outliers")
    wanted = project.frames_to_pick if count is None else count
    if wanted < 1:
        raise InvalidInputError(f"{wanted} frames can't be taken: give --count a number from 1 on.")
    models = [Opinions(ModelRunner(model), project.bodyparts, augment=augment)]
    if second_model is not None:
        models.append(Opinions(ModelRunner(second_model), project.bodyparts))
    project, (listed,) = videos_of(project, [video])
    reader, part = open_video(video), listed.crop if crop else None
    folder = project.labeled_data / listed.stem
    refuse_other_size(folder, size_after(reader, part))
    before = _known_machine_labels(project, listed)
    seen = _look(reader, project, part, models, on_progress)
    found = _doubts(seen, limits or Limits(), project.confidence, augment, second_model is not None)
    chosen, flagged = _choose(seen, found, frames_there(folder), wanted, seed)
    taken = _write_frames(project, reader, part, folder, seen, found, chosen)
    table = project.machine_labels_file(listed.stem)
    if taken:
        rows = _machine_rows(listed.stem, project, seen, taken)
        back_up(project.folder, [table, table.with_suffix(".h5")], "outliers")
        write_both(table, merge_rows(before, rows).rows, f"poseloop_{models[0].name}")
    reasons = tuple(Reason(d.reason, d.limit, d.unit, int(d.flagged.sum())) for d in found)
    return OutlierReport(listed.stem, len(seen.indices), flagged, reasons, taken, table)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A video looked at: frames, ``(frames, pixels)`` thumbnails and ``(frames, opinions, keypoints, 3)``."""

    indices: list[int]
    thumbnails: NDArray[np.uint8]
    opinions: Keypoints

    @property
    def keypoints(self) -> Keypoints:
        return self.opinions[:, 0]


def _known_machine_labels(project: Project, video: ProjectVideo) -> LabelRows:
    rows = read_both(project.machine_labels_file(video.stem), likelihood=True)
    return rows if rows is not None else no_rows(video.stem, one_animal(project.bodyparts), 3)


def _look(
    reader: VideoFile, project: Project, crop: Crop | None, models: Sequence[Opinions], on_progress: Progress | None
) -> _Seen:
    numbers = numbers_within(project, reader)
    thumbnails, opinions = [], []
    for done, index in enumerate(numbers, 1):
        image = cropped(reader.read(index), crop, reader.path.stem)
        thumbnails.append(thumbnail(image))
        opinions.append(np.concatenate([model.of(image) for model in models]))
        if on_progress is not None:
            on_progress(done, len(numbers))
    return _Seen(list(numbers), np.stack(thumbnails), np.stack(opinions))


def _doubts(seen: _Seen, limits: Limits, confidence: float, augment: bool, second: bool) -> list[Doubt]:
    keypoints = seen.keypoints
    others = [seen.opinions[:, place] for place in range(1, seen.opinions.shape[1])]
    found = [
        measures.low_confidence(keypoints, confidence if limits.confidence is None else limits.confidence),
        measures.jumps(keypoints, limits.jump_px),
    ]
    if second:
        found.append(measures.disagreement("two models", keypoints, [others.pop()], limits.disagreement_px))
    if augment:
        found.append(measures.disagreement("variations", keypoints, others, limits.disagreement_px))
    return found


def _choose(seen: _Seen, found: list[Doubt], taken: dict[int, Path], count: int, seed: int) -> tuple[list[int], int]:
    """Return the places of the frames to take, one of each kind of outlier, and how many outliers there are."""
    score = measures.score(found)
    places = [place for place in np.flatnonzero(score > 0).tolist() if seen.indices[place] not in taken]
    considered = sorted(places, key=lambda place: -score[place])[: count * CONSIDERED]
    chosen = choose_kmeans(
        considered, seen.thumbnails[considered], count, seed, lambda members: max(members, key=lambda p: score[p])
    )
    return chosen, len(places)


def _write_frames(
    project: Project,
    reader: VideoFile,
    crop: Crop | None,
    folder: Path,
    seen: _Seen,
    found: list[Doubt],
    chosen: list[int],
) -> tuple[Outlier, ...]:
    name = frame_names(folder, reader.frames)
    taken = []
    for place in chosen:
        index = seen.indices[place]
        file = name(index)
        write_png(file, cropped(reader.read(index), crop, reader.path.stem))
        confidence = np.nan_to_num(seen.keypoints[place, :, 2])
        least = int(confidence.argmin())
        reasons = tuple(doubt.reason for doubt in found if doubt.flagged[place])
        taken.append(Outlier(index, file, reasons, project.bodyparts[least], float(confidence[least])))
    return tuple(taken)


def _machine_rows(video: str, project: Project, seen: _Seen, taken: Sequence[Outlier]) -> LabelRows:
    places = [seen.indices.index(outlier.index) for outlier in taken]
    images = tuple(outlier.file.name for outlier in taken)
    return LabelRows(video, images, one_animal(project.bodyparts), seen.keypoints[places].astype(np.float64))

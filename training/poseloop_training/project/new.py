"""`poseloop project new`: a folder laid out as DeepLabCut lays it out, ready for frames and labels."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml
from poseloop.errors import InvalidInputError

from poseloop_training.problems import ORDINARY_NAME
from poseloop_training.project.config import DEFAULT_CONFIDENCE, DEFAULT_FRAMES, Project, open_project
from poseloop_training.project.files import write_whole
from poseloop_training.project.videos import open_video

FOLDERS: Final = ("labeled-data", "videos", "training-datasets", "dlc-models")
# Names of months as DeepLabCut writes them, whatever the language of the computer.
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# They become parts of the names of folders and files on every system.
FILE_NAME: Final = re.compile(r"[\w.-]+(?: [\w.-]+)*")


def create_project(
    task: str,
    scorer: str,
    keypoints: Sequence[str],
    videos: Sequence[Path] = (),
    *,
    folder: Path | None = None,
    skeleton: Sequence[tuple[str, str]] = (),
    copy_videos: bool = False,
    day: date | None = None,
) -> Project:
    """Make a project and open it.

    Args:
        task: name of the experiment.
        scorer: name of who labels, as it will stand in ``CollectedData_<scorer>``.
        keypoints: to be labelled, in the order that models will have.
        videos: left where they are unless ``copy_videos``.
        folder: of the project; ``<task>-<scorer>-<date>`` if not given. Must not be there, or be empty.
        skeleton: pairs of keypoints that lines join.
        copy_videos: into the project's ``videos/``.
        day: of the project; today if not given.

    Raises:
        InvalidInputError: the folder holds something, a name is not fit, or a video can't be read.
    """
    made = day or date.today()
    _check_names(task, scorer, keypoints, skeleton)
    place = (folder or Path(f"{task}-{scorer}-{made.isoformat()}")).absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InvalidInputError(f"{place} is there already and not empty: give another folder with --folder.")
    _check_stems(videos)
    sizes = [open_video(video).size_of(0) for video in videos]
    try:
        for name in FOLDERS:
            (place / name).mkdir(parents=True, exist_ok=True)
        listed = [_placed(video, place, copy_videos) for video in videos]
        for video in listed:
            (place / "labeled-data" / video.stem).mkdir(exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"the project can't be made in {place} ({error.strerror}): choose a place where there is room and where "
            "you may write."
        ) from None
    crops = {str(video): {"crop": f"0, {size[0]}, 0, {size[1]}"} for video, size in zip(listed, sizes, strict=True)}
    content = _content(task, scorer, keypoints, skeleton, place, crops, made)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    write_whole(place / "config.yaml", text.encode())
    return open_project(place)


def _content(
    task: str,
    scorer: str,
    keypoints: Sequence[str],
    skeleton: Sequence[tuple[str, str]],
    place: Path,
    crops: dict[str, Any],
    made: date,
) -> dict[str, Any]:
    return {
        "Task": task,
        "scorer": scorer,
        "date": f"{MONTHS[made.month - 1]}{made.day}",
        "multianimalproject": False,
        "identity": False,
        "project_path": str(place),
        "engine": "pytorch",
        "video_sets": crops,
        "bodyparts": list(keypoints),
        "start": 0,
        "stop": 1,
        "numframes2pick": DEFAULT_FRAMES,
        "skeleton": [list(edge) for edge in skeleton],
        "skeleton_color": "black",
        "pcutoff": DEFAULT_CONFIDENCE,
        "dotsize": 12,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "default",
        "snapshotindex": -1,
        "batch_size": 8,
        "cropping": False,
        "x1": 0,
        "x2": 640,
        "y1": 277,
        "y2": 624,
        "corner2move2": [50, 50],
        "move2corner": True,
    }


def _check_names(task: str, scorer: str, keypoints: Sequence[str], skeleton: Sequence[tuple[str, str]]) -> None:
    for what, name in (("name", task), ("scorer", scorer)):
        if not FILE_NAME.fullmatch(name):
            raise InvalidInputError(
                f"the {what} {name!r} becomes a part of file names: use letters, digits, '_', '-' and single spaces."
            )
    if not keypoints:
        raise InvalidInputError("a project needs keypoints: name them, for example --keypoints snout,leftear,rightear.")
    for name in keypoints:
        if not ORDINARY_NAME.fullmatch(name):
            raise InvalidInputError(
                f"the keypoint name {name!r} has characters that other programs may refuse: use letters, digits, "
                "spaces, '_', '-' and '.'."
            )
        if list(keypoints).count(name) > 1:
            raise InvalidInputError(f"the keypoint {name!r} stands twice: give every keypoint a name of its own.")
    unknown = next((name for edge in skeleton for name in edge if name not in keypoints), None)
    if unknown is not None:
        raise InvalidInputError(f"the edge's end {unknown!r} is no keypoint; they are {', '.join(keypoints)}.")


def _check_stems(videos: Sequence[Path]) -> None:
    stems = [video.stem for video in videos]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InvalidInputError(
            f"two videos are named {twice!r}, and their frames would lie in one folder: rename one of them."
        )


def _placed(video: Path, place: Path, copy: bool) -> Path:
    if not copy:
        return video.resolve()
    target = place / "videos" / video.name
    shutil.copy2(video, target)
    return target

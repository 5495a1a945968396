"""A project's ``config.yaml``: what the verbs need of it, and the two changes that they make to it.

A change replaces or adds lines of the text, so that comments and everything else stay as the lab wrote them; the result
is read again and compared before it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from poseloop.errors import InvalidInputError

from poseloop_training.project.files import write_whole
from poseloop_training.readers.deeplabcut import ProjectConfig

Crop = tuple[int, int, int, int]
DEFAULT_FRAMES = 20
DEFAULT_CONFIDENCE = 0.6


@dataclass(frozen=True, slots=True)
class ProjectVideo:
    """One of ``video_sets``.

    Attributes:
        listed: its path as ``config.yaml`` has it.
        path: where it is, or None if it is found neither there nor in ``videos/``.
        crop: x1, x2, y1, y2 in pixels of the video's frames, or None.
    """

    listed: str
    path: Path | None
    crop: Crop | None

    @property
    def stem(self) -> str:
        """Name of its folder in ``labeled-data``."""
        return Path(self.listed.replace("\\", "/").rsplit("/", 1)[-1]).stem


@dataclass(frozen=True, slots=True)
class Project:
    """An open DeepLabCut project.

    Attributes:
        bodyparts: the keypoints, in the project's order.
        start: where in a video frames are taken from, as a part of its length.
        stop: up to where.
        confidence: ``pcutoff``, below which DeepLabCut takes a keypoint for not seen.
    """

    folder: Path
    task: str
    scorer: str
    bodyparts: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    multi_animal: bool
    videos: tuple[ProjectVideo, ...]
    iteration: int
    start: float
    stop: float
    frames_to_pick: int
    confidence: float

    @property
    def config_file(self) -> Path:
        """The project's ``config.yaml``."""
        return self.folder / "config.yaml"

    @property
    def labeled_data(self) -> Path:
        """The folder of frames and labels, one folder a video."""
        return self.folder / "labeled-data"

    def labels_file(self, video: str) -> Path:
        """Return the csv of a video's labels, whether it is there or not; the h5 has the same stem."""
        return self.labeled_data / video / f"CollectedData_{self.scorer}.csv"

    def refuse_other_scorers(self, video: str) -> None:
        """Raise InvalidInputError where a video is labelled by others and not by the project's scorer.

        Labels by the scorer, once there are some, hide those of the others.
        """
        others = sorted(file.name for file in (self.labeled_data / video).glob("CollectedData_*"))
        own = self.labels_file(video).stem
        if others and not any(Path(name).stem == own for name in others):
            raise InvalidInputError(
                f"labeled-data/{video} has {others[0]}, and the project's scorer is {self.scorer!r}: "
                "set 'scorer' in config.yaml to the name after CollectedData_."
            )

    def machine_labels_file(self, video: str) -> Path:
        """Return the csv of the outliers of this iteration, whether it is there or not."""
        return self.labeled_data / video / f"machinelabels-iter{self.iteration}.csv"

    def refuse_several_animals(self, verb: str) -> None:
        """Raise InvalidInputError where the project has several animals, whom models can't tell apart yet."""
        if self.multi_animal:
            raise InvalidInputError(
                f"{self.config_file} is of several animals (multianimalproject), and `poseloop project {verb}` knows "
                "projects of one: do this step in DeepLabCut."
            )


def open_project(path: str | Path) -> Project:
    """Open a DeepLabCut project by its folder or its ``config.yaml``.

    Raises:
        InvalidInputError: there is none, or a value in it is not what it must be; the text names it.
    """
    given = Path(path)
    folder = given.absolute().parent if given.name == "config.yaml" else given.absolute()
    file = folder / "config.yaml"
    if not file.is_file():
        raise InvalidInputError(
            f"{given} holds no config.yaml: give a project's folder, or make one: poseloop project new"
        )
    known = ProjectConfig.read(file)
    content = _parsed(file.read_text(encoding="utf-8-sig"), file)
    if not known.scorer:
        raise InvalidInputError(
            f"{file}: 'scorer' is empty: write the name of who labels, as in CollectedData_<scorer>."
        )
    start, stop = _number(content, "start", 0.0, file), _number(content, "stop", 1.0, file)
    if not 0 <= start < stop <= 1:
        raise InvalidInputError(f"{file}: 'start' {start:g} and 'stop' {stop:g} must rise and lie within 0 and 1.")
    return Project(
        folder=folder,
        task=known.task,
        scorer=known.scorer,
        bodyparts=known.bodyparts,
        skeleton=known.skeleton,
        multi_animal=bool(content.get("multianimalproject")),
        videos=_videos(content, folder, file),
        iteration=int(_number(content, "iteration", 0, file)),
        start=start,
        stop=stop,
        frames_to_pick=int(_number(content, "numframes2pick", DEFAULT_FRAMES, file)),
        confidence=_number(content, "pcutoff", DEFAULT_CONFIDENCE, file),
    )


def add_video(project: Project, video: Path, size: tuple[int, int]) -> Project:
    """List a video in ``config.yaml``, uncropped; one that is listed stays as it is.

    A video that is listed under a path where it is no more is taken to be the one of that name.

    Raises:
        InvalidInputError: another video of that name is listed, for both would have one folder of frames.
    """
    place = video.resolve()
    for known in project.videos:
        if known.path is not None and known.path.resolve() == place:
            return project
        if known.stem == place.stem and known.path is None:
            found = replace(known, path=place)
            return replace(project, videos=tuple(found if other is known else other for other in project.videos))
        if known.stem == place.stem:
            raise InvalidInputError(
                f"{known.listed} is in the project already, and its frames lie in labeled-data/{place.stem}: rename "
                f"{video} before you add it."
            )
    entry = {str(place): {"crop": f"0, {size[0]}, 0, {size[1]}"}}
    text = _text(project)
    content = _parsed(text, project.config_file)
    wanted = {**content, "video_sets": {**_listed(content), **entry}}
    return _write(
        project, _with_entry(text, entry, bool(content.get("video_sets"))), wanted, f"list {place} in 'video_sets'"
    )


def set_iteration(project: Project, iteration: int) -> Project:
    """Write the number of the round of refinement that begins."""
    text = _text(project)
    wanted = {**_parsed(text, project.config_file), "iteration": iteration}
    line = re.compile(r"^iteration[ \t]*:[ \t]*[^\s#]*", re.MULTILINE)
    changed = (
        line.sub(f"iteration: {iteration}", text) if line.search(text) else _ended(text) + f"iteration: {iteration}\n"
    )
    return _write(project, changed, wanted, f"set 'iteration' to {iteration}")


def _with_entry(text: str, entry: Mapping[str, Any], others: bool) -> str:
    line = re.search(r"^video_sets[ \t]*:[^\n]*\n?", text, re.MULTILINE)
    if line is None:
        return _ended(text) + yaml.safe_dump({"video_sets": dict(entry)}, allow_unicode=True, width=10_000)
    first = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*([ \t]+)\S", text[line.end() :])
    indent = first[1] if first and others else "  "
    block = yaml.safe_dump(dict(entry), allow_unicode=True, width=10_000)
    lines = "".join(f"{indent}{row}\n" for row in block.splitlines())
    return f"{text[: line.start()]}video_sets:\n{lines}{text[line.end() :]}"


def _write(project: Project, text: str, wanted: Mapping[str, Any], remedy: str) -> Project:
    try:
        same = yaml.safe_load(text) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise InvalidInputError(
            f"{project.config_file} is laid out in a way that can't be changed safely, so it stays as it is: {remedy} "
            "in a text editor, then run the command again."
        )
    write_whole(project.config_file, text.encode())
    return open_project(project.folder)


def _text(project: Project) -> str:
    # Bytes, so that line ends stay what they are.
    return project.config_file.read_bytes().decode("utf-8-sig")


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def _parsed(text: str, file: Path) -> dict[str, Any]:
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise InvalidInputError(f"{file} is no DeepLabCut project file: give the folder of a project.")
    return content


def _listed(content: Mapping[str, Any]) -> dict[str, Any]:
    return dict(content.get("video_sets") or {})


def _number(content: Mapping[str, Any], key: str, default: float, file: Path) -> float:
    value = content.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidInputError(f"{file}: {key!r} is {value!r} and must be a number from 0 on; correct it.")
    return float(value)


def _videos(content: Mapping[str, Any], folder: Path, file: Path) -> tuple[ProjectVideo, ...]:
    listed = content.get("video_sets") or {}
    if not isinstance(listed, Mapping):
        raise InvalidInputError(f"{file}: 'video_sets' must list each video's path with its crop; it is {listed!r}.")
    return tuple(_video(str(name), entry, folder, file) for name, entry in listed.items())


def _video(listed: str, entry: Any, folder: Path, file: Path) -> ProjectVideo:
    name = listed.replace("\\", "/").rsplit("/", 1)[-1]
    # A path that is stale since the project was moved is looked for where DeepLabCut copies videos to.
    places = (Path(listed), folder / listed, folder / "videos" / name)
    path = next((place for place in places if place.is_file()), None)
    crop = entry.get("crop") if isinstance(entry, Mapping) else None
    if crop is None:
        return ProjectVideo(listed, path, None)
    try:
        x1, x2, y1, y2 = (int(part) for part in str(crop).split(","))
    except ValueError:
        raise InvalidInputError(
            f"{file}: the crop {crop!r} of {listed} must be four numbers: x1, x2, y1, y2."
        ) from None
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        raise InvalidInputError(f"{file}: the crop {crop!r} of {listed} is empty: it is x1, x2, y1, y2, each rising.")
    return ProjectVideo(listed, path, (x1, x2, y1, y2))

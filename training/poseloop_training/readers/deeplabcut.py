"""DeepLabCut projects and their label tables (``CollectedData_<scorer>.csv`` or ``.h5``).

The tables are read here rather than by sleap-io (0.9), which sorts the keypoints by name, drops rows whose image is
missing and thereby gives the images after it to the wrong labels, splits no Windows path on other systems, and reads
no ``.h5``. Coordinates are pixels of the extracted image with the origin at the centre of its top-left pixel, as the
labelling programs draw them, so nothing is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from poseloop.errors import InvalidInputError

from poseloop_training.image_source import ImageFile
from poseloop_training.problems import Problem, Severity
from poseloop_training.readers.base import LabelledImage, Labels, Pair
from poseloop_training.readers.deeplabcut_table import LabelTable, read_table

# The individual under which multi-animal projects keep landmarks that belong to no animal.
LANDMARKS = "single"
# What DeepLabCut adds to a folder's name where it crops the frames of a video that were labelled before.
CROPPED = "_cropped"


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What of a project's ``config.yaml`` matters for its labels; old projects leave many keys empty."""

    task: str
    scorer: str | None
    bodyparts: tuple[str, ...]
    skeleton: tuple[Pair, ...]

    @classmethod
    def read(cls, path: Path) -> ProjectConfig:
        """Read a ``config.yaml``; its ``project_path`` is ignored, since it is stale once a project was moved."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, RecursionError, ValueError) as error:  # such as a date that no month has
            detail = (str(error).splitlines() or ["damaged"])[0]
            raise InvalidInputError(f"{path} is not valid YAML ({detail}); correct it in a text editor.") from None
        if not isinstance(content, dict) or not {"bodyparts", "multianimalbodyparts"} & content.keys():
            raise InvalidInputError(
                f"{path} is no DeepLabCut project file: it has no list 'bodyparts'; give the folder of the project."
            )
        scorer = content.get("scorer")
        return cls(
            task=str(content.get("Task") or path.parent.name),
            scorer=None if scorer is None else str(scorer),
            bodyparts=_bodyparts(content, path),
            skeleton=tuple(
                (str(edge[0]), str(edge[1]))
                for edge in content.get("skeleton") or []
                if isinstance(edge, list | tuple) and len(edge) == 2
            ),
        )


def read_project(folder: Path) -> Labels:
    """Read a DeepLabCut project: every ``labeled-data/*/CollectedData_*`` in the order of the folders' names.

    Raises:
        InvalidInputError: ``config.yaml`` or a table can't be read, or nothing is labelled.
    """
    config = ProjectConfig.read(folder / "config.yaml")
    problems: list[Problem] = []
    tables: dict[str, LabelTable] = {}
    labeled_data = folder / "labeled-data"
    for place in sorted(path for path in labeled_data.glob("*") if path.is_dir()):
        file = _table_file(place, config.scorer, problems)
        if file is not None:
            tables[place.name] = read_table(file)
    if not tables:
        raise InvalidInputError(
            f"{labeled_data} has no folder with a CollectedData_*.csv: label frames in DeepLabCut first, or give the "
            "folder that holds config.yaml."
        )
    problems += _cropped_copies(tables)
    return _assemble(config.task, config.bodyparts, config.skeleton, list(tables.values()), problems)


def read_single_table(file: Path) -> Labels:
    """Read one ``CollectedData_*.csv`` or ``.h5``, with the skeleton of its project where that is around it."""
    table = read_table(file)
    for folder in list(file.resolve().parents)[1:3]:
        if (folder / "config.yaml").is_file():
            config = ProjectConfig.read(folder / "config.yaml")
            return _assemble(config.task, config.bodyparts, config.skeleton, [table], [])
    return _assemble(file.parent.name or file.stem, (), (), [table], [])


def _bodyparts(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    key = "multianimalbodyparts" if content.get("multianimalproject") else "bodyparts"
    names = content.get(key)
    if not isinstance(names, list) or not names:
        raise InvalidInputError(f"{path}: '{key}' must be a list of keypoint names; it is {names!r}.")
    return tuple(str(name) for name in names)


def _table_file(folder: Path, scorer: str | None, problems: list[Problem]) -> Path | None:
    """Return the label table of a folder, csv before h5: both say the same, and a csv needs no unpickling."""
    found = {file.stem: file for kind in ("h5", "csv") for file in sorted(folder.glob(f"CollectedData_*.{kind}"))}
    own = found.get(f"CollectedData_{scorer}")
    if own is not None:
        return own
    if len(found) > 1:
        raise InvalidInputError(
            f"{folder} has labels by several scorers ({', '.join(sorted(found))}) and none by the project's scorer "
            f"{scorer!r}: set 'scorer' in config.yaml to the one to use."
        )
    for file in found.values():
        problems.append(
            Problem(
                Severity.WARNING,
                "other_scorer",
                f"{folder.name}/{file.name} is used although the project's scorer is {scorer!r}, so DeepLabCut would "
                "skip it: rename the file, or set 'scorer' in config.yaml.",
            )
        )
        return file
    return None


def _cropped_copies(folders: Collection[str]) -> list[Problem]:
    return [
        Problem(
            Severity.WARNING,
            "cropped_copy",
            f"{folder} and {folder}{CROPPED} are both labelled; where they show the same frames, those may be trained "
            "on in one and tested on in the other: keep one of the folders, or hold out both with --test-indices.",
        )
        for folder in folders
        if f"{folder}{CROPPED}" in folders
    ]


def _assemble(
    name: str, bodyparts: tuple[str, ...], skeleton: Sequence[Pair], tables: list[LabelTable], problems: list[Problem]
) -> Labels:
    animals = list(dict.fromkeys(animal for table in tables for animal in table.animals))
    if len(animals) > 1 and LANDMARKS in animals:
        animals.remove(LANDMARKS)
        problems.append(
            Problem(
                Severity.WARNING,
                "landmarks_left_out",
                "the unique bodyparts (individual 'single') belong to no animal and are left out; nothing to do unless "
                "they are what you want to follow.",
            )
        )
    labelled = list(dict.fromkeys(part for table in tables for part in table.bodyparts_of(animals)))
    names = bodyparts or tuple(labelled)
    _compare_names(names, labelled, problems)
    edges = tuple(edge for edge in skeleton if set(edge) <= set(names))
    unknown = [edge for edge in skeleton if not set(edge) <= set(names)]
    if unknown:
        problems.append(
            Problem(
                Severity.WARNING,
                "edge_left_out",
                f"the skeleton's edges {', '.join('-'.join(edge) for edge in unknown)} name no keypoint of this "
                "project and are left out: correct 'skeleton' in config.yaml.",
            )
        )
    images = tuple(
        LabelledImage(ImageFile(path), keypoints)
        for table in tables
        for path, keypoints in zip(table.paths, table.keypoints(animals, names), strict=True)
    )
    return Labels(name, names, edges, None, images, tuple(problems))


def _compare_names(names: tuple[str, ...], labelled: list[str], problems: list[Problem]) -> None:
    if not set(names) & set(labelled):
        raise InvalidInputError(
            f"config.yaml lists the bodyparts {', '.join(names)}, and the labels are of {', '.join(labelled)}: make "
            "the names the same."
        )
    left_out = [part for part in labelled if part not in names]
    if left_out:
        problems.append(
            Problem(
                Severity.WARNING,
                "keypoint_left_out",
                f"the labels of {', '.join(left_out)} are left out because config.yaml does not list them: add them to "
                "its 'bodyparts' if you want them.",
            )
        )

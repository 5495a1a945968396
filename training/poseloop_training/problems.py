"""What is wrong with a dataset, each problem one sentence with its remedy.

Readers and `poseloop_training.dataset.load_dataset` note a problem where they meet it; `find_problems` adds what only
shows when the whole dataset is looked at. Errors stop training and evaluation, warnings and remarks do not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from poseloop.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from poseloop_training.dataset import PoseDataset

ORDINARY_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.\-]*[A-Za-z0-9])?")
# Beyond these many of a kind the reader of the table has understood; the rest are counted.
LISTED_PER_KIND = 8


class Severity(StrEnum):
    """What a problem means for training and evaluation."""

    ERROR = "error"  # neither starts
    WARNING = "warning"  # goes on, with something left out or doubtful
    INFO = "info"  # good to know


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: a short stable word for programs, for example ``"missing_image"``.
        message: one sentence for people: what, where, what to do.
    """

    severity: Severity
    kind: str
    message: str


def find_problems(dataset: PoseDataset, more: Iterable[Problem] = ()) -> tuple[Problem, ...]:
    """Return everything that is wrong with a dataset or worth knowing, errors first; ``more`` was found elsewhere."""
    found = [
        *dataset.problems,
        *_too_many_animals(dataset),
        *_keypoints_never_labelled(dataset),
        *_frames_without_label(dataset),
        *_duplicate_images(dataset),
        *_odd_names(dataset),
        *_mixed_sizes(dataset),
        *more,
    ]
    return tuple(sorted(_shortened(found), key=lambda problem: list(Severity).index(problem.severity)))


def refuse_errors(problems: Sequence[Problem], where: str) -> None:
    """Raise InvalidInputError with the first error and the number of the others; warnings pass."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if not errors:
        return
    others = f" ({len(errors) - 1} more in the table of problems)" if len(errors) > 1 else ""
    raise InvalidInputError(f"{where} can't be used: {errors[0].message}{others}")


def show_and_refuse(dataset: PoseDataset, console: Console) -> None:
    """Show what there is to know about a dataset, and refuse it if it can't be used.

    Raises:
        InvalidInputError: there is an error among the problems.
    """
    problems = find_problems(dataset)
    if problems:
        console.print(problem_table(problems))
    refuse_errors(problems, dataset.name)


def problem_table(problems: Sequence[Problem]) -> Table:
    """Return the problems as a Rich table."""
    from rich.table import Table
    from rich.text import Text

    colours = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
    table = Table(title="What to know about this dataset", title_justify="left", show_lines=False)
    table.add_column("", no_wrap=True)
    table.add_column("what, where, what to do", overflow="fold")
    for problem in problems:
        # Text, not markup: a keypoint may be named "[ear]".
        table.add_row(Text(problem.severity.value, style=colours[problem.severity]), Text(problem.message))
    return table


def _shortened(problems: Iterable[Problem]) -> list[Problem]:
    by_kind: dict[tuple[Severity, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.severity, problem.kind].append(problem)
    shortened = []
    for (severity, kind), group in by_kind.items():
        shortened += group[:LISTED_PER_KIND]
        if len(group) > LISTED_PER_KIND:
            rest = f"... and {len(group) - LISTED_PER_KIND} more of the same kind ({kind.replace('_', ' ')})."
            shortened.append(Problem(severity, kind, rest))
    return shortened


def _too_many_animals(dataset: PoseDataset) -> Iterable[Problem]:
    if dataset.animals > 1:
        yield Problem(
            Severity.ERROR,
            "several_animals",
            f"frames have up to {dataset.animals} labelled animals, and models of one animal are what can be trained: "
            "keep the labels of one animal a frame, in recordings where only one is to be seen.",
        )


def _keypoints_never_labelled(dataset: PoseDataset) -> Iterable[Problem]:
    counts = np.zeros(len(dataset.keypoint_names), dtype=int)
    for sample in dataset.samples:
        counts += sample.labelled.sum(axis=0)
    for name, count in zip(dataset.keypoint_names, counts, strict=True):
        if count == 0:
            yield Problem(
                Severity.WARNING,
                "keypoint_never_labelled",
                f"keypoint {name!r} is labelled in no frame, so a model can't learn it and its output means nothing: "
                "label it, or remove it from the project.",
            )


def _frames_without_label(dataset: PoseDataset) -> Iterable[Problem]:
    for index, sample in enumerate(dataset.samples):
        if not sample.labelled.any():
            yield Problem(
                Severity.WARNING,
                "frame_without_label",
                f"frame {index} ({sample.image.name}) has no label, so nothing is learnt from it: label it, or delete "
                "its row.",
            )


def _duplicate_images(dataset: PoseDataset) -> Iterable[Problem]:
    places: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(dataset.samples):
        places[sample.image].append(index)
    for indices in places.values():
        if len(indices) > 1:
            rows = ", ".join(map(str, indices))
            yield Problem(
                Severity.WARNING,
                "duplicate_image",
                f"{dataset.samples[indices[0]].image.name} is labelled more than once (frames {rows}), so it may be "
                "trained on and tested on: delete all but one of its rows.",
            )


def _odd_names(dataset: PoseDataset) -> Iterable[Problem]:
    for name in dataset.keypoint_names:
        if not ORDINARY_NAME.fullmatch(name):
            yield Problem(
                Severity.WARNING,
                "odd_name",
                f"the keypoint name {name!r} has characters that other programs may refuse: letters, digits, spaces, "
                "'_', '-' and '.' are safe.",
            )


def _mixed_sizes(dataset: PoseDataset) -> Iterable[Problem]:
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for sample in dataset.samples:
        counts[sample.width, sample.height] += 1
    if len(counts) > 1:
        sizes = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sorted(counts.items()))
        yield Problem(
            Severity.INFO, "mixed_sizes", f"the frames have several sizes ({sizes}); that is fine, nothing to do."
        )

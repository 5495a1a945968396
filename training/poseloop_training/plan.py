"""What a run sets out to do, and for which labels: settings.json of its folder, from which --resume goes on."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from poseloop.errors import InvalidInputError
from pydantic import ValidationError

from poseloop_training.dataset import Pair, PoseDataset
from poseloop_training.settings import TrainSettings
from poseloop_training.split import Split

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the user calls the model: its name and the licence it is passed on under."""

    name: str
    license: str = "unspecified"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"--name {self.name!r}: a model's name is 1 to 64 letters, digits, '_', '.' and '-'; write for example "
                f"--name {name_like(self.name) or 'mouse'}."
            )


def name_like(text: str) -> str:
    """Return the name of a model that is closest to this text."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to repeat a run or go on with it.

    Attributes:
        out: the model file.
        keypoint_names: in the order of the network's channels.
        swap_pairs: those in use, be they read, guessed or given.
        rows_sha256: of the labels in the order of the rows, which the split's numbers count.
    """

    settings: TrainSettings
    split: Split
    identity: Identity
    out: Path
    keypoint_names: tuple[str, ...]
    swap_pairs: tuple[Pair, ...]
    labels_sha256: str
    rows_sha256: str

    @classmethod
    def of(cls, dataset: PoseDataset, split: Split, settings: TrainSettings, identity: Identity, out: Path) -> Self:
        """Return the plan to train on a dataset."""
        hashes = dataset.labels_sha256(), dataset.rows_sha256()
        return cls(settings, split, identity, out, dataset.keypoint_names, dataset.swap_pairs, *hashes)

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Return plain values; places are told from the run's folder, since the two are moved together."""
        return {
            "settings": self.settings.model_dump(),
            "split": asdict(self.split),
            **asdict(self.identity),
            "out": _seen_from(folder, self.out),
            "keypoint_names": self.keypoint_names,
            "swap_pairs": self.swap_pairs,
            "labels_sha256": self.labels_sha256,
            "rows_sha256": self.rows_sha256,
        }

    @classmethod
    def from_json(cls, content: Any, folder: Path) -> Self:
        """Return the plan that `to_json` told.

        Raises:
            ValueError: it is no such plan.
        """
        try:
            return cls(
                settings=TrainSettings.model_validate(content["settings"]),
                split=Split(**{name: tuple(indices) for name, indices in content["split"].items()}),
                identity=Identity(content["name"], content["license"]),
                out=Path(os.path.normpath(folder / content["out"])),
                keypoint_names=tuple(content["keypoint_names"]),
                swap_pairs=tuple((left, right) for left, right in content["swap_pairs"]),
                labels_sha256=content["labels_sha256"],
                rows_sha256=content["rows_sha256"],
            )
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            raise ValueError(f"no plan of a run: {error}") from None

    def refuse_other_labels(self, dataset: PoseDataset, folder: Path) -> None:
        """Raise InvalidInputError unless frames and keypoints have the numbers here that they had in the run."""
        anew = f"or train anew with --init {folder / 'best.ckpt'}."
        if dataset.labels_sha256() != self.labels_sha256:
            raise InvalidInputError(
                f"{folder} was trained on other labels than these; go on with its own project, {anew}"
            )
        if dataset.keypoint_names != self.keypoint_names:
            raise InvalidInputError(
                f"{folder} was trained with the keypoints in the order {', '.join(self.keypoint_names)}, and these "
                f"labels have {', '.join(dataset.keypoint_names)}; restore the order, {anew}"
            )
        if dataset.rows_sha256() != self.rows_sha256:
            raise InvalidInputError(
                f"{folder} was trained on these labels in another order, so the numbers of its test frames mean others "
                f"here; restore the order of rows and folders, {anew}"
            )


def _seen_from(folder: Path, place: Path) -> str:
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # on another drive
        return str(place.absolute())

"""The one type of dataset that training and evaluation know, whatever program the labels were made with.

Everything is checked once, in `load_dataset`; inside, labels are within their frames and every image has a size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import Color, guess_format, to_model_color
from poseloop.types import holds_control_characters

from poseloop_training.image_source import read_image, read_size
from poseloop_training.names import guess_swap_pairs
from poseloop_training.problems import Problem, Severity
from poseloop_training.readers import read_labels
from poseloop_training.readers.base import LabelledImage, Labels, labelled_mask
from poseloop_training.resources import usable_cores
from poseloop_training.samples import Sample, SampleTable

Pair = tuple[str, str]

# Whether a dataset is grey is asked of this many images, evenly spread: one of colour among thousands costs nothing.
COLOR_PROBES = 24


@dataclass(frozen=True, eq=False)
class PoseDataset:
    """Labelled images of one skeleton, in the order of the label file's rows.

    Attributes:
        name: of the project or file, never a path.
        swap_pairs: keypoints that a mirror exchanges, (left, right).
        swap_pairs_guessed: they come from the names, since the file says nothing.
        problems: what was noticed on reading; `poseloop_training.problems.find_problems` adds the rest.
    """

    name: str
    keypoint_names: tuple[str, ...]
    skeleton: tuple[Pair, ...]
    swap_pairs: tuple[Pair, ...]
    samples: Sequence[Sample]
    swap_pairs_guessed: bool = False
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def animals(self) -> int:
        """Length of the axis of animals."""
        return self.samples[0].keypoints.shape[0] if self.samples else 1

    @cached_property
    def color(self) -> Color:
        """``"gray"`` if all images are grey, be it in three equal channels; else ``"rgb"``. Reads some images once."""
        count = min(COLOR_PROBES, len(self.samples))
        probes = np.unique(np.linspace(0, len(self.samples) - 1, count).astype(int))
        return "gray" if all(_is_gray(read_image(self.samples[index].image)) for index in probes) else "rgb"

    def load_image(self, index: int, color: Color | None = None) -> NDArray[np.uint8]:
        """Return one image as uint8 ``(height, width, channels)``: 1 channel for gray, 3 for RGB.

        Args:
            index: of the sample.
            color: the dataset's own unless given.

        Raises:
            InvalidInputError: the image is damaged, or its size changed since the dataset was loaded.
        """
        sample = self.samples[index]
        pixels = read_image(sample.image)
        if pixels.shape[:2] != (sample.height, sample.width):
            raise InvalidInputError(
                f"{sample.image.name} is {pixels.shape[1]}x{pixels.shape[0]} and its header says "
                f"{sample.width}x{sample.height}: restore it, or load the dataset again."
            )
        return to_model_color(pixels, guess_format(pixels), color or self.color)

    def subset(self, indices: Sequence[int]) -> PoseDataset:
        """Return a dataset of these samples, in this order."""
        chosen = replace(self, samples=SampleTable(self.samples[index] for index in indices))
        # The part has the whole's colour: a model takes one colour, whichever frames it is tested on.
        chosen.__dict__["color"] = self.color
        return chosen

    def with_swap_pairs(self, pairs: Sequence[Pair]) -> PoseDataset:
        """Return the dataset with these pairs instead of those read or guessed.

        Raises:
            InvalidInputError: a name is no keypoint of the dataset, or stands twice.
        """
        names = [name for pair in pairs for name in pair]
        for name in names:
            if name not in self.keypoint_names:
                raise InvalidInputError(
                    f"swap pair: {name!r} is no keypoint of this dataset; it has {', '.join(self.keypoint_names)}."
                )
            if names.count(name) > 1:
                raise InvalidInputError(f"swap pair: {name!r} stands twice; each keypoint has one counterpart.")
        return replace(self, swap_pairs=tuple((left, right) for left, right in pairs), swap_pairs_guessed=False)

    def labels_sha256(self) -> str:
        """Return a hash of names and labels that is the same for every file format and order of rows and keypoints."""
        names = "\0".join(sorted(self.keypoint_names)).encode()
        return hashlib.sha256(names + b"\0\0" + b"".join(sorted(self._row_hashes()))).hexdigest()

    def rows_sha256(self) -> str:
        """Return a hash of labels and names of images in the order of the rows: of what the numbers of frames mean.

        It is the same for every order of keypoints, and wherever the images lie.
        """
        names = (sample.image.name.rsplit("/", 1)[-1].encode() for sample in self.samples)
        rows = (hashlib.sha256(name).digest() + row for name, row in zip(names, self._row_hashes(), strict=True))
        return hashlib.sha256(b"".join(rows)).hexdigest()

    def _row_hashes(self) -> Iterator[bytes]:
        order = np.argsort(self.keypoint_names)
        for sample in self.samples:
            keypoints = np.ascontiguousarray(sample.keypoints[:, order], dtype="<f4")
            keypoints[np.isnan(keypoints)] = np.nan  # one bit pattern for all NaN
            size = np.array([sample.width, sample.height], dtype="<u4")
            yield hashlib.sha256(size.tobytes() + keypoints.tobytes()).digest()

    def images_sha256(self, indices: Sequence[int]) -> str:
        """Return a hash of these samples' decoded pixels, whatever their order and file format.

        Raises:
            InvalidInputError: an image is damaged.
        """
        # In rising order and one stretch a thread, so that each goes once through its part of a video.
        parts = [part for part in np.array_split(np.sort(indices), usable_cores()) if len(part)]
        with ThreadPoolExecutor(max(len(parts), 1)) as pool:
            digests = [digest for part in pool.map(self._image_hashes, parts) for digest in part]
        return hashlib.sha256(b"".join(sorted(digests))).hexdigest()

    def _image_hashes(self, indices: NDArray[np.int64]) -> list[bytes]:
        images = (self.load_image(index) for index in indices.tolist())
        return [hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest() for pixels in images]


def load_dataset(path: str | Path) -> PoseDataset:
    """Read a DeepLabCut project or table, SLEAP ``.slp`` or COCO ``.json``.

    Images that are missing or unreadable are left out and labels outside their frame become unlabelled; both stand in
    ``problems``, the former as errors, for `find_problems` and `refuse_errors` to show and refuse.

    Raises:
        InvalidInputError: the labels can't be read, or are of no image that can be.
    """
    labels = read_labels(Path(path))
    _check_names(labels, path)
    problems = list(labels.problems)
    animals = _labelled_animals(labels)
    made = (_sample(image, labels.keypoint_names, row, animals, problems) for row, image in enumerate(labels.images))
    samples = SampleTable(sample for sample in made if sample is not None)
    if not samples:
        first = next(
            (problem.message for problem in problems if problem.severity is Severity.ERROR), "label frames first."
        )
        raise InvalidInputError(f"{path} has no labelled image that can be read: {first}")
    guessed = labels.swap_pairs is None
    pairs = guess_swap_pairs(labels.keypoint_names) if labels.swap_pairs is None else labels.swap_pairs
    return PoseDataset(
        name=labels.name,
        keypoint_names=labels.keypoint_names,
        skeleton=labels.skeleton,
        swap_pairs=pairs,
        samples=samples,
        swap_pairs_guessed=guessed,
        problems=tuple(problems),
    )


def _check_names(labels: Labels, path: str | Path) -> None:
    names = labels.keypoint_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None or not all(name.strip() for name in names):
        what = (
            f"the keypoint {twice!r} stands twice" if twice else "a keypoint has no name" if names else "no keypoints"
        )
        raise InvalidInputError(f"{path}: {what}; give every keypoint a name of its own.")
    for name in names:
        if holds_control_characters(name):
            raise InvalidInputError(
                f"{path}: the keypoint {name!r} holds a control character, a line break perhaps; rename it."
            )


def _labelled_animals(labels: Labels) -> int:
    """Return how many animals the frame with the most of them has: two names for one animal are one animal."""
    counts = (int(labelled_mask(image.keypoints).any(axis=1).sum()) for image in labels.images)
    return max(counts, default=1) or 1


def _sample(
    labelled: LabelledImage, names: tuple[str, ...], row: int, animals: int, problems: list[Problem]
) -> Sample | None:
    try:
        width, height = read_size(labelled.image)
    except InvalidInputError as error:
        kind = "unreadable_image" if labelled.image.path.is_file() else "missing_image"
        problems.append(Problem(Severity.ERROR, kind, f"frame {row}: {error}"))
        return None
    keypoints = labelled.keypoints.copy()
    if animals < keypoints.shape[0]:
        present = labelled_mask(keypoints).any(axis=1)
        keypoints = keypoints[np.argsort(~present, kind="stable")][:animals]
    x, y = keypoints[..., 0], keypoints[..., 1]
    # Half a pixel beyond the centre of the last pixel is its edge.
    outside = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5) | np.isinf(x) | np.isinf(y)
    for animal, keypoint in np.argwhere(outside):
        px, py = keypoints[animal, keypoint]
        problems.append(
            Problem(
                Severity.WARNING,
                "label_outside",
                f"frame {row} ({labelled.image.name}): {names[keypoint]!r} at ({px:.1f}, {py:.1f}) lies outside the "
                f"{width}x{height} image and is taken as unlabelled: move the label, or delete it.",
            )
        )
    keypoints[outside] = np.nan
    return Sample(labelled.image, width, height, keypoints)


def _is_gray(pixels: NDArray[np.uint8]) -> bool:
    if pixels.ndim == 2:
        return True
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool((red == green).all() and (green == blue).all())

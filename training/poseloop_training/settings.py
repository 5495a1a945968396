"""What a training run is asked for, and what follows from the dataset where nothing was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from poseloop.errors import InvalidInputError
from poseloop.images import Color
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from poseloop_training.augment import AugmentSettings
from poseloop_training.backbone import DEFAULT_BACKBONE
from poseloop_training.dataset import PoseDataset
from poseloop_training.network import NetworkConfig
from poseloop_training.split import Split

Precision = Literal["fp32", "fp16", "int8"]
# The network sees about this many pixels of a frame unless the animal would become smaller than it can be read.
NETWORK_PIXELS = 320 * 240
LEAST_ANIMAL_PIXELS = 40
# Of a frame to the network; the check of an export cuts frames to three fifths of this.
LEAST_SIDE = 16
# Side of a training window in network pixels, and how much larger than the animal it has to be.
LEAST_WINDOW = 128
WINDOW_MARGIN = 1.6
# Without a time limit: as many steps as small sets take to converge, and bounds in epochs for the others.
USUAL_STEPS = 6000
LEAST_EPOCHS, MOST_EPOCHS = 20, 600


class TrainSettings(BaseModel):
    """Everything that decides a training run besides the labels; stands in the run folder as settings.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str = DEFAULT_BACKBONE
    init: str = Field("imagenet", description="imagenet, none (random) or the name of a file of weights")
    stride: Annotated[int, Field(ge=2, le=32)] = Field(4, description="network pixels a heatmap cell")
    most_stride: Annotated[int, Field(ge=2, le=64)] = Field(16, description="of the coarsest feature map that is used")
    width: Annotated[int, Field(ge=8, le=512)] = Field(64, description="channels of the feature pyramid")
    input_scale: Annotated[float, Field(gt=0, le=2)] | None = Field(None, description="network pixels a frame pixel")
    window: Annotated[int, Field(ge=64, le=2048)] | None = Field(None, description="side in network pixels")
    color: Color | None = None
    precision: Precision = Field("fp32", description="of the model file; training itself is not changed by it")
    batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    averaging: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="of the moving average of the weights")
    epochs: Annotated[int, Field(ge=1)] | None = None
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    patience: Annotated[float, Field(gt=0, le=1)] = Field(0.3, description="part of the run that may be worse")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    zoom_out: Annotated[float, Field(gt=0, le=1)] = Field(0.75, description="least size of an augmented frame")
    zoom_in: Annotated[float, Field(ge=1, le=4)] = Field(1.3, description="largest size of an augmented frame")
    flip: bool = True

    @field_validator("stride", "most_stride")
    @classmethod
    def _strides_are_powers_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise PydanticCustomError(
                "stride", f"{value} is no power of two; give {_below(value)} or {2 * _below(value)}"
            )
        return value

    @model_validator(mode="after")
    def _strides_are_ordered(self) -> Self:
        if self.stride > self.most_stride:
            raise ValueError(f"stride {self.stride} is more than that of the coarsest map, {self.most_stride}")
        return self

    def augmentation(self, flip: bool) -> AugmentSettings:
        """Return how far augmentation goes; ``flip``: with mirrored frames."""
        return AugmentSettings(rotation=self.rotation, scale=(self.zoom_out, self.zoom_in), flip=flip)

    def epochs_for(self, batches: int) -> int:
        """Return the number of epochs for this many batches an epoch; -1 where only the time limit ends it."""
        if self.epochs is not None:
            return self.epochs
        if self.time_limit_s is not None:
            return -1
        return min(max(math.ceil(USUAL_STEPS / batches), LEAST_EPOCHS), MOST_EPOCHS)


def choose_network(settings: TrainSettings, dataset: PoseDataset) -> NetworkConfig:
    """Return the network for a dataset: colour and scale follow from its images where they were not asked for.

    Raises:
        InvalidInputError: to the network the smallest frame would be a few pixels.
    """
    color = settings.color or dataset.color
    scale = settings.input_scale or _scale(dataset)
    _refuse_tiny(dataset, scale)
    return NetworkConfig(
        keypoints=len(dataset.keypoint_names),
        channels=1 if color == "gray" else 3,
        input_scale=scale,
        backbone=settings.backbone,
        stride=settings.stride,
        most_stride=settings.most_stride,
        width=settings.width,
    )


def choose_window(settings: TrainSettings, config: NetworkConfig, dataset: PoseDataset) -> tuple[int, int]:
    """Return height and width of the training windows in network pixels, multiples of the coarsest stride.

    A window is no larger than the frames, and no smaller than it takes to see a whole animal.
    """
    width, height = native_size(dataset)
    side = settings.window or max(LEAST_WINDOW, WINDOW_MARGIN * animal_extent(dataset, 95) * config.input_scale)
    fit = (min(side, size * config.input_scale) for size in (height, width))
    window_h, window_w = (max(math.ceil(value / config.most_stride), 1) * config.most_stride for value in fit)
    return window_h, window_w


def native_size(dataset: PoseDataset) -> tuple[int, int]:
    """Return the width and height that most frames have."""
    sizes, counts = np.unique([(s.width, s.height) for s in dataset.samples], axis=0, return_counts=True)
    width, height = sizes[counts.argmax()]
    return int(width), int(height)


def animal_extent(dataset: PoseDataset, percentile: float) -> float:
    """Return a percentile of the longer side of the boxes around an animal's keypoints, in pixels of the frame."""
    sides = []
    for sample in dataset.samples:
        for animal, labelled in zip(sample.keypoints, sample.labelled, strict=True):
            if labelled.sum() >= 2:
                sides.append(float(np.ptp(animal[labelled], axis=0).max()))
    return float(np.percentile(sides, percentile)) if sides else 0.0


def swap_indices(dataset: PoseDataset) -> tuple[tuple[int, int], ...]:
    """Return the dataset's swap pairs as indices of keypoints."""
    names: Sequence[str] = dataset.keypoint_names
    return tuple((names.index(left), names.index(right)) for left, right in dataset.swap_pairs)


def refuse_unsuitable(dataset: PoseDataset, split: Split) -> None:
    """Refuse what can't be trained on.

    Raises:
        InvalidInputError: frames hold several animals, or those to train on no label.
    """
    if dataset.animals > 1:
        raise InvalidInputError(
            f"{dataset.name} has up to {dataset.animals} labelled animals a frame, and one animal a frame is what can "
            "be trained: keep the labels of one."
        )
    if not any(dataset.samples[index].labelled.any() for index in split.train):
        raise InvalidInputError(
            f"none of the {len(split.train)} frames to train on has a label: label more frames, or hold out others "
            "with --test-indices, --test-fraction and --validation-fraction."
        )


def _refuse_tiny(dataset: PoseDataset, scale: float) -> None:
    smallest = min(dataset.samples, key=lambda sample: min(sample.width, sample.height))
    width, height = smallest.width, smallest.height
    if min(width, height) * scale < LEAST_SIDE:
        least = math.ceil(1000 * LEAST_SIDE / min(width, height)) / 1000
        raise InvalidInputError(
            f"frames of {width}x{height} would be {width * scale:.1f}x{height * scale:.1f} pixels to the network, and "
            f"{LEAST_SIDE} a side is the least: give --input-scale {least} or more."
        )


def _below(value: int) -> int:
    return 1 << (value.bit_length() - 1)


def _scale(dataset: PoseDataset) -> float:
    width, height = native_size(dataset)
    block = max(round(math.sqrt(width * height / NETWORK_PIXELS)), 1)
    extent = animal_extent(dataset, 50)
    while block > 1 and 0 < extent / block < LEAST_ANIMAL_PIXELS:
        block -= 1
    return 1 / block

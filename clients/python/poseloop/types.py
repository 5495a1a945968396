"""The words of the product: frames, skeletons, poses, stamps, counters and the description inside a model file.

Coordinates are pixels of the frame, origin at the centre of its top-left pixel. Arrays are in a fixed axis order:
images ``(height, width)`` or ``(height, width, 3)``, keypoints ``(instances, keypoints, 3)`` with x, y, confidence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from poseloop.crop import Crop, CropView
from poseloop.errors import InvalidInputError

MODEL_METADATA_KEY = "poseloop.model"
MODEL_SCHEMA_VERSION: Final = 1


class Policy(StrEnum):
    """What happens when frames come faster than they can be handled."""

    LIVE = "live"  # newest wins; each loss is counted
    LOSSLESS = "lossless"  # the source waits; nothing is lost


class PixelFormat(StrEnum):
    """How the bytes of a frame are to be read."""

    GRAY8 = "gray8"
    RGB8 = "rgb8"
    BGR8 = "bgr8"
    JPEG = "jpeg"

    @property
    def channels(self) -> int | None:
        """Bytes a pixel, or None where the data is compressed."""
        return _CHANNELS.get(self)


_CHANNELS: Final = {PixelFormat.GRAY8: 1, PixelFormat.RGB8: 3, PixelFormat.BGR8: 3}


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a stream.

    Attributes:
        image: uint8 ``(height, width)`` for GRAY8, ``(height, width, 3)`` for RGB8 and BGR8; for JPEG the file's bytes.
        captured_ns: when it was taken, on this process's monotonic clock (`poseloop.clock.now_ns`).
        format: how ``image`` is to be read.
    """

    image: NDArray[np.uint8] | bytes
    captured_ns: int
    format: PixelFormat

    def __post_init__(self) -> None:
        """Take a format by its name too.

        Raises:
            InvalidInputError: there is no such format.
        """
        if type(self.format) is not PixelFormat:
            if self.format not in list(PixelFormat):
                raise InvalidInputError(f"a frame's format is one of {', '.join(PixelFormat)}, not {self.format!r}")
            object.__setattr__(self, "format", PixelFormat(self.format))


class Keypoint(NamedTuple):
    """One body part in one frame: x and y in pixels of the frame, confidence in [0, 1]; NaN where it is absent."""

    x: float
    y: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Stamps:
    """When what happened to a frame: nanoseconds of the server's monotonic clock.

    ``captured_ns`` was read on the client's clock (``captured_client_ns``) and converted; it is wrong by no more than
    ``clock_uncertainty_ns``, which is 0 where client and server share a clock. ``keypoints_ns`` is the time that the
    keypoints are of: ``captured_ns``, or later where a stage of the server predicted them.
    """

    captured_ns: int
    received_ns: int
    inference_started_ns: int
    inference_ended_ns: int
    published_ns: int
    captured_client_ns: int
    clock_uncertainty_ns: int
    keypoints_ns: int = 0

    @property
    def age_ms(self) -> float:
        """Latency as poseloop means it: capture to published, in milliseconds."""
        return (self.published_ns - self.captured_ns) / 1e6

    @property
    def wait_ms(self) -> float:
        """Received to inference started, in milliseconds."""
        return (self.inference_started_ns - self.received_ns) / 1e6

    @property
    def inference_ms(self) -> float:
        """Duration of the inference that made the pose, in milliseconds."""
        return (self.inference_ended_ns - self.inference_started_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Counters:
    """One stream's account at one moment: sent = published + every drop + in flight.

    A sender's own account is over all its sessions. In what the server tells, ``sent``, ``dropped_outbox`` and
    ``lost_connection`` are the client's, over all its sessions too, and the rest counts since the stream was opened:
    after a reconnect the sum only holds in the sender's own.
    """

    sent: int = 0
    published: int = 0
    dropped_outbox: int = 0  # by the client: replaced by a newer frame before they left
    lost_connection: int = 0  # in flight when a connection broke
    dropped_mailbox: int = 0  # by the server: replaced by a newer frame before inference
    failed: int = 0  # inference failed on them
    received: int = 0
    dropped_rate: int = 0  # by the server: over the stream's rate limit

    @property
    def dropped(self) -> int:
        """Frames that were given up on, at any place."""
        return self.dropped_outbox + self.lost_connection + self.dropped_rate + self.dropped_mailbox + self.failed

    @property
    def in_flight(self) -> int:
        """Frames that are neither published nor dropped yet; in what the server tells, those that it has."""
        return self.sent - self.published - self.dropped


class SessionCounters(Counters):
    """An account as the server tells it."""

    __slots__ = ()

    @property
    def in_flight(self) -> int:
        """Frames that the server has and that are neither published nor dropped yet.

        From what it counts itself since the stream was opened, since what the client counts may be of earlier sessions.
        """
        return self.received - self.published - self.dropped_rate - self.dropped_mailbox - self.failed


@dataclass(frozen=True, slots=True)
class Pose:
    """What a model saw in one frame.

    ``pose["snout"]`` is the keypoint of the first instance. ``keypoints`` is float32
    ``(instances, keypoints, 3)``: x, y, confidence; an absent instance is NaN with confidence 0.
    """

    stream: str
    sequence: int
    keypoint_names: tuple[str, ...]
    keypoints: NDArray[np.float32]
    stamps: Stamps
    counters: Counters
    width: int
    height: int
    model: str
    server_id: str
    session_id: int
    model_sha256: str = ""  # of the file that made it: a model may be swapped while its streams run
    crop: CropView | None = None  # where it was seen, in a stream with a crop

    def __getitem__(self, name: str) -> Keypoint:
        """Return the first instance's keypoint of that name."""
        try:
            row = self.keypoints[0, self.keypoint_names.index(name)]
        except ValueError:
            raise KeyError(f"no keypoint {name!r}; this model has {', '.join(self.keypoint_names)}") from None
        return Keypoint(float(row[0]), float(row[1]), float(row[2]))


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingRecord(_Described):
    """How a model was trained and on what, so that a result can be traced to its data."""

    dataset: str = Field(description="name of the dataset, never a path")
    train_frames: int
    validation_frames: int
    test_frames: int
    labels_sha256: str = Field(description="of the labels as read, independent of their file format")
    images_sha256: str = Field(description="of the decoded training images")
    backbone: str
    initialisation: str
    epochs: int
    seconds: float
    seed: int
    settings: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class TestErrors(_Described):
    """Errors on the held-out test frames, in pixels of the original images."""

    __test__ = False  # not a test class, whatever its name says to pytest

    frames: int
    mean_error_px: float
    median_error_px: float
    rmse_px: float
    per_keypoint: dict[str, float] = Field(description="mean error of each keypoint")


class DecodeSpec(_Described):
    """How the graph turns maps into coordinates; for reading, since the graph does it itself."""

    kind: Literal["heatmap_offset", "foreign"] = "heatmap_offset"
    input_scale: Annotated[float, Field(gt=0)] = Field(1.0, description="network pixels a frame pixel")
    stride: Annotated[int, Field(gt=0)] = Field(8, description="network pixels a heatmap cell")
    parameters: dict[str, float] = Field(default_factory=dict)


class PrecisionRecord(_Described):
    """How a model file came to compute in fewer bits, and what that costs."""

    kind: Literal["fp16", "int8"]
    calibration_frames: int = Field(0, description="training frames that the ranges of the integers come from")
    left_out: list[str] = Field(default_factory=list, description="layers that stay in fp32")
    compared_frames: int = Field(description="frames, of the test where there is one, on which it ran beside fp32")
    mean_shift_px: float = Field(description="distance of keypoints from those of the fp32 model, mean")
    largest_shift_px: float
    fp32_mean_error_px: float | None = Field(None, description="of the fp32 model on the test frames")


class ConfidenceSpec(_Described):
    """What a calibrated confidence means: the probability that the keypoint lies within ``radius_px`` of its label.

    The graph computes it as sigmoid(scale·z + offset) of the heatmap's highest logit z.
    """

    method: Literal["logistic"] = "logistic"
    radius_px: Annotated[float, Field(gt=0)] = Field(description="pixels of the frame")
    scale: Annotated[float, Field(gt=0)]
    offset: float
    frames: int = Field(description="validation frames it was fitted to")
    keypoints: int = Field(description="labelled keypoints in them")
    views: int = Field(description="varied views of each of these frames that were used beside it")


# Of the others that show nothing some belong to scripts, such as the joiners of Persian and Hindi.
_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def holds_control_characters(name: str) -> bool:
    """Return whether a name holds what a terminal or a file would obey or refuse rather than show, as a line break."""
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _DIRECTIONS for letter in name)


class ModelSpec(_Described):
    """The description inside a model file: JSON in ``metadata_props["poseloop.model"]`` (docs/model-format.md)."""

    schema_version: Literal[1] = MODEL_SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    keypoints: Annotated[list[str], Field(min_length=1)]
    skeleton: list[tuple[str, str]] = Field(default_factory=list, description="edges, by keypoint name")
    swap_pairs: list[tuple[str, str]] = Field(default_factory=list, description="keypoints that a mirror exchanges")
    color: Literal["gray", "rgb"]
    native_width: Annotated[int, Field(gt=0)]
    native_height: Annotated[int, Field(gt=0)]
    max_animals: Annotated[int, Field(gt=0)] = 1
    license: str = "unspecified"
    training: TrainingRecord | None = None
    test_errors: TestErrors | None = None
    decode: DecodeSpec = Field(default_factory=DecodeSpec)
    precision: PrecisionRecord | None = Field(None, description="absent where the file computes in fp32")
    confidence: ConfidenceSpec | None = Field(None, description="None where confidence is not calibrated")
    created_by: str = ""
    created_at: str = Field("", description="UTC, ISO 8601")

    @model_validator(mode="after")
    def _names_are_consistent(self) -> Self:
        known = set(self.keypoints)
        if len(known) != len(self.keypoints):
            raise ValueError("keypoints: a name stands twice")
        for name in self.keypoints:
            if holds_control_characters(name):
                raise ValueError(f"keypoints: {name!r} holds a control character")
        for title, pairs in (("skeleton", self.skeleton), ("swap_pairs", self.swap_pairs)):
            unknown = sorted({name for pair in pairs for name in pair} - known)
            if unknown:
                raise ValueError(f"{title}: {', '.join(unknown)} is no keypoint of this model")
        return self

    @property
    def channels(self) -> int:
        """Channels of the graph's input ``frames``: 1 (gray) or 3 (RGB)."""
        return 1 if self.color == "gray" else 3

    @model_serializer(mode="wrap")
    def _stay_readable(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Versions that know of no precisions refuse the key, and files in fp32 do not need it.
        content: dict[str, Any] = handler(self)
        if self.precision is None:
            content.pop("precision", None)
        return content

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> ModelSpec:
        """Read the description out of an ONNX file's metadata.

        Raises:
            InvalidInputError: there is none, or it is not valid; ``where`` names the file.
        """
        text = metadata.get(MODEL_METADATA_KEY)
        if text is None:
            raise InvalidInputError(
                f"{where} is an ONNX file but carries no {MODEL_METADATA_KEY!r} metadata: it was not exported by "
                "poseloop; export it with `poseloop train` or `poseloop export`."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the description"
            why = first["msg"].removeprefix("Value error, ")
            raise InvalidInputError(
                f"{where}: the model description is not valid at {place}: {why}; export the model again with this "
                "version of poseloop."
            ) from None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a server, as it is now."""

    name: str
    model: str
    policy: Policy
    format: PixelFormat | None
    width: int
    height: int
    counters: Counters
    frames_per_second: float
    age: Percentiles
    wait: Percentiles
    inference: Percentiles
    peer: str
    session_id: int
    priority: int = 0
    max_fps: float | None = None
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a server, and what really runs it."""

    name: str
    spec: ModelSpec
    sha256: str
    provider: str
    device: str
    precision: str
    warm_up_ms: float
    inference_ms: float
    threads: int
    streams: tuple[str, ...] = field(default=())
    cores: tuple[int, ...] = field(default=())  # that its threads are pinned to; none: the system chooses
    batch_times_ms: dict[int, float] = field(default_factory=dict)  # by the number of frames, at the native size
    batches: tuple[int, ...] = field(default=())  # by the number of ready streams, from 1: frames inferred together

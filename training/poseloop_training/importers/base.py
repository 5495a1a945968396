"""What every importer shares: what the user may say about the model, its description, and the checked export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from poseloop.errors import InvalidInputError
from poseloop.images import Color
from poseloop.types import DecodeSpec, ModelSpec
from pydantic import ValidationError

from poseloop_training.export import Parity, export_model, parity_images
from poseloop_training.exportable import Exportable
from poseloop_training.image_source import ImageFile, read_size
from poseloop_training.names import guess_swap_pairs
from poseloop_training.plan import Identity, name_like
from poseloop_training.train_request import check_out

# What the model is warmed up and checked with where nothing says how large its frames are.
USUAL_SIZE = (640, 480)
LEAST_SIDE, MOST_SIDE = 32, 16384


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What the user asked for.

    Attributes:
        out: the model file.
        name: of the model; the file's if not given.
        license: of the weights.
        image: a frame to check the graph on.
        size: width and height of the frames.
    """

    out: Path
    name: str | None = None
    license: str | None = None
    image: Path | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Find out before the work whether the file could be written."""
        check_out(self.out)
        if self.size is not None and not all(LEAST_SIDE <= side <= MOST_SIDE for side in self.size):
            raise InvalidInputError(
                f"--size {self.size[0]}x{self.size[1]}: give the width and height of the frames, {LEAST_SIDE} to "
                f"{MOST_SIDE} pixels each, for example 640x480."
            )

    @property
    def identity(self) -> Identity:
        """Name and licence; raises InvalidInputError for a name that no model can have."""
        return Identity(self.name or name_like(self.out.stem), self.license or "unspecified")

    def native_size(self, known: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return width and height of the frames: as asked, else the image's, else as known, else the usual ones."""
        if self.size is not None:
            return self.size
        if self.image is not None:
            size = read_size(ImageFile(self.image))
            return size.width, size.height
        return known or USUAL_SIZE


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Keypoint names in the order of the network's channels, and the edges between them."""

    keypoints: Sequence[str]
    edges: Sequence[tuple[str, str]] = ()
    swap_pairs: Sequence[tuple[str, str]] | None = None


def describe(
    request: ImportRequest,
    skeleton: Skeleton,
    decode: DecodeSpec,
    source: str,
    known_size: tuple[int, int] | None = None,
    color: Color = "rgb",
) -> ModelSpec:
    """Return the description of an imported model.

    Args:
        request: name, licence and size, as far as they were given.
        skeleton: of the network.
        decode: for reading.
        source: program, network and checkpoint, for example "DeepLabCut 3: resnet_50, snapshot-200.pt".
        known_size: width and height of the frames, where the source says so.
        color: of the frames that it takes.

    Raises:
        InvalidInputError: the keypoints' names can't be those of a model.
    """
    identity = request.identity
    width, height = request.native_size(known_size)
    pairs = guess_swap_pairs(skeleton.keypoints) if skeleton.swap_pairs is None else skeleton.swap_pairs
    known = set(skeleton.keypoints)
    try:
        return ModelSpec(
            name=identity.name,
            keypoints=list(skeleton.keypoints),
            skeleton=[edge for edge in skeleton.edges if known.issuperset(edge)],
            swap_pairs=list(pairs),
            color=color,
            native_width=width,
            native_height=height,
            license=identity.license,
            decode=decode,
            created_by=f"poseloop {version('poseloop')}, imported from {source}",
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"{source}: its keypoints can't be a model's ({why}).") from None


def write_model(network: Exportable, spec: ModelSpec, request: ImportRequest) -> Parity:
    """Export an imported network as a model file, checked against PyTorch as every model is.

    Raises:
        InvalidInputError: the image can't be read, or the network fails on it.
        DivergedError, ParityError: as for `export_model`.
    """
    images = parity_images(spec, request.image)
    with torch.inference_mode():
        answer = network(torch.from_numpy(images[0][None].copy()))
    if not torch.isfinite(answer).all():
        raise InvalidInputError(f"{spec.name}: the imported network gives no numbers; give another checkpoint.")
    return export_model(network, spec, images, request.out)

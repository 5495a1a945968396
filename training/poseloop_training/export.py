"""Export: the network as one self-describing ONNX file, checked against PyTorch on real frames before it is kept."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from poseloop.errors import PoseloopError
from poseloop.images import guess_format, to_model_color
from poseloop.types import MODEL_METADATA_KEY, ModelSpec
from torch import nn

from poseloop_training.exportable import Exportable
from poseloop_training.graph import fold_padding, simplify
from poseloop_training.image_source import ImageFile, read_image
from poseloop_training.model_runner import ModelRunner

# In fp32 the runtime's sums differ from PyTorch's in their last bits only; a hundredth of a pixel is a wrong graph.
MOST_DIFFERENCE_PX = 0.01
MOST_CONFIDENCE_DIFFERENCE = 1e-3
OPSET = 17
# Logits. Which of two cells this close to each other is the best, the last bits decide.
TIE = 1e-4


class ParityError(PoseloopError):
    """The exported graph gives other keypoints than the network it was made of."""


class DivergedError(PoseloopError):
    """The network gives no numbers, since its weights ran away in training."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences between ONNX Runtime and PyTorch, over all frames and keypoints.

    Attributes:
        compared: coordinates of these many keypoints; where two cells are equally good, either is right.
    """

    frames: int
    compared: int
    sizes: tuple[tuple[int, int], ...]
    largest_px: float
    largest_confidence: float

    def __str__(self) -> str:
        """Return it as a part of a sentence."""
        if self.compared:
            return f"it agrees with PyTorch to {self.largest_px:.5f} px"
        # An untrained network: confidences are compared all the same.
        return "its heatmaps are flat, so it has learnt nothing yet and no coordinate could be compared with PyTorch"


def export_model(network: Exportable, spec: ModelSpec, images: Sequence[NDArray[np.uint8]], out: Path) -> Parity:
    """Write a model file, if it agrees with the network.

    Args:
        network: trained.
        spec: the description to put into it.
        images: real frames, uint8 ``(height, width, channels)``; they are also checked cut to odd sizes.
        out: the file, replaced when the check has passed and not before.

    Raises:
        DivergedError: the network gives no numbers.
        ParityError: a keypoint differs by more than 0.01 px.
        ValueError: the description tells of another calibration than the network's.
    """
    # A network that was trained elsewhere has none.
    calibration = getattr(network, "confidence", None)
    if calibration != spec.confidence:
        raise ValueError(f"the network's calibration is {calibration}, and the description's {spec.confidence}")
    network.eval()
    refuse_diverged(network, images)
    return keep_if_equal(network, spec, images, out, lambda path: write_graph(network, images[0], path))


def keep_if_equal(
    network: Exportable,
    spec: ModelSpec,
    images: Sequence[NDArray[np.uint8]],
    out: Path,
    write: Callable[[Path], None],
) -> Parity:
    """Let ``write`` write a graph, describe it, and give it its name if it agrees with the network.

    Raises:
        ParityError: a keypoint differs by more than 0.01 px.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}-") as folder:
        partial = Path(folder) / out.name
        write(partial)
        describe(partial, spec)
        parity = check_parity(network, partial, images)
        partial.replace(out)
    return parity


def parity_images(spec: ModelSpec, file: Path | None) -> list[NDArray[np.uint8]]:
    """Return what to check an exported graph on: this image, or smooth noise of the model's native size.

    Raises:
        InvalidInputError: the image can't be read.
    """
    if file is not None:
        pixels = read_image(ImageFile(file))
        return [to_model_color(pixels, guess_format(pixels), spec.color)]
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (2, spec.native_height // 16 + 2, spec.native_width // 16 + 2, spec.channels))
    large = small.repeat(16, axis=1).repeat(16, axis=2)[:, : spec.native_height, : spec.native_width]
    return list(large.astype(np.uint8))


def refuse_diverged(network: Exportable, images: Sequence[NDArray[np.uint8]]) -> None:
    """Raise DivergedError if the network gives anything but numbers on one of these images."""
    for image in images:
        if not np.isfinite(_predict(network, image[None])[0]).all():
            raise DivergedError(
                "training diverged: the network gives no numbers any more, and no model was written; train anew with "
                "a lower --learning-rate."
            )


def check_parity(network: Exportable, model: Path, images: Sequence[NDArray[np.uint8]]) -> Parity:
    """Compare a model file with a network, on whole images and cut ones, one by one and two at once.

    Raises:
        ParityError: a keypoint differs by more than 0.01 px or its confidence by more than 0.001.
    """
    runner = ModelRunner(model)
    batches = [image[None] for image in images]
    odd = [
        image[: max(image.shape[0] * 3 // 4 - 1, 32) | 1, : max(image.shape[1] * 2 // 3 - 1, 32) | 1]
        for image in images
    ]
    batches += [image[None] for image in odd[:2]]
    batches.append(np.stack([images[0], images[0][::-1, ::-1]]))
    distances, confidences = [], []
    for frames in batches:
        expected, clear = _predict(network, frames)
        difference = np.abs(runner.predict(list(frames)) - expected)
        distances.append(difference[clear, :2].ravel())
        confidences.append(difference[..., 2].ravel())
    # NumPy's maximum is NaN where one of the numbers is, and then no comparison below holds.
    distance = float(np.concatenate(distances).max(initial=0.0))
    confidence = float(np.concatenate(confidences).max())
    if not (distance <= MOST_DIFFERENCE_PX and confidence <= MOST_CONFIDENCE_DIFFERENCE):
        raise ParityError(
            f"the exported graph differs from the network by {distance:.4f} px and {confidence:.5f} in confidence, "
            f"more than {MOST_DIFFERENCE_PX} px; nothing was written: install other versions of onnxruntime or torch "
            "and run `poseloop export` on the checkpoint."
        )
    compared = sum(map(len, distances)) // 2
    sizes = tuple(dict.fromkeys((frames.shape[2], frames.shape[1]) for frames in batches))
    return Parity(sum(map(len, batches)), compared, sizes, distance, confidence)


@torch.inference_mode()
def _predict(network: Exportable, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the keypoints ``[N, 1, K, 3]`` and which of them have one best cell, ``[N, 1, K]``."""
    given = torch.from_numpy(np.ascontiguousarray(frames))
    best = network.maps(network.scaled(given)).heatmaps.flatten(2).topk(2, dim=-1).values
    clear = (best[..., 0] - best[..., 1] > TIE).unsqueeze(1)
    return network(given).numpy(), clear.numpy()


def write_graph(network: Exportable, image: NDArray[np.uint8], path: Path) -> None:
    """Write a network as a graph without a description; ``image`` is an example of its frames."""
    # Batches of one are common in use and special to exporters: an example of two keeps the axis general.
    example = torch.from_numpy(np.stack([image, image]))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                cast(nn.Module, network),
                (example,),
                str(path),
                input_names=["frames"],
                output_names=["keypoints"],
                dynamic_axes={"frames": {0: "N", 1: "H", 2: "W"}, "keypoints": {0: "N"}},
                opset_version=OPSET,
                # The graph of the tracing exporter is the one that ONNX Runtime fuses best; see docs/model-format.md.
                dynamo=False,
            )
    finally:
        logger.setLevel(level)
    onnx.save(fold_padding(simplify(path)), str(path))


def describe(path: Path, spec: ModelSpec) -> None:
    """Write a model's description into its file, in place of one that is there, and check the graph."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    output = model.graph.output[0].type.tensor_type.shape
    for axis, size in enumerate((None, spec.max_animals, len(spec.keypoints), 3)):
        if size is not None:
            output.dim[axis].Clear()
            output.dim[axis].dim_value = size
    entry = model.metadata_props.add()
    entry.key, entry.value = MODEL_METADATA_KEY, spec.model_dump_json()
    model.producer_name = "poseloop"
    model.doc_string = "frames: uint8 [N, H, W, C] -> keypoints: float32 [N, A, K, 3] (x, y in pixels, confidence)"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))

"""Any ONNX pose network, with a small YAML that says how it is fed and decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import DecodeSpec, ModelSpec
from torch import Tensor

from poseloop_training.export import Parity, keep_if_equal, parity_images
from poseloop_training.importers.base import ImportRequest, Skeleton, describe
from poseloop_training.importers.decoding import ForeignMaps
from poseloop_training.importers.foreign_graph import ForeignGraph, compose, open_graph, with_free_batch
from poseloop_training.importers.onnx_config import OnnxConfig, read_config
from poseloop_training.importers.onnx_parts import After, Before


class ForeignNetwork:
    """The network between PyTorch's halves, each image by itself: what the composed graph is compared with."""

    def __init__(self, graph: ForeignGraph, config: OnnxConfig) -> None:
        """Join them."""
        self.graph = graph
        self.before = Before(config.input, graph.dtype).eval()
        self.after = After(config.decode, len(config.keypoints)).eval()

    def eval(self) -> ForeignNetwork:
        """Do nothing: it is never in training."""
        return self

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        """Turn uint8 ``[N, H, W, C]`` into keypoints ``[N, 1, K, 3]``."""
        image, geometry = self.before(frames)
        outputs = self.graph.run(image)
        keypoints: Tensor = self.after(outputs[0], outputs[-1], geometry)
        return keypoints

    def scaled(self, frames: Tensor) -> Tensor:
        """Turn frames into the network's image."""
        image: Tensor = self.before(frames)[0]
        return image

    def maps(self, image: Tensor) -> ForeignMaps:
        """Turn that image into heatmaps, or into what stands for them."""
        outputs = self.graph.run(image)
        return ForeignMaps(self.after.clearness(outputs[0], outputs[-1]))


def import_onnx(source: Path, config_file: Path, request: ImportRequest) -> Parity:
    """Make a model file of a foreign ONNX network.

    Args:
        source: the network.
        config_file: YAML that says how it is fed and decoded.
        request: the file to write and what to say in it.

    Raises:
        InvalidInputError: the network or the YAML is damaged, or they do not fit each other.
        ParityError: the composed graph differs from the network between PyTorch's halves.
    """
    return import_configured(source, read_config(config_file), request, f"ONNX ({source.name})")


def import_configured(source: Path, config: OnnxConfig, request: ImportRequest, title: str) -> Parity:
    """Do what `import_onnx` does, with a configuration that was read already; ``title`` says where it comes from."""
    graph = open_graph(source, config.input.name, config.decode.outputs)
    _check_image(graph, config, source)
    size = config.input.size
    spec = _spec(config, request, title, (size[0], size[1]) if size else _fixed_size(graph, config))
    images = parity_images(spec, request.image)
    network = ForeignNetwork(graph, config)
    _check_outputs(network, images[0], source)
    graph = with_free_batch(graph, network.scaled(torch.from_numpy(images[0][None].copy())), source)
    composed = compose(graph, network.before, network.after, images[0][None].copy())
    _shape_input(composed, graph, config)
    return keep_if_equal(network, spec, images, request.out, lambda path: onnx.save(composed, str(path)))


def _spec(config: OnnxConfig, request: ImportRequest, title: str, known: tuple[int, int] | None) -> ModelSpec:
    skeleton = Skeleton(config.keypoints, config.skeleton, config.swap_pairs)
    decode = DecodeSpec(kind="foreign", stride=max(round(config.decode.stride or 1), 1))
    return describe(request, skeleton, decode, title, known, config.input.frame_color)


def _fixed_size(graph: ForeignGraph, config: OnnxConfig) -> tuple[int, int] | None:
    height, width = graph.shape[2:] if config.input.layout == "nchw" else graph.shape[1:3]
    return (width, height) if width and height else None


def _check_image(graph: ForeignGraph, config: OnnxConfig, source: Path) -> None:
    """Refuse a configuration whose image the network can't take."""
    given = config.input
    channels = graph.shape[1] if given.layout == "nchw" else graph.shape[3]
    if channels not in (None, given.channels):
        raise InvalidInputError(
            f"{source.name} takes images of {channels} channels, and input.color {given.color} with input.layout "
            f"{given.layout} gives {given.channels}; correct the YAML."
        )
    fixed = _fixed_size(graph, config)
    if fixed is not None and given.size != list(fixed):
        raise InvalidInputError(
            f"{source.name} takes images of {fixed[0]}x{fixed[1]} only; write input.size: [{fixed[0]}, {fixed[1]}]."
        )


def _check_outputs(network: ForeignNetwork, image: NDArray[np.uint8], source: Path) -> None:
    """Refuse outputs that are not what the configuration says."""
    outputs = network.graph.run(network.scaled(torch.from_numpy(image[None].copy())))
    decode, count = network.after.config, network.after.keypoints
    simcc = decode.kind == "simcc"
    for position, (name, value) in enumerate(zip(network.graph.outputs, outputs, strict=True)):
        axis = 3 if decode.layout == "nhwc" and not simcc else 1
        wanted = 2 * count if decode.kind == "heatmap_offset" and position == 1 else count
        if value.ndim != (3 if simcc else 4) or value.shape[axis] != wanted:
            shape = "x".join(map(str, value.shape))
            raise InvalidInputError(
                f"{source.name}: the output {name!r} is {shape}, and {count} keypoints by {decode.kind} need {wanted} "
                f"in axis {axis} of {3 if simcc else 4}; correct keypoints or decode in the YAML."
            )
        if not torch.isfinite(value.float()).all():
            raise InvalidInputError(f"{source.name}: the output {name!r} is not all numbers; export it again.")


def _shape_input(composed: Any, graph: ForeignGraph, config: OnnxConfig) -> None:
    """Give the whole graph's input its axes by name, and its output one animal and the keypoints."""
    for value, axes in (
        (composed.graph.input[0], (graph.shape[0] or "N", "H", "W", 1 if config.input.color == "gray" else 3)),
        (composed.graph.output[0], (graph.shape[0] or "N", 1, len(config.keypoints), 3)),
    ):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, axes))

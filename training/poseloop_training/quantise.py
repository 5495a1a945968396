"""INT8 by static quantisation: the network computes in integers, what comes before and after it in fp32.

Activations are uint8 with a zero point, weights int8 about zero with a scale a channel: of ONNX Runtime's combinations
the one that x86 with VNNI and Arm run fastest. The graph says so with QuantizeLinear and DequantizeLinear (QDQ), so any
runtime that knows ONNX can take it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QDQQuantizer, QuantType

from poseloop_training.byte_stem import ByteStem, take_bytes
from poseloop_training.calibration import Images, tensor_ranges
from poseloop_training.graph import Graph, attributes, network_nodes

# Those that ONNX Runtime computes in integers; Clip and Relu vanish into the range of what they limit.
KINDS = ("Conv", "Add", "Mul", "Concat", "Resize", "MaxPool", "GlobalAveragePool", "Sigmoid", "Clip", "Relu")
MOST_LEFT_OUT = 4
# Keypoints may move by this many heatmap cells on average before layers are left out.
MOST_SHIFT_CELLS = 0.05

# Runs a model and returns how far its keypoints lie from those of the fp32 one, on average.
Shift = Callable[[onnx.ModelProto], float]


@dataclass(frozen=True, eq=False)
class Quantised:
    """An INT8 model.

    Attributes:
        left_out: layers that stay in fp32, by name.
        takes_bytes: whether its first layer reads the frame as it is.
    """

    model: onnx.ModelProto
    left_out: tuple[str, ...]
    takes_bytes: bool


def quantise(
    model: onnx.ModelProto, multiple: int, native: tuple[int, int], images: Images, shift: Shift, most_shift: float
) -> Quantised:
    """Quantise a model's network.

    A layer is left out only where all of them together move keypoints by more than ``most_shift``: then those whose
    absence helps most, one after the other.

    Args:
        model: simplified, its padding folded; changed in place.
        multiple: network pixels that the image is padded to multiples of.
        native: width and height of most frames.
        images: that the model was trained on, for the ranges.
        shift: measures a candidate, in pixels of the frame.
        most_shift: in the same pixels.
    """
    model, stem = take_bytes(model, multiple, native)
    network = _Quantisation(model, stem, tensor_ranges(model, KINDS, images))
    left_out: list[str] = []
    best = network.without(left_out)
    moved = shift(best)
    ranked = iter(_most_sensitive(network, shift) if moved > most_shift else [])
    while moved > most_shift and len(left_out) < MOST_LEFT_OUT and (layer := next(ranked, None)) is not None:
        candidate = network.without([*left_out, layer])
        if (now := shift(candidate)) < moved:
            left_out.append(layer)
            best, moved = candidate, now
    return Quantised(best, tuple(left_out), stem is not None)


def _most_sensitive(network: _Quantisation, shift: Shift) -> list[str]:
    """Return the layers by how little keypoints move when they alone stay in fp32."""
    shifts = {layer: shift(network.without([layer])) for layer in network.layers}
    return sorted(shifts, key=lambda layer: shifts[layer])


@dataclass(frozen=True, eq=False)
class _Quantisation:
    """All that makes an INT8 model of an fp32 one.

    Attributes:
        ranges: of its tensors.
    """

    model: onnx.ModelProto
    stem: ByteStem | None
    ranges: Any

    @property
    def layers(self) -> list[str]:
        """The convolutions."""
        return [node.name for node in self.model.graph.node if node.op_type == "Conv"]

    def without(self, left_out: Sequence[str]) -> onnx.ModelProto:
        """Return it quantised, but for these layers."""
        model = copy.deepcopy(self.model)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=[node.name for node in network_nodes(model) if node.op_type in KINDS],
            nodes_to_exclude=list(left_out),
            op_types_to_quantize=list(KINDS),
            extra_options=self._bytes_as_they_are(left_out),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # it adds its nodes at the end
        graph = Graph(quantizer.model.model)
        _drop_second_rounding(graph)
        _upsample_bytes(graph)
        _keep_floats(graph, left_out)
        return graph.finish()

    def _bytes_as_they_are(self, left_out: Sequence[str]) -> dict[str, Any]:
        if self.stem is None or self.stem.conv in left_out:
            return {}
        one, zero = np.array(1, np.float32), np.array(self.stem.zero_point, np.uint8)
        return {"TensorQuantOverrides": {self.stem.tensor: [{"scale": one, "zero_point": zero}]}}


def _keep_floats(graph: Graph, layers: Sequence[str]) -> None:
    """Let ONNX Runtime compute these layers in fp32.

    Where integers stand on both sides of a convolution it rounds the weights itself, with one scale for all channels,
    and the layer that was to be spared is worse off than any other. An activation that changes nothing, which becomes
    part of the convolution, keeps the two sides apart.
    """
    for conv in graph.of_kind("Conv"):
        if conv.name in layers:
            output = conv.output[0]
            same = graph.node("LeakyRelu", [f"{output}/float"], output, alpha=1.0)
            conv.output[0] = same.input[0]
            graph.insert_after(conv, same)


def _drop_second_rounding(graph: Graph) -> None:
    """Take away integers that are turned into floats and into the same integers again: the frame's own bytes."""
    producers = graph.producers()
    for again in graph.of_kind("QuantizeLinear"):
        before = producers.get(again.input[0])
        if before is not None and before.op_type == "DequantizeLinear" and _same_steps(graph, before, again):
            graph.rewire(again.output[0], before.input[0])


def _upsample_bytes(graph: Graph) -> None:
    """Double maps by copying bytes, four times as fast as ONNX Runtime's Resize of integers.

    In memory a pixel's channels stand side by side there: writing each pixel twice doubles a row, and each row twice
    the map.
    """
    producers, consumers = graph.producers(), graph.consumers()
    for resize in graph.of_kind("Resize"):
        given, taken = producers.get(resize.input[0]), consumers[resize.output[0]]
        if given is None or given.op_type != "DequantizeLinear" or len(taken) != 1:
            continue
        again = taken[0]
        if again.op_type != "QuantizeLinear" or not _same_steps(graph, given, again) or not _doubles(graph, resize):
            continue
        graph.replace([resize, again], _doubled(graph, given.input[0], again.output[0]))


def _doubled(graph: Graph, tensor: str, output: str) -> list[onnx.NodeProto]:
    """Return the nodes that double ``[N, C, h, w]`` of bytes."""
    rows = graph.node("Transpose", [tensor], perm=[0, 2, 3, 1])
    channels = graph.node("Shape", [rows.output[0]], start=3, end=4)
    twice = graph.node("Concat", [rows.output[0], rows.output[0]], axis=3)
    wide_shape = graph.node("Concat", [graph.add_constant([0, 0, -1], np.int64), channels.output[0]], axis=0)
    wide = graph.node("Reshape", [twice.output[0], wide_shape.output[0]])
    size = graph.node("Shape", [wide.output[0]], start=2, end=4)
    both = graph.node("Concat", [wide.output[0], wide.output[0]], axis=2)
    high_shape = graph.node("Concat", [graph.add_constant([0, -1], np.int64), size.output[0]], axis=0)
    high = graph.node("Reshape", [both.output[0], high_shape.output[0]])
    back = graph.node("Transpose", [high.output[0]], output, perm=[0, 3, 1, 2])
    return [rows, channels, twice, wide_shape, wide, size, both, high_shape, high, back]


def _same_steps(graph: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    """Return whether two nodes mean the same numbers by the same integers."""
    pairs = [(graph.constant(a), graph.constant(b)) for a, b in zip(first.input[1:], second.input[1:], strict=True)]
    return all(a is not None and b is not None and np.array_equal(a, b) for a, b in pairs)


def _doubles(graph: Graph, resize: onnx.NodeProto) -> bool:
    scales: NDArray[Any] | None = graph.constant(resize.input[2]) if len(resize.input) > 2 else None
    return (
        attributes(resize).get("mode", b"nearest") == b"nearest"
        and scales is not None
        and scales.tolist() == [1, 1, 2, 2]
    )

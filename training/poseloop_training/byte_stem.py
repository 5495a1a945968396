"""Lets an integer network take the frame's bytes as they are: scaling and normalisation go into its first layer.

Averaging blocks of b × b pixels and then convolving with stride s is one convolution with stride b·s. Bytes are
integers already, so nothing is rounded, and the frame is neither converted to floats nor written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from poseloop_training.graph import Graph, attributes

# Grey levels. Outside the image a byte network sees a whole grey level where the network saw its mean exactly.
MOST_ROUNDING = 0.5
INPUT = "frames"


@dataclass(frozen=True, slots=True)
class ByteStem:
    """The first layer as it is now.

    Attributes:
        conv: its name.
        tensor: what it takes, in grey levels above `zero_point`.
        zero_point: the grey level that the network's zero stands for.
    """

    conv: str
    tensor: str
    zero_point: int


@dataclass(frozen=True, eq=False)
class _Preparation:
    """What happens to a frame before the first convolution: blocks averaged, ``x·gain + bias``, padding."""

    conv: onnx.NodeProto
    block: int
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]


def take_bytes(
    model: onnx.ModelProto, multiple: int, native: tuple[int, int]
) -> tuple[onnx.ModelProto, ByteStem | None]:
    """Rewrite the way from the frame to the first convolution, where that changes nothing but the last bits.

    Where blocks of pixels fill frames of the native size, what is left of frames of other sizes is not cut off: their
    last row of blocks is seen as partly beyond the border.

    Args:
        model: simplified, its padding folded; changed in place.
        multiple: network pixels that the image is padded to multiples of.
        native: width and height of most frames.

    Returns:
        The model, and its first layer; None where it stays as it was: the frame is scaled by no whole number, or the
        channels' means are no whole grey level within a half.
    """
    graph = Graph(model)
    found = _preparation(graph)
    if found is None:
        return model, None
    zeros = -found.bias / found.gain
    zero_point = int(np.clip(np.round(zeros.mean()), 0, 255))
    if np.abs(zeros - zero_point).max() > MOST_ROUNDING + 1e-3:
        return model, None
    weights, bias = _weights(graph, found.conv)
    scaled = weights * found.gain.reshape(1, -1, 1, 1)
    bias = bias + (weights * (found.gain * zero_point + found.bias).reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))
    own = attributes(found.conv)
    view = found.block * own["strides"][0]
    kernel, begin, end = _spread(scaled, found.block, view, own["pads"][:2])
    zero = graph.add_constant(zero_point, np.uint8)
    cut = any(size % found.block for size in native)
    nodes, padded = _padded_bytes(graph, found.block, multiple, zero, cut=cut)
    seen, tensor = _as_channels(graph, padded, view, len(found.gain))
    nodes += [
        *seen,
        levels := graph.node("DequantizeLinear", [tensor, graph.add_constant(1.0, np.float32), zero]),
        conv := graph.node(
            "Conv",
            [levels.output[0], graph.add_constant(kernel, np.float32), graph.add_constant(bias, np.float32)],
            found.conv.output[0],
            kernel_shape=kernel.shape[2:],
            pads=[*begin, *end],
        ),
    ]
    graph.replace([found.conv], nodes)
    return graph.finish(), ByteStem(conv.name, levels.output[0], zero_point)


def _preparation(graph: Graph) -> _Preparation | None:
    """Walk from the first convolution back to the frame; None where anything unexpected stands there."""
    conv = next(iter(graph.of_kind("Conv")), None)
    if conv is None or sum(conv.input[0] in node.input for node in graph.nodes) > 1:
        return None
    own = attributes(conv)
    plain = own.get("group", 1) == 1 and set(own.get("dilations", [1])) == {1} and "pads" in own
    if not plain or graph.constant(conv.input[1]) is None or not _one_output_a_step(own):
        return None
    chain = list(_back_to_frames(graph, conv.input[0]))
    kinds = [node.op_type for node in chain if node.op_type != "AveragePool"]
    if kinds not in (["Pad", "Add", "Mul", "Cast", kind] for kind in ("Reshape", "Transpose")):
        return None
    found = {node.op_type: node for node in chain}
    gain, bias = (graph.constant(found[kind].input[1]) for kind in ("Mul", "Add"))
    if gain is None or bias is None:
        return None
    pool = attributes(found["AveragePool"]) if "AveragePool" in found else {"kernel_shape": [1], "strides": [1]}
    if len({*pool["kernel_shape"], *pool["strides"]}) > 1:
        return None
    return _Preparation(conv, int(pool["kernel_shape"][0]), gain.ravel(), bias.ravel())


def _one_output_a_step(own: dict[str, Any]) -> bool:
    """Return whether an image of so many strides a side gives so many outputs."""
    size, strides, pads = own["kernel_shape"], set(own["strides"]), own["pads"]
    step = own["strides"][0]
    around = (pads[0] + pads[2], pads[1] + pads[3])
    return len(strides) == 1 and len(set(size)) == 1 and all(size[0] - step <= pad < size[0] for pad in around)


def _back_to_frames(graph: Graph, tensor: str) -> Iterator[onnx.NodeProto]:
    producers = graph.producers()
    while tensor != INPUT and (node := producers.get(tensor)) is not None:
        yield node
        tensor = node.input[0]


def _weights(graph: Graph, conv: onnx.NodeProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weights = graph.constant(conv.input[1])
    assert weights is not None
    bias = graph.constant(conv.input[2]) if len(conv.input) > 2 else None
    return weights, np.zeros(len(weights), np.float32) if bias is None else bias


def _spread(
    weights: NDArray[np.float32], block: int, view: int, pads: Sequence[int]
) -> tuple[NDArray[np.float32], list[int], list[int]]:
    """Spread weights ``[O, C, k, k]`` of averaged pixels over the frame's own, of which a square is one cell.

    Args:
        weights: of the first convolution.
        block: frame pixels a network pixel, a side.
        view: frame pixels a cell, a side: one step of the convolution.
        pads: network pixels at the top and left.

    Returns:
        Weights ``[O, view·view·C, cells, cells]`` and the padding at the beginning and end of each axis, in cells.
    """
    outputs, channels, size, _ = weights.shape
    begin = [-(-block * pad // view) for pad in pads]
    end = [(block * (size - pad) - 1) // view for pad in pads]
    cells = [first + last + 1 for first, last in zip(begin, end, strict=True)]
    spread = np.zeros((outputs, cells[0] * view, cells[1] * view, channels), np.float32)
    top, left = (first * view - block * pad for first, pad in zip(begin, pads, strict=True))
    fine = (weights / block**2).repeat(block, axis=2).repeat(block, axis=3).transpose(0, 2, 3, 1)
    spread[:, top : top + block * size, left : left + block * size] = fine
    parts = spread.reshape(outputs, cells[0], view, cells[1], view, channels)
    return parts.transpose(0, 2, 4, 5, 1, 3).reshape(outputs, -1, *cells), begin, end


def _as_channels(graph: Graph, frames: str, view: int, channels: int) -> tuple[list[onnx.NodeProto], str]:
    """See squares of bytes ``[N, H, W, C]`` as the channels of one cell: ``[N, view·view·C, H/view, W/view]``.

    ONNX Runtime gathers what a convolution of integers sees a channel's run at a time, and the longer the better.
    """
    wide = view * channels
    nodes = [
        columns := graph.node("Reshape", [frames, graph.add_constant([0, 0, -1, wide], np.int64)]),
        count := graph.node("Shape", [columns.output[0]], start=2, end=3),
        shape := graph.node(
            "Concat",
            [graph.add_constant([0, -1, view], np.int64), count.output[0], graph.add_constant([wide], np.int64)],
            axis=0,
        ),
        rows := graph.node("Reshape", [columns.output[0], shape.output[0]]),
        together := graph.node("Transpose", [rows.output[0]], perm=[0, 1, 3, 2, 4]),
        cells := graph.node("Reshape", [together.output[0], graph.add_constant([0, 0, 0, view * wide], np.int64)]),
        turned := graph.node("Transpose", [cells.output[0]], perm=[0, 3, 1, 2]),
    ]
    return nodes, turned.output[0]


def _padded_bytes(graph: Graph, block: int, multiple: int, zero: str, *, cut: bool) -> tuple[list[onnx.NodeProto], str]:
    """Pad at the right and bottom as the network does; ``cut`` off before what fills no block, as averaging does.

    Cutting copies the frame even where there is nothing to cut.
    """
    whole, least = graph.add_constant(block, np.int64), graph.add_constant(block * multiple, np.int64)
    nodes = [
        size := graph.node("Shape", [INPUT], start=1, end=3),
        blocks := graph.node("Div", [size.output[0], whole]),
        used := graph.node("Mul", [blocks.output[0], whole]),
        negative := graph.node("Neg", [used.output[0]]),
        more := graph.node("Mod", [negative.output[0], least]),
    ]
    if cut:
        zeros, axes = graph.add_constant([0, 0], np.int64), graph.add_constant([1, 2], np.int64)
        nodes += [frames := graph.node("Slice", [INPUT, zeros, used.output[0], axes])]
        given, missing = frames.output[0], more.output[0]
    else:
        nodes += [
            wanted := graph.node("Add", [used.output[0], more.output[0]]),
            difference := graph.node("Sub", [wanted.output[0], size.output[0]]),
        ]
        given, missing = INPUT, difference.output[0]
    before, after = graph.add_constant([0] * 5, np.int64), graph.add_constant([0], np.int64)
    nodes += [
        sizes := graph.node("Concat", [before, missing, after], axis=0),
        padded := graph.node("Pad", [given, sizes.output[0], zero]),
    ]
    return nodes, padded.output[0]

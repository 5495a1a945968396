"""Real ONNX models whose answers are known exactly, made without training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from poseloop.types import MODEL_METADATA_KEY, DecodeSpec, ModelSpec

# How far keypoint k lies from the spot, in pixels a step: makes a swapped order of keypoints visible.
KEYPOINT_STEP = (10.0, -5.0)


def write_spot_model(
    path: Path,
    keypoints: tuple[str, ...] = ("spot",),
    color: Literal["gray", "rgb"] = "gray",
    *,
    native_size: tuple[int, int] = (64, 48),
    busy_rounds: int = 0,
    fail_on_black: bool = False,
) -> ModelSpec:
    """Write a model that finds the brightest pixel of a frame, the first one row by row where several are equal.

    Keypoint k lies at ``(x + 10 k, y - 5 k)`` of the brightest pixel, exactly; its confidence is that pixel's
    brightness / 255. For RGB the brightness is that of the red channel, so that exchanged channels are visible.

    Args:
        path: where the ``.onnx`` goes; its stem is the model's name.
        keypoints: their names, in the order of the output.
        color: the model's input has 1 (gray) or 3 (rgb) channels.
        native_size: width and height in the description; the graph takes any size.
        busy_rounds: multiplications of 256x256 matrices to do besides, so that an inference takes time (some 0.3 ms
            each on one core).
        fail_on_black: inference of a batch with an all black frame fails, as a broken graph would.
    """
    names = iter(f"v{i}" for i in range(1000))
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def const(value: object, dtype: type) -> str:
        name = next(names)
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def op(kind: str, *inputs: str, **attributes: object) -> str:
        out = next(names)
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    first_channel = op("Gather", "frames", const(0, np.int64), axis=3)
    flat = op("Reshape", op("Cast", first_channel, to=TensorProto.FLOAT), const([0, -1], np.int64))
    index = op("ArgMax", flat, axis=1, keepdims=1)
    peak = op("ReduceMax", flat, axes=[1], keepdims=1)
    width = op("Gather", op("Shape", "frames"), const(2, np.int64), axis=0)
    x = op("Cast", op("Mod", index, width), to=TensorProto.FLOAT)
    y = op("Cast", op("Div", index, width), to=TensorProto.FLOAT)
    steps = np.arange(len(keypoints), dtype=np.float32)
    xs = op("Add", x, const(steps * KEYPOINT_STEP[0], np.float32))
    ys = op("Add", y, const(steps * KEYPOINT_STEP[1], np.float32))
    confidence = op("Add", op("Div", peak, const(255.0, np.float32)), const(0 * steps, np.float32))
    if fail_on_black:
        # Index 1 is out of the table's range, which ONNX Runtime only sees when it gets there.
        black = op("Cast", op("Equal", peak, const(0.0, np.float32)), to=TensorProto.INT64)
        confidence = op("Add", confidence, op("Gather", const([0.0], np.float32), black, axis=0))
    if busy_rounds:
        confidence = op("Add", confidence, _busy(op, const, peak, busy_rounds))
    unsqueezed = [op("Unsqueeze", part, const([1, 3], np.int64)) for part in (xs, ys, confidence)]
    nodes.append(helper.make_node("Concat", unsqueezed, ["keypoints"], axis=3))

    spec = ModelSpec(
        name=path.stem,
        keypoints=list(keypoints),
        skeleton=list(itertools.pairwise(keypoints)),
        color=color,
        native_width=native_size[0],
        native_height=native_size[1],
        license="Apache-2.0",
        decode=DecodeSpec(kind="foreign", input_scale=1.0, stride=1),
        created_by="poseloop tests",
    )
    graph = helper.make_graph(
        nodes,
        "spot",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", "H", "W", spec.channels])],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["N", 1, len(keypoints), 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {MODEL_METADATA_KEY: spec.model_dump_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return spec


def _busy(op, const, peak: str, rounds: int) -> str:  # type: ignore[no-untyped-def]
    """Multiply matrices that depend on the input, so that no optimiser can fold them, and end in an exact zero."""
    matrix = const(np.full((256, 256), 1 / 256), np.float32)
    value = op("Add", matrix, op("ReduceMax", peak, axes=[0, 1], keepdims=1))
    for _ in range(rounds):
        value = op("MatMul", value, matrix)
    return op("Mul", op("ReduceMax", value, axes=[0, 1], keepdims=1), const(0.0, np.float32))

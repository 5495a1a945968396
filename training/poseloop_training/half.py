"""FP16 for GPUs: the network computes in half precision, what comes before and after it in fp32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, shape_inference

from poseloop_training.graph import Graph, network_nodes

# Inputs of these that are no numbers of the image: sizes and scales stay what they are.
_DATA_INPUTS = {"Resize": 1, "Reshape": 1, "Slice": 1, "Expand": 1, "Unsqueeze": 1, "Squeeze": 1}
_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose convolutions, and all between them, have weights and values of 16 bits.

    Args:
        model: simplified, its padding folded; changed in place.
    """
    kinds = _kinds(model)
    graph = Graph(model)
    inside = network_nodes(model)
    names = {node.name for node in inside}
    made = {output for node in inside for output in node.output if kinds.get(output) == TensorProto.FLOAT}
    entered: dict[str, str] = {}
    for node in inside:
        for place, name in enumerate(node.input[: _DATA_INPUTS.get(node.op_type, len(node.input))]):
            if name in made or kinds.get(name) != TensorProto.FLOAT:
                continue
            if name not in entered:
                entered[name] = _enter(graph, name, before=node)
            node.input[place] = entered[name]
    for tensor in sorted(made):
        _leave(graph, tensor, names)
    return graph.finish()


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element types by tensor."""
    inferred = shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return kinds | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def _enter(graph: Graph, tensor: str, before: onnx.NodeProto) -> str:
    """Return a tensor or constant in 16 bits."""
    value = graph.constant(tensor)
    if value is not None:
        return graph.add_constant(np.clip(value, -_LARGEST, _LARGEST), np.float16)
    cast = graph.node("Cast", [tensor], to=TensorProto.FLOAT16)
    graph.insert_before(before, cast)
    return str(cast.output[0])


def _leave(graph: Graph, tensor: str, inside: set[str]) -> None:
    """Turn a tensor into 32 bits again for the nodes outside that take it."""
    outside = [node for node in graph.consumers()[tensor] if node.name not in inside]
    if not outside:
        return
    cast = graph.node("Cast", [tensor], to=TensorProto.FLOAT)
    graph.insert_before(outside[0], cast)
    for node in outside:
        for place, name in enumerate(node.input):
            if name == tensor:
                node.input[place] = cast.output[0]

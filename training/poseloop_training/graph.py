"""An ONNX graph that can be changed: who makes a tensor, who takes it, and which part is the network."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_OURS = re.compile(r"poseloop/(\d+)_")


class Graph:
    """A model under change; `finish` takes away what nothing needs any more.

    Attributes:
        model: as ONNX holds it; its nodes stay in an order in which each comes after what it takes.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        # What an earlier change added has names of this form too.
        ours = (_OURS.match(name) for name in [*self._constants, *self.producers()])
        self._made = max((int(found[1]) for found in ours if found), default=0)

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes as they stand now."""
        return list(self.model.graph.node)

    def of_kind(self, kind: str) -> list[onnx.NodeProto]:
        """Return the nodes of an operator."""
        return [node for node in self.nodes if node.op_type == kind]

    def producers(self) -> dict[str, onnx.NodeProto]:
        """Return by tensor the node that makes it."""
        return {output: node for node in self.nodes for output in node.output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """Return by tensor the nodes that take it."""
        found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                found[name].append(node)
        return found

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return a tensor that is known before the graph runs, or None."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def add_constant(self, value: Any, dtype: Any) -> str:
        """Add a constant and return its name."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype=dtype), self._name("constant"))
        self.model.graph.initializer.append(tensor)
        self._constants[tensor.name] = tensor
        return str(tensor.name)

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> onnx.NodeProto:
        """Make a node of one output, which stands nowhere yet."""
        name = self._name(kind)
        return helper.make_node(kind, list(inputs), [output or name], name=name, **attributes)

    def replace(self, old: Iterable[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes where the last of some others stood."""
        here = self.model.graph.node
        gone = list(old)
        place = max(self.nodes.index(node) for node in gone) - len(gone) + 1
        for node in gone:
            here.remove(node)
        for offset, node in enumerate(new):
            here.insert(place + offset, node)

    def insert_before(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """Put a node in front of another one."""
        self.model.graph.node.insert(self.nodes.index(node), new)

    def insert_after(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """Put a node behind another one."""
        self.model.graph.node.insert(self.nodes.index(node) + 1, new)

    def rewire(self, tensor: str, to: str) -> None:
        """Let every node that takes a tensor take another one."""
        for node in self.model.graph.node:
            for place, name in enumerate(node.input):
                if name == tensor:
                    node.input[place] = to

    def finish(self) -> onnx.ModelProto:
        """Return the model without nodes and constants that no output depends on."""
        graph = self.model.graph
        needed = {output.name for output in graph.output}
        kept = []
        for node in reversed(graph.node):
            if needed & set(node.output):
                kept.append(node)
                needed.update(node.input)
        constants = [tensor for tensor in graph.initializer if tensor.name in needed]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(reversed(kept))
        graph.initializer.extend(constants)
        return self.model

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"poseloop/{self._made}_{kind}"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def simplify(path: Path) -> onnx.ModelProto:
    """Return a model with what is known beforehand computed, by ONNX Runtime; standard operators only come out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="poseloop-") as folder:
        options.optimized_model_filepath = f"{folder}/simple.onnx"
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in model.graph.node}
    versions = [version for version in model.opset_import if version.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(versions)
    return model


def fold_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let convolutions pad by themselves where zeros are padded before them: the same numbers, without a copy.

    PyTorch's convolutions pad both sides alike, so TensorFlow's "same" padding comes out as an operator of its own.
    """
    graph = Graph(model)
    producers, consumers = graph.producers(), graph.consumers()
    for conv in graph.of_kind("Conv"):
        pad = producers.get(conv.input[0])
        if pad is None or pad.op_type != "Pad" or len(consumers[pad.output[0]]) > 1:
            continue
        around = _zeros_around(graph, pad)
        if around is None:
            continue
        own = next((attribute for attribute in conv.attribute if attribute.name == "pads"), None)
        if own is None:
            conv.attribute.append(helper.make_attribute("pads", around))
        else:
            own.ints[:] = [mine + more for mine, more in zip(own.ints, around, strict=True)]
        conv.input[0] = pad.input[0]
    return graph.finish()


def _zeros_around(graph: Graph, pad: onnx.NodeProto) -> list[int] | None:
    """Return how many zeros are put at the top, left, bottom and right, or None where it is anything else."""
    sizes = graph.constant(pad.input[1])
    value = graph.constant(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    if attributes(pad).get("mode", b"constant") != b"constant" or sizes is None or value is None or value.any():
        return None
    if sizes.size != 8 or sizes[[0, 1, 4, 5]].any() or (sizes < 0).any():
        return None
    return [int(size) for size in sizes[[2, 3, 6, 7]]]


def network_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the convolutions and all that lies between them: no preparation of the frame, no decoding."""
    nodes = list(model.graph.node)
    after: set[str] = set()
    for node in nodes:
        if node.op_type == "Conv" or after & set(node.input):
            after.update(node.output)
    before: set[str] = set()
    found = []
    for node in reversed(nodes):
        if node.op_type == "Conv" or before & set(node.output):
            before.update(node.input)
            if after & set(node.output):
                found.append(node)
    return found[::-1]

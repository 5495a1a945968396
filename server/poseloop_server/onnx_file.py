"""Reads from an ONNX file's bytes what ONNX Runtime does not tell: the precision that it computes in.

The server does without the `onnx` package, so this walks the few protobuf fields that matter (onnx.proto: ModelProto,
GraphProto, NodeProto, TensorProto; https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP_TYPE = 4
_TENSOR_DIMS, _TENSOR_DATA_TYPE = 1, 2
_FLOAT16, _BFLOAT16, _FLOAT = 10, 16, 1
_QUANTISED = {
    b"QuantizeLinear",
    b"DequantizeLinear",
    b"QLinearConv",
    b"QLinearMatMul",
    b"ConvInteger",
    b"MatMulInteger",
}


def precision_of(model: bytes) -> str:
    """Return ``"int8"``, ``"fp16"``, ``"bf16"`` or ``"fp32"``: what most weights of the graph are.

    Raises:
        ValueError: the bytes are no ONNX file.
    """
    weights = {_FLOAT: 0, _FLOAT16: 0, _BFLOAT16: 0}
    for graph in _messages(memoryview(model), _MODEL_GRAPH):
        for number, value in _fields(graph):
            if not isinstance(value, memoryview):
                continue
            if number == _GRAPH_NODE and any(bytes(name) in _QUANTISED for name in _messages(value, _NODE_OP_TYPE)):
                return "int8"
            if number == _GRAPH_INITIALIZER:
                kind, size = _tensor(value)
                if kind in weights:
                    weights[kind] += size
    most = max(weights, key=lambda kind: weights[kind])
    return {_FLOAT: "fp32", _FLOAT16: "fp16", _BFLOAT16: "bf16"}[most]


def _tensor(message: memoryview) -> tuple[int, int]:
    """Return a tensor's data type and number of elements."""
    dims: list[int] = []
    kind = 0
    for number, value in _fields(message):
        if number == _TENSOR_DIMS:
            dims.extend([value] if isinstance(value, int) else _varints(value))
        elif number == _TENSOR_DATA_TYPE and isinstance(value, int):
            kind = value
    return kind, prod(dims)


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and value: an int for a varint, else the bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == 2:
            size, at = _varint(message, at)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} does not occur in ONNX files")
        if at + size > len(message):
            raise ValueError("the file ends in the middle of a field")
        yield number, message[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number runs over its end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

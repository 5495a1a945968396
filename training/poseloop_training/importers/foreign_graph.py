"""A foreign ONNX graph: opened with care, run as it is, and composed with what stands before and after it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.version_converter
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from poseloop.errors import InvalidInputError
from torch import Tensor, nn

from poseloop_training.export import OPSET
from poseloop_training.model_runner import _runtime_errors

# What PyTorch's tracing exporter writes at most; later graphs have the two ends converted to theirs.
_LAST_TRACED = 20
_MOST_BYTES = 2_000_000_000
_TYPES: dict[Any, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.UINT8: torch.uint8,
}
_BATCH = "N"
_REFUSALS: tuple[type[Exception], ...] = (*_runtime_errors(), ValueError)  # InvalidInputError is one of the last


@dataclass(frozen=True, eq=False)
class ForeignGraph:
    """An ONNX network of one image input.

    Attributes:
        proto: the graph.
        input: name of the image.
        outputs: names of those that are read, in the order in which they are decoded.
        shape: of the image, None where it may be anything.
        dtype: of the image.
    """

    proto: Any
    input: str
    outputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: torch.dtype
    session: Any

    def run(self, images: Tensor) -> list[Tensor]:
        """Run it on images one by one.

        Raises:
            InvalidInputError: it fails.
        """
        found = []
        for image in images.numpy():
            try:
                found.append(self.session.run(list(self.outputs), {self.input: image[None]}))
            except _runtime_errors() as error:
                raise InvalidInputError(f"the network fails on an image of {image.shape} ({_first(error)}).") from None
        return [torch.from_numpy(np.concatenate(parts)) for parts in zip(*found, strict=True)]


def open_graph(path: Path, input_name: str | None, output_names: Sequence[str | None]) -> ForeignGraph:
    """Open a network and free its batch, if it gives the same for two images as for each of them.

    Raises:
        InvalidInputError: it is no ONNX file, has other inputs or outputs, or can't be run.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist; give an ONNX file.")
    if path.stat().st_size > _MOST_BYTES:
        raise InvalidInputError(f"{path} is larger than 2 GB, more than one ONNX file can hold.")
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's, onnx's and the system's errors share no other base
        raise InvalidInputError(
            f"{path} is no ONNX file that can be read ({_first(error)}); export it again."
        ) from None
    held = {tensor.name for tensor in proto.graph.initializer}
    inputs = {value.name: value for value in proto.graph.input if value.name not in held}
    name = _chosen(input_name, list(inputs), "input.name", path)
    if len(inputs) != 1:
        raise InvalidInputError(
            f"{path.name} has the inputs {', '.join(inputs)}, and networks of one image can be used."
        )
    available = [value.name for value in proto.graph.output]
    chosen = list(dict.fromkeys(_output(given, i, available, path) for i, given in enumerate(output_names)))
    kind = inputs[name].type.tensor_type
    if kind.elem_type not in _TYPES or len(kind.shape.dim) != 4:
        raise InvalidInputError(
            f"{path.name}: its input {name!r} is no batch of images (float32, float16 or uint8 with four axes)."
        )
    shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim)
    return ForeignGraph(proto, name, tuple(chosen), shape, _TYPES[kind.elem_type], _session(proto, path))


def with_free_batch(graph: ForeignGraph, example: Tensor, path: Path) -> ForeignGraph:
    """Return it with any number of images, or with one where it gives something else for two at once."""
    pair = torch.cat((example, example.flip(2)))
    expected = graph.run(pair)
    for free in (True, False):
        proto = onnx.ModelProto()
        proto.CopyFrom(graph.proto)
        del proto.graph.value_info[:]
        for value in (*proto.graph.input, *proto.graph.output):
            dims = value.type.tensor_type.shape.dim
            if not dims or (value.name != graph.input and value.name not in graph.outputs):
                continue
            dims[0].Clear()
            if free:
                dims[0].dim_param = _BATCH
            else:
                dims[0].dim_value = 1
        freed = ForeignGraph(
            proto, graph.input, graph.outputs, (None if free else 1, *graph.shape[1:]), graph.dtype, graph.session
        )
        if free and not _same_for_two(proto, graph, pair, expected, path):
            continue
        return freed
    return graph


def compose(graph: ForeignGraph, before: nn.Module, after: nn.Module, frames: NDArray[np.uint8]) -> Any:
    """Return one graph from frames to keypoints.

    Args:
        graph: in the middle.
        before: frames to image and geometry.
        after: first output, second output and geometry to keypoints.
        frames: an example, ``[1, H, W, C]``.

    Raises:
        InvalidInputError: the parts can't be brought to one version of ONNX.
    """
    given = torch.from_numpy(frames)
    with torch.inference_mode():
        image, geometry = before(given)
    outputs = graph.run(image)
    version = max(_opset(graph.proto), OPSET)
    traced = min(version, _LAST_TRACED)
    free = {0: _BATCH} if graph.shape[0] is None else {}
    first = _traced(before, (given,), ["frames"], ["image", "geometry"], {"frames": {**free, 1: "H", 2: "W"}}, traced)
    names = [f"maps{i}" for i in range(len(outputs))]
    axes = {name: {**free, 2: f"{name}_h", 3: f"{name}_w"} if value.ndim == 4 else {**free} for name, value in
            zip(names, outputs, strict=True)}  # fmt: skip
    last = _traced(
        _Joined(after, len(outputs)), (*outputs, geometry), [*names, "geometry"], ["keypoints"], axes, traced
    )
    try:
        parts = [_converted(part, version) for part in (first, graph.proto, last)]
        first, middle, last = _prefixed(parts)
        merged = onnx.compose.merge_models(
            first, middle, [("before/image", f"network/{graph.input}")],
            outputs=[*(f"network/{name}" for name in graph.outputs), "before/geometry"],
        )  # fmt: skip
        pairs = [(f"network/{name}", f"after/{own}") for name, own in zip(graph.outputs, names, strict=True)]
        return onnx.compose.merge_models(
            merged, last, [*pairs, ("before/geometry", "after/geometry")], outputs=["keypoints"]
        )
    except Exception as error:  # onnx raises what its C++ part raised
        raise InvalidInputError(
            f"the network's graph of opset {_opset(graph.proto)} can't be joined with ours ({_first(error)}); export "
            f"it again with opset {OPSET}."
        ) from None


class _Joined(nn.Module):
    """The part after the network, for as many outputs as there are."""

    def __init__(self, after: nn.Module, outputs: int) -> None:
        super().__init__()
        self.after, self.outputs = after, outputs

    def forward(self, *values: Tensor) -> Tensor:
        keypoints: Tensor = self.after(values[0], values[self.outputs - 1], values[-1])
        return keypoints


def _traced(
    module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str], axes: Any, opset: int
) -> Any:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "part.onnx")
        try:
            torch.onnx.export(
                module.eval(), example, path, input_names=inputs, output_names=outputs, dynamic_axes=axes,
                opset_version=opset, dynamo=False,
            )  # fmt: skip
        finally:
            logger.setLevel(level)
        return onnx.load(path)


def _prefixed(parts: list[Any]) -> list[Any]:
    """Give names their prefixes, but for the whole graph's input and output, and the parts one format version."""
    first, middle, last = parts
    version = max(part.ir_version for part in parts)
    del middle.metadata_props[:]
    done = [
        onnx.compose.add_prefix(first, "before/", rename_inputs=False),
        onnx.compose.add_prefix(middle, "network/"),
        onnx.compose.add_prefix(last, "after/", rename_outputs=False),
    ]
    for part in done:
        part.ir_version = version
    return done


def _converted(part: Any, version: int) -> Any:
    return part if _opset(part) == version else onnx.version_converter.convert_version(part, version)


def _opset(proto: Any) -> int:
    return next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), OPSET)


def _session(proto: Any, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise InvalidInputError(
            f"{path.name} can't be opened by ONNX Runtime ({_first(error)}); export it again."
        ) from None


def _same_for_two(proto: Any, graph: ForeignGraph, pair: Tensor, expected: list[Tensor], path: Path) -> bool:
    try:
        found = _session(proto, path).run(list(graph.outputs), {graph.input: pair.numpy()})
    except _REFUSALS:
        return False
    return all(
        mine.shape == theirs.shape and np.allclose(mine, theirs, atol=1e-3 * max(float(np.abs(theirs).max()), 1e-6))
        for mine, theirs in zip(found, (value.numpy() for value in expected), strict=True)
    )


def _chosen(given: str | None, available: list[str], key: str, path: Path) -> str:
    name = given if given is not None else available[0] if available else ""
    if name not in available:
        raise InvalidInputError(f"{path.name} has no {name!r} ({key}); it has {', '.join(available) or 'none'}.")
    return name


def _output(given: str | None, index: int, available: list[str], path: Path) -> str:
    if given is None and index >= len(available):
        raise InvalidInputError(
            f"{path.name} has the one output {', '.join(available)}, and this kind of decoding needs {index + 1}."
        )
    return _chosen(given if given is not None else available[index], available, "decode", path)


def _first(error: Exception) -> str:
    return " ".join((str(error).splitlines() or [type(error).__name__])[0].split())[:160]

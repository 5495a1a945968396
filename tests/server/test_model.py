from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from poseloop.errors import InvalidInputError
from poseloop.types import MODEL_METADATA_KEY, ModelSpec
from poseloop_server.model import ModelFailedError, PoseModel
from poseloop_server.onnx_file import precision_of
from poseloop_server.providers import ProviderUnavailableError

from tests.models import write_spot_model


def test_a_model_finds_what_is_there(spot_model: Path) -> None:
    model = PoseModel(spot_model, "mouse")
    images = np.zeros((2, 20, 30, 1), np.uint8)
    images[0, 3, 4] = images[1, 19, 29] = 255
    keypoints = model.infer(images)
    assert keypoints.dtype == np.float32
    assert keypoints.tolist() == [[[[4, 3, 1], [14, -2, 1]]], [[[29, 19, 1], [39, 14, 1]]]]
    assert (model.name, model.spec.name, model.precision) == ("mouse", "spot", "fp32")
    assert len(model.sha256) == 64
    assert (model.fixed_width, model.fixed_height) == (None, None)


def test_a_failing_graph_is_our_error(spot_model: Path) -> None:
    model = PoseModel(spot_model)
    with pytest.raises(ModelFailedError, match="'spot' failed"):
        model.infer(np.zeros((1, 20, 30, 1), np.uint8))


def test_an_absent_provider_says_what_is_missing(spot_model: Path) -> None:
    with pytest.raises(ProviderUnavailableError, match="pip install onnxruntime-gpu"):
        PoseModel(spot_model, provider="tensorrt")


def _spoil_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _spoil_description(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {MODEL_METADATA_KEY: "{}"})


def _spoil_keypoints(model: onnx.ModelProto) -> None:
    spec = ModelSpec(name="x", keypoints=["one"], color="gray", native_width=8, native_height=8)
    helper.set_model_props(model, {MODEL_METADATA_KEY: spec.model_dump_json()})


def _spoil_colour(model: onnx.ModelProto) -> None:
    spec = ModelSpec(name="x", keypoints=["a", "b"], color="rgb", native_width=8, native_height=8)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 1
    helper.set_model_props(model, {MODEL_METADATA_KEY: spec.model_dump_json()})


def _spoil_size(model: onnx.ModelProto) -> None:
    spec = ModelSpec(name="x", keypoints=["a", "b"], color="gray", native_width=10**9, native_height=10**9)
    helper.set_model_props(model, {MODEL_METADATA_KEY: spec.model_dump_json()})


def _spoil_input_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "image"
    for node in model.graph.node:
        node.input[:] = ["image" if name == "frames" else name for name in node.input]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_spoil_metadata, "carries no 'poseloop.model'"),
        (_spoil_description, "not valid at"),
        (_spoil_keypoints, "'keypoints' is tensor"),
        (_spoil_colour, "'frames' is tensor"),
        (_spoil_size, "1000000000x1000000000 pixels, which no camera has"),
        (_spoil_input_name, "one input 'frames'"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused(tmp_path: Path, spoil, said: str) -> None:
    path = tmp_path / "spoilt.onnx"
    write_spot_model(path, ("a", "b"))
    model = onnx.load(path)
    spoil(model)
    onnx.save(model, path)
    with pytest.raises(InvalidInputError, match=said):
        PoseModel(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(InvalidInputError, match="can't be loaded as an ONNX model"):
        PoseModel(path)


@pytest.mark.parametrize(("dtype", "expected"), [(np.float32, "fp32"), (np.float16, "fp16")])
def test_precision_is_what_most_weights_are(dtype, expected: str) -> None:
    big = numpy_helper.from_array(np.zeros((30, 30), dtype), "big")
    small = numpy_helper.from_array(np.zeros(3, np.float32), "small")
    graph = helper.make_graph([], "weights", [], [], [big, small])
    assert precision_of(helper.make_model(graph).SerializeToString()) == expected


def test_quantised_graphs_are_int8() -> None:
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "q", [value], [])
    assert precision_of(helper.make_model(graph).SerializeToString()) == "int8"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_precision_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        precision_of(data)

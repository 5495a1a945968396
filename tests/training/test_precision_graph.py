"""Graphs in fewer bits: what is rewritten gives the same numbers, and integers run through without a detour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from poseloop.arena import Arena, ArenaSettings
from poseloop_server.bundled import arena_model_path
from poseloop_training.byte_stem import take_bytes
from poseloop_training.export import write_graph
from poseloop_training.graph import fold_padding, network_nodes, simplify
from poseloop_training.half import to_half
from poseloop_training.network import NetworkConfig, PoseNetwork
from poseloop_training.quantise import MOST_LEFT_OUT, quantise

SIZE = (320, 240)
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def session(model: onnx.ModelProto, optimised: Path | None = None) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimised:
        options.optimized_model_filepath = str(optimised)
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frames: np.asarray(opened.run(None, {"frames": frames})[0])


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm((one - other)[..., :2], axis=-1)


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena(ArenaSettings(width=SIZE[0], height=SIZE[1], seed=31))


@pytest.fixture(scope="module")
def frames(arena: Arena) -> list[NDArray[np.uint8]]:
    return [arena.frame(index)[..., None] for index in range(0, 800, 40)]


@pytest.fixture
def trained() -> onnx.ModelProto:
    """The bundled model, whose heatmaps have peaks."""
    return fold_padding(simplify(arena_model_path()))


def untrained(folder: Path, config: NetworkConfig) -> onnx.ModelProto:
    """A network whose heatmaps vary, and with them the coordinates."""
    torch.manual_seed(3)
    network = PoseNetwork(config).eval()
    network.head.last[-1].weight.data[:] *= 30
    write_graph(network, np.zeros((96, 128, config.channels), np.uint8), folder / "x.onnx")
    return onnx.load(str(folder / "x.onnx"))


def test_padding_before_convolutions_becomes_theirs(trained: onnx.ModelProto, frames: list[NDArray[np.uint8]]) -> None:
    before = simplify(arena_model_path())
    kinds = [Counter(node.op_type for node in model.graph.node) for model in (before, trained)]
    assert kinds[0]["Pad"] > kinds[1]["Pad"] == 1  # that of the frame, whose size is not known
    np.testing.assert_array_equal(session(trained)(frames[0][None]), session(before)(frames[0][None]))


@pytest.mark.parametrize("native", [(128, 96), (127, 95)])
@pytest.mark.parametrize(
    ("channels", "scale", "backbone"),
    [
        (1, 0.5, "tf_efficientnet_lite0"),
        (3, 0.5, "tf_efficientnet_lite0"),
        (1, 1 / 3, "tf_efficientnet_lite0"),
        (3, 1.0, "tf_efficientnet_lite0"),
        (1, 0.5, "resnet10t"),
    ],
)
def test_bytes_taken_as_they_are_give_the_same_keypoints(
    channels: int, scale: float, backbone: str, native: tuple[int, int], tmp_path: Path
) -> None:
    config = NetworkConfig(keypoints=3, channels=channels, input_scale=scale, backbone=backbone, width=16)
    model = untrained(tmp_path, config)
    as_it_was = session(model)
    rewritten, stem = take_bytes(model, config.most_stride, native)
    assert stem is not None
    onnx.checker.check_model(rewritten, full_check=True)
    cuts = any(node.op_type == "Slice" and "frames" in node.input for node in rewritten.graph.node)
    assert cuts == any(size % round(1 / scale) for size in native)
    run = session(rewritten)
    for count, height, width in ((1, 96, 126), (2, 101, 67), (1, 64, 161), (1, 97, 127)):
        images = np.random.default_rng(width).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
        expected, got = as_it_was(images), run(images)
        assert got.shape == expected.shape
        if cuts or not any(size % round(1 / scale) for size in (width, height)):
            # Beyond the border lies a whole grey level, where the network saw its mean: half a level beside it.
            assert np.median(distance(got, expected)) < 0.05
            np.testing.assert_allclose(got[..., 2], expected[..., 2], atol=0.02)


@pytest.mark.parametrize(("scale", "backbone"), [(0.75, "tf_efficientnet_lite0"), (0.5, "resnet10t")])
def test_what_no_byte_can_stand_for_stays_as_it_is(scale: float, backbone: str, tmp_path: Path) -> None:
    # A scale that is no whole number of pixels; means of red, green and blue that are different grey levels.
    model = untrained(tmp_path, NetworkConfig(keypoints=2, input_scale=scale, backbone=backbone, width=16))
    content = model.SerializeToString()
    same, stem = take_bytes(model, 16, (128, 96))
    assert stem is None
    assert same.SerializeToString() == content


def test_integers_cost_little_and_run_without_a_detour(
    trained: onnx.ModelProto, arena: Arena, frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    fp32 = session(trained)
    convolutions = sum(node.op_type == "Conv" for node in trained.graph.node)
    found = quantise(trained, 8, SIZE, frames, lambda _: 0.0, 1.0)
    assert found.takes_bytes
    assert found.left_out == ()
    onnx.checker.check_model(found.model, full_check=True)
    assert {version.domain for version in found.model.opset_import} == {""}
    int8 = session(found.model, tmp_path / "optimised.onnx")
    errors = {}
    unseen = range(20, 820, 40)
    for name, run in (("fp32", fp32), ("int8", int8)):
        seen = np.concatenate([run(arena.frame(index)[None, ..., None]) for index in unseen])[:, 0]
        labels = np.stack([arena.keypoints(index) for index in unseen])
        errors[name] = float(np.linalg.norm(seen[..., :2] - labels, axis=-1).mean())
    assert errors["int8"] < errors["fp32"] + 0.3
    kinds = Counter(node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node)
    assert kinds["QLinearConv"] == convolutions
    assert kinds["Conv"] == kinds["FusedConv"] == kinds["QuantizeLinear"] == kinds["Resize"] == 0
    # Only the maps become floats, for the decoding.
    assert kinds["DequantizeLinear"] <= 4
    assert kinds["Transpose"] <= 3


def test_any_number_and_size_of_frames_in_integers(trained: onnx.ModelProto, frames: list[NDArray[np.uint8]]) -> None:
    fp32 = session(trained)
    int8 = session(quantise(trained, 8, SIZE, frames, lambda _: 0.0, 1.0).model)
    for height, width in ((240, 320), (239, 301), (201, 299)):
        cut = np.ascontiguousarray(np.stack([image[:height, :width] for image in frames[:3]]))
        together = int8(cut)
        assert np.median(distance(together, fp32(cut))) < 1
        np.testing.assert_allclose(together[1:2], int8(cut[1:2]), atol=1e-3)


@pytest.mark.parametrize("chosen", [(3, 4), (2, 5), (15, 21)])  # before limits, before convolutions, before Relu
def test_layers_are_left_out_only_where_it_helps(
    chosen: tuple[int, int], trained: onnx.ModelProto, frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    layers = [node.name for node in take_bytes(trained, 8, SIZE)[0].graph.node if node.op_type == "Conv"]
    sensitive = {layers[place] for place in chosen}

    def shift(candidate: onnx.ModelProto) -> float:
        """As if two layers decided everything: 1 px for each that is quantised."""
        makers = {output: node.op_type for node in candidate.graph.node for output in node.output}
        return 0.1 + sum(
            node.name in sensitive and makers.get(node.input[1]) == "DequantizeLinear" for node in candidate.graph.node
        )

    found = quantise(fold_padding(simplify(arena_model_path())), 8, SIZE, frames[:2], shift, 0.5)
    assert set(found.left_out) == sensitive
    session(found.model, tmp_path / "optimised.onnx")(frames[0][None])
    kinds = Counter(node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node)
    assert kinds["QLinearConv"] == len(layers) - len(sensitive)
    none = quantise(fold_padding(simplify(arena_model_path())), 8, SIZE, frames[:2], shift, 3.0)
    assert none.left_out == ()
    hopeless = quantise(fold_padding(simplify(arena_model_path())), 8, SIZE, frames[:1], lambda _: 9.0, 0.5)
    assert len(hopeless.left_out) <= MOST_LEFT_OUT


def test_half_precision_is_the_network_and_nothing_else(
    trained: onnx.ModelProto, frames: list[NDArray[np.uint8]]
) -> None:
    fp32 = session(trained)
    weights = sum(node.op_type == "Conv" for node in network_nodes(trained))
    half = to_half(trained)
    onnx.checker.check_model(half, full_check=True)
    halves = [tensor for tensor in half.graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    assert sum(len(tensor.dims) == 4 for tensor in halves) == weights
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    to_half_count = sum(helper.get_attribute_value(node.attribute[0]) == TensorProto.FLOAT16 for node in casts)
    assert to_half_count == 1, "the image enters the network once"
    run = session(half)
    for image in frames[:5]:
        got, expected = run(image[None]), fp32(image[None])
        assert got.dtype == np.float32
        assert distance(got, expected).max() < 0.2

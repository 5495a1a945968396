"""Model files: the same numbers as PyTorch at any size, the description inside, and nothing else needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec
from poseloop_training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from poseloop_training.export import (
    DivergedError,
    ParityError,
    check_parity,
    export_model,
    refuse_diverged,
)
from poseloop_training.export_cli import export
from poseloop_training.initialise import build_network
from poseloop_training.model_runner import ModelRunner
from poseloop_training.network import NetworkConfig, PoseNetwork

SPEC = ModelSpec(name="mouse", keypoints=["a", "b", "c"], color="rgb", native_width=200, native_height=150)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    arena = Arena(ArenaSettings(width=200, height=150, color="rgb"))
    return [arena.frame(index) for index in (0, 400)]


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    return build_network(NetworkConfig(keypoints=3, width=16), "imagenet").eval()


@pytest.fixture(scope="module")
def model(network: PoseNetwork, images: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mouse.onnx"
    parity = export_model(network, SPEC, images, path)
    assert parity.largest_px <= 0.01
    assert parity.frames >= 4
    assert 0 < parity.compared <= 3 * parity.frames
    assert len(parity.sizes) >= 2
    assert any(width % 2 and height % 2 for width, height in parity.sizes)
    return path


@pytest.mark.parametrize(("count", "height", "width"), [(1, 150, 200), (3, 149, 211), (2, 64, 64), (1, 301, 77)])
def test_any_number_and_size_of_frames(
    model: Path, network: PoseNetwork, count: int, height: int, width: int, images: list[NDArray[np.uint8]]
) -> None:
    frame = np.resize(images[0], (height, width, 3))
    got = ModelRunner(model).predict([frame] * count)
    with torch.inference_mode():
        expected = network(torch.from_numpy(frame)[None])[0].numpy()
    assert got.shape == (count, 1, 3, 3)
    for one in got:
        np.testing.assert_allclose(one, expected, atol=0.01)


def test_the_description_is_inside(model: Path) -> None:
    assert ModelRunner(model).spec == SPEC


def test_the_graph_is_plain(model: Path) -> None:
    graph = onnx.load(str(model))
    assert {entry.domain for entry in graph.opset_import} == {""}
    assert [i.name for i in graph.graph.input] == ["frames"]
    assert [o.name for o in graph.graph.output] == ["keypoints"]
    output = graph.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in output[1:]] == [1, 3, 3]
    # Convolutions with TensorFlow's padding carry constants, not shapes computed while running.
    assert sum(node.op_type == "Shape" for node in graph.graph.node) < 40


def test_the_graph_clips_no_integers(model: Path) -> None:
    # OpenVINO 2025.4 gets a Clip of integers without an upper bound wrong, and keypoints lie many pixels off.
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(model))).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    clipped = [kinds[node.output[0]] for node in graph.node if node.op_type == "Clip" and node.output[0] in kinds]
    assert set(clipped) <= {onnx.TensorProto.FLOAT}


def test_a_graph_of_another_network_is_refused(model: Path, images: list[NDArray[np.uint8]]) -> None:
    torch.manual_seed(1)
    other = build_network(NetworkConfig(keypoints=3, width=16), "imagenet").eval()
    with pytest.raises(ParityError, match=r"differs from the network by .* nothing was written"):
        check_parity(other, model, images)


def test_a_network_that_diverged_is_refused(images: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    broken = PoseNetwork(NetworkConfig(keypoints=3, width=16)).eval()
    next(broken.head.parameters()).data[0] = float("nan")
    with pytest.raises(DivergedError, match="lower --learning-rate"):
        refuse_diverged(broken, images)
    with pytest.raises(DivergedError, match="lower --learning-rate"):
        export_model(broken, SPEC, images, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_gives_no_numbers_is_refused(
    network: PoseNetwork, model: Path, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    content = onnx.load(str(model))
    for weights in content.graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.ndim == 4:
            weights.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(content, str(tmp_path / "x.onnx"))
    with pytest.raises(ParityError, match="differs from the network by nan px"):
        check_parity(network, tmp_path / "x.onnx", images)


def test_where_maps_are_flat_it_says_that_no_coordinate_was_compared(
    images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    flat = PoseNetwork(NetworkConfig(keypoints=3, width=16)).eval()
    flat.head.last[-1].weight.data[:] = 0
    parity = export_model(flat, SPEC, images, tmp_path / "x.onnx")
    assert parity.compared == 0
    assert "no coordinate could be compared" in str(parity)
    flat.head.last[-1].bias.data[:] += 1
    with pytest.raises(ParityError, match="in confidence"):
        check_parity(flat, tmp_path / "x.onnx", images)


def test_checkpoint_becomes_the_same_model(
    network: PoseNetwork, model: Path, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "best.ckpt", Checkpoint(SPEC, network.config, network.state_dict()))
    assert read_checkpoint(tmp_path / "best.ckpt").spec == SPEC
    export(tmp_path / "best.ckpt", tmp_path / "again.onnx", None)
    np.testing.assert_allclose(ModelRunner(tmp_path / "again.onnx").predict(images), ModelRunner(model).predict(images))


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(InvalidInputError, match="is no checkpoint of `poseloop train`"):
        export(tmp_path / "other.ckpt", tmp_path / "x.onnx", None)
    with pytest.raises(InvalidInputError, match=r"ends in \.onnx"):
        export(tmp_path / "other.ckpt", tmp_path / "x.pt", None)
    assert not (tmp_path / "x.onnx").exists()

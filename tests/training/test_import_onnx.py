"""Foreign ONNX networks: what a small YAML says about them holds, to a hundredth of a pixel."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop_training.importers.base import ImportRequest
from poseloop_training.importers.foreign_onnx import import_onnx
from poseloop_training.importers.lightning_pose import configuration, import_lightning_pose
from poseloop_training.importers.onnx_config import DecodeConfig, InputConfig, OnnxConfig, parse_config
from poseloop_training.importers.onnx_parts import After, Before
from poseloop_training.model_runner import ModelRunner
from torch import Tensor, nn

WHERE = Path("net.yaml")


class Heatmaps(nn.Module):
    """Means of blocks of the first and the last channel, so that swapped colours are seen; offsets tell the cell."""

    def __init__(self, offsets: bool = False, stride: int = 4, last: bool = False) -> None:
        super().__init__()
        self.offsets, self.stride, self.last = offsets, stride, last

    def forward(self, image: Tensor) -> Any:
        if self.last:
            image = image.permute(0, 3, 1, 2)
        maps = nn.functional.avg_pool2d(torch.cat((image[:, :1], image[:, -1:]), dim=1), self.stride)
        offsets = torch.cat((maps * 0 + 0.25, maps * 0 - 0.5), dim=1)
        if self.last:
            maps, offsets = maps.permute(0, 2, 3, 1), offsets.permute(0, 2, 3, 1)
        return (maps, offsets) if self.offsets else maps


class SimCC(nn.Module):
    """Scores along both axes, two cells a pixel, of one keypoint in the first channel."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = image[:, :1].amax(dim=2).repeat_interleave(2, dim=2)
        y = image[:, :1].amax(dim=3).repeat_interleave(2, dim=2)
        return x, y


class OneOnly(Heatmaps):
    """A network whose graph has the batch written into it."""

    def forward(self, image: Tensor) -> Any:
        return super().forward(image.reshape(1, 3, 64, 64))


def write_network(
    path: Path, module: nn.Module, size: tuple[int, int] | None, names: list[str], opset: int = 17, last: bool = False
) -> Path:
    width, height = size or (64, 64)
    example = torch.zeros(1, height, width, 3) if last else torch.zeros(1, 3, height, width)
    axes = {"image": {0: "b"} | ({} if size else {2: "h", 3: "w"})}
    if isinstance(module, OneOnly):
        axes = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), str(path), input_names=["image"], output_names=names, dynamic_axes=axes,
            opset_version=opset, dynamo=False,
        )  # fmt: skip
    return path


def write_yaml(path: Path, **content: Any) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def spots(width: int, height: int, red: tuple[float, float], blue: tuple[float, float]) -> NDArray[np.uint8]:
    """A dark frame with a wide red and a wide blue spot."""
    y, x = np.mgrid[:height, :width]
    frame = np.zeros((height, width, 3))
    for channel, (cx, cy) in ((0, red), (2, blue)):
        frame[..., channel] = 250 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 14**2))
    return frame.round().astype(np.uint8)


PIXELS = {"mean": [0], "std": [255]}


@pytest.mark.parametrize("opset", [12, 17, 19])
def test_heatmaps_of_any_size(opset: int, tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.onnx", Heatmaps(), None, ["maps"], opset)
    config = write_yaml(
        tmp_path / "net.yaml",
        keypoints=["red", "blue"],
        skeleton=[["red", "blue"]],
        input=PIXELS | {"multiple": 32},
        decode={"kind": "heatmap", "stride": 4, "refine": "mean", "window": 15},
    )
    import_onnx(network, config, ImportRequest(tmp_path / "m.onnx", name="spots", size=(160, 120)))
    runner = ModelRunner(tmp_path / "m.onnx")
    assert runner.spec.name == "spots"
    assert runner.spec.skeleton == [("red", "blue")]
    frames = [spots(150, 110, (70, 50), (40, 60)), spots(150, 110, (30, 40.5), (90.25, 70))]
    got = runner.predict(frames)[:, 0, :, :2]
    np.testing.assert_allclose(got, [[(70, 50), (40, 60)], [(30, 40.5), (90.25, 70)]], atol=0.35)
    assert {entry.domain for entry in onnx.load(str(tmp_path / "m.onnx")).opset_import} <= {"", "ai.onnx"}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("last", [False, True])
def test_colours_layouts_and_offsets(color: str, last: bool, tmp_path: Path) -> None:
    network = write_network(tmp_path / "n.onnx", Heatmaps(True, 4, last), (96, 64), ["maps", "away"], last=last)
    layout = "nhwc" if last else "nchw"
    config = write_yaml(
        tmp_path / "n.yaml",
        keypoints=["first", "last"],
        input=PIXELS | {"size": [96, 64], "fit": "stretch", "color": color, "layout": layout},
        decode={
            "kind": "heatmap_offset", "stride": 4, "offset_unit": 2.0, "offset_order": "halves", "layout": layout,
            "offsets": "away",
        },
    )  # fmt: skip
    import_onnx(network, config, ImportRequest(tmp_path / "m.onnx", size=(192, 128)))
    red, blue = (61, 41), (121, 81)
    got = ModelRunner(tmp_path / "m.onnx").predict([spots(192, 128, red, blue)])[0, 0]
    # The best cell's centre, and what the offsets say: half a network pixel to the right, one up; twice in the frame.
    cells = [((np.array(p) + 0.5) / 2 - 0.5) // 4 * 4 + 1.5 for p in (red, blue)]
    expected = [(c + (0.5, -1.0) + 0.5) * 2 - 0.5 for c in cells]
    np.testing.assert_allclose(got[:, :2], expected if color == "rgb" else expected[::-1], atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8])
def test_images_of_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    class Cast(Heatmaps):
        def forward(self, image: Tensor) -> Any:
            return super().forward(image.float())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Cast(), (torch.zeros(1, 3, 64, 96, dtype=dtype),), str(tmp_path / "n.onnx"), input_names=["image"],
            output_names=["maps"], dynamic_axes={"image": {0: "b"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    config = write_yaml(
        tmp_path / "n.yaml",
        keypoints=["red", "blue"],
        input={"size": [96, 64]},
        decode={"kind": "heatmap", "stride": 4},
    )
    import_onnx(tmp_path / "n.onnx", config, ImportRequest(tmp_path / "m.onnx"))
    got = ModelRunner(tmp_path / "m.onnx").predict([spots(96, 64, (61, 41), (29, 21))])[0, 0]
    np.testing.assert_allclose(got[:, :2], [(61.5, 41.5), (29.5, 21.5)], atol=0.01)


def rtmpose_reference(frame: NDArray[np.uint8], box: list[float], size: tuple[int, int]) -> NDArray[np.float64]:
    """MMPose's way: the padded box in the network's proportions through an affine warp, argmax, and back."""
    width, height = box[2] * 1.25, box[3] * 1.25
    scale = max(width / size[0], height / size[1])
    corner = np.array(box[:2]) + np.array(box[2:]) / 2 - np.array(size) / 2 * scale
    matrix = np.array([[1 / scale, 0, -corner[0] / scale], [0, 1 / scale, -corner[1] / scale]])
    image = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR)[..., 0]
    x, y = image.max(axis=0).repeat(2).argmax() / 2, image.max(axis=1).repeat(2).argmax() / 2
    return np.array([x, y]) * scale + corner


def test_simcc_in_a_box(tmp_path: Path) -> None:
    size, box = (48, 64), [70.0, 20.0, 50.0, 70.0]
    network = write_network(tmp_path / "rtm.onnx", SimCC(), size, ["simcc_x", "simcc_y"])
    config = write_yaml(
        tmp_path / "rtm.yaml",
        keypoints=["nose"],
        input=PIXELS | {"size": list(size), "box": box, "box_padding": 1.25, "sampling": "pixels"},
        decode={"kind": "simcc", "x": "simcc_x", "y": "simcc_y", "split": 2.0},
    )
    import_onnx(network, config, ImportRequest(tmp_path / "m.onnx", size=(200, 120)))
    frame = np.zeros((120, 200, 3), np.uint8)
    cv2.circle(frame, (97, 61), 4, (250, 0, 0), -1)
    frame[61, 97] = (255, 0, 0)
    frame = cv2.GaussianBlur(frame, (9, 9), 2)
    got = ModelRunner(tmp_path / "m.onnx").predict([frame])[0, 0, 0]
    np.testing.assert_allclose(got[:2], rtmpose_reference(frame, box, size), atol=0.01)
    np.testing.assert_allclose(got[:2], (97, 61), atol=2)
    assert 0.5 < got[2] <= 1


@pytest.mark.parametrize("frame_size", [(90, 120), (131, 77)])
def test_the_whole_frame_as_opencv_resizes_it(frame_size: tuple[int, int]) -> None:
    width, height = frame_size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    config = OnnxConfig.model_validate(
        {"keypoints": ["a"], "input": {"size": [60, 40], "fit": "stretch"}, "decode": {"kind": "heatmap", "stride": 1}}
    )
    image, geometry = Before(config.input, torch.float32)(torch.from_numpy(frame)[None])
    expected = cv2.resize(frame, (60, 40), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1).astype(float)
    assert np.abs(image[0].numpy() - expected).max() <= 1
    scale = np.array([width / 60, height / 40])
    np.testing.assert_allclose(geometry.numpy(), [*scale, *(0.5 * scale - 0.5)], rtol=1e-5)


def test_a_letterbox_keeps_the_proportions() -> None:
    config = OnnxConfig.model_validate(
        {
            "keypoints": ["a"],
            "input": {"size": [64, 64], "fill": 114},
            "decode": {"kind": "heatmap", "stride": 1},
        }
    )
    frame = np.full((50, 128, 3), 200, np.uint8)
    image, geometry = Before(config.input, torch.float32)(torch.from_numpy(frame)[None])
    rows = image[0, 0, :, 30].numpy()
    assert set(rows) == {114.0, 200.0}
    assert (rows == 200).sum() == 25
    assert geometry[0] == geometry[1] == 2
    # The frame's middle is the image's middle, both counted from the centres of their first pixels.
    np.testing.assert_allclose(31.5 * geometry[:2] + geometry[2:], [63.5, 24.5])


def test_the_quarter_and_the_softmax() -> None:
    maps = torch.zeros(1, 2, 9, 12)
    maps[0, 0, 4, 6], maps[0, 0, 4, 7], maps[0, 0, 3, 6] = 1.0, 0.5, 0.25
    maps[0, 1, 0, 3] = 0.5
    still = torch.tensor([1.0, 1.0, 0.0, 0.0])
    config = {"kind": "heatmap", "stride": 4, "first_cell": 0}
    quarter = After(_decode(config | {"refine": "quarter"}), 2)(maps, maps, still)[0, 0]
    torch.testing.assert_close(quarter, torch.tensor([[25.0, 15.0, 1.0], [12.0, 0.0, 0.5]]))
    soft = After(_decode(config | {"refine": "softmax", "temperature": 100}), 2)(maps, maps, still)[0, 0]
    torch.testing.assert_close(soft, torch.tensor([[24.0, 16.0, 1.0], [12.0, 0.0, 1.0]]), atol=1e-3, rtol=0)


def _decode(decode: dict[str, Any]) -> Any:
    return OnnxConfig.model_validate({"keypoints": ["a"], "decode": decode}).decode


LIGHTNING = {
    "data": {
        "image_resize_dims": {"height": 64, "width": 64},
        "keypoint_names": ["red", "blue"],
        "downsample_factor": 2,
    },
    "model": {"model_type": "heatmap"},
}


@pytest.mark.parametrize("factor", [1, 2])
def test_lightning_poses_rule_finds_the_cell(factor: int) -> None:
    config = configuration(LIGHTNING | {"data": LIGHTNING["data"] | {"downsample_factor": factor}}, WHERE)
    y, x = np.mgrid[:16, :16]
    blobs = [np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.25**2)) for cx, cy in ((5, 9), (7, 6))]
    maps = torch.tensor(np.array(blobs), dtype=torch.float32)[None]
    maps = maps / maps.sum(dim=(2, 3), keepdim=True)
    found = After(config.decode, 2)(maps, maps, torch.tensor([1.0, 1.0, 0.0, 0.0]))[0, 0]
    expected = torch.tensor([[5.0, 9.0], [7.0, 6.0]]) * 2**factor
    torch.testing.assert_close(found[:, :2], expected, atol=0.02, rtol=0)
    assert (found[:, 2] > 0.8).all()


def test_a_lightning_pose_folder(tmp_path: Path) -> None:
    (tmp_path / "exports_onnx").mkdir()
    with pytest.raises(InvalidInputError, match=r"holds no exports_onnx/\*\.onnx"):
        import_lightning_pose(tmp_path, ImportRequest(tmp_path / "m.onnx"))
    file = write_network(tmp_path / "exports_onnx/best_fp32.onnx", Heatmaps(), (64, 64), ["heatmaps"])
    write_yaml(tmp_path / "config.yaml", **LIGHTNING)
    for source in (tmp_path, file):
        import_lightning_pose(source, ImportRequest(tmp_path / "m.onnx", size=(128, 96)))
    frame = spots(128, 96, (64, 40), (30, 50))
    got = ModelRunner(tmp_path / "m.onnx").predict([frame])[0, 0, :, :2]
    np.testing.assert_allclose(got, [(64, 40), (30, 50)], atol=4)
    write_yaml(tmp_path / "config.yaml", **LIGHTNING | {"model": {"model_type": "heatmap_mhcrnn"}})
    with pytest.raises(InvalidInputError, match="heatmap_mhcrnn can't be imported; what can be: heatmap"):
        import_lightning_pose(tmp_path, ImportRequest(tmp_path / "m.onnx"))
    write_yaml(tmp_path / "config.yaml", a=1)
    with pytest.raises(InvalidInputError, match="no configuration of Lightning Pose"):
        import_lightning_pose(tmp_path, ImportRequest(tmp_path / "m.onnx"))


def test_a_graph_with_its_batch_inside_takes_one_frame_at_a_time(tmp_path: Path) -> None:
    network = write_network(tmp_path / "n.onnx", OneOnly(), (64, 64), ["maps"])
    config = write_yaml(
        tmp_path / "n.yaml",
        keypoints=["red", "blue"],
        input=PIXELS | {"size": [64, 64]},
        decode={"kind": "heatmap", "stride": 4},
    )
    import_onnx(network, config, ImportRequest(tmp_path / "m.onnx"))
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    frames = [spots(64, 64, (10, 20), (40, 50)), spots(64, 64, (50, 20), (20, 30))]
    got = ModelRunner(tmp_path / "m.onnx").predict(frames)
    np.testing.assert_allclose(got[:, 0, :, :2], [[(9.5, 21.5), (41.5, 49.5)], [(49.5, 21.5), (21.5, 29.5)]], atol=4)


def refused(tmp_path: Path, sentence: str, network: Path, **content: Any) -> None:
    config = write_yaml(tmp_path / "wrong.yaml", **content)
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        import_onnx(network, config, ImportRequest(tmp_path / "x.onnx"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.onnx").exists()


def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.onnx", Heatmaps(), (64, 64), ["maps"])
    good: dict[str, Any] = {
        "keypoints": ["a", "b"],
        "input": {"size": [64, 64]},
        "decode": {"kind": "heatmap", "stride": 4},
    }
    refused(tmp_path, r"write input.size: \[64, 64\]", network, **good | {"input": {}})
    refused(tmp_path, r"write input.size: \[64, 64\]", network, **good | {"input": {"size": [32, 64]}})
    refused(tmp_path, "images of 3 channels", network, **good | {"input": {"size": [64, 64], "color": "gray"}})
    refused(tmp_path, "3 keypoints by heatmap need 3", network, **good | {"keypoints": ["a", "b", "c"]})
    refused(
        tmp_path, "no 'logits'", network, **good | {"decode": {"kind": "heatmap", "stride": 4, "heatmaps": "logits"}}
    )
    refused(tmp_path, "the one output maps", network, **good | {"decode": {"kind": "simcc"}})
    refused(tmp_path, "no 'picture' .*image", network, **good | {"input": {"size": [64, 64], "name": "picture"}})
    refused(tmp_path, "decode.kind", network, **good | {"decode": {"kind": "paf", "stride": 4}})
    refused(tmp_path, "decode: heatmaps need stride", network, **good | {"decode": {"kind": "heatmap"}})
    refused(tmp_path, "a name stands twice", network, **good | {"keypoints": ["a", "a"]})
    refused(tmp_path, "'c' is none of the keypoints", network, **good | {"skeleton": [["a", "c"]]})
    refused(tmp_path, "input.sise", network, **good | {"input": {"sise": [64, 64]}})
    refused(tmp_path, "does not exist", tmp_path / "nowhere.onnx", **good)
    (tmp_path / "broken.onnx").write_bytes(network.read_bytes()[:500])
    refused(tmp_path, "is no ONNX file", tmp_path / "broken.onnx", **good)
    (tmp_path / "text.onnx").write_text("no graph")
    refused(tmp_path, "is no ONNX file", tmp_path / "text.onnx", **good)


def test_the_documentation_names_every_key_and_its_example_is_understood() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/importing.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    config = parse_config(yaml.safe_load(example[1]), WHERE)
    assert config.decode.kind == "simcc"
    for title, model in (("`input.`", InputConfig), ("`decode.`", DecodeConfig)):
        table = page[page.index(f"| {title} |") :].split("\n\n")[0]
        named = {
            name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)
        }
        assert named - {"input", "decode"} == set(model.model_fields), title


NUMBERS = st.one_of(st.floats(), st.integers(-3, 3000), st.none(), st.text(max_size=3))
KEYS = st.sampled_from([*InputConfig.model_fields, "nonsense"])
DECODE = st.sampled_from([*DecodeConfig.model_fields, "nonsense"])
VALUES = st.one_of(NUMBERS, st.lists(NUMBERS, max_size=5), st.sampled_from(["heatmap", "simcc", "none", "edge", "bgr"]))


@settings(max_examples=300)
@given(
    keypoints=st.one_of(st.lists(st.text(max_size=4), max_size=3), VALUES),
    given_input=st.one_of(st.dictionaries(KEYS, VALUES, max_size=4), VALUES),
    decode=st.one_of(st.dictionaries(DECODE, VALUES, max_size=4), VALUES),
)
def test_any_yaml_is_understood_or_refused_in_one_sentence(keypoints: Any, given_input: Any, decode: Any) -> None:
    sentence, config = "net.yaml: ", None
    try:
        config = parse_config({"keypoints": keypoints, "input": given_input, "decode": decode}, WHERE)
    except InvalidInputError as error:
        sentence = str(error)
    assert sentence.startswith("net.yaml: ")
    assert "\n" not in sentence
    if config is not None:
        # What was understood can be built, and is the same when it is written and read again.
        assert OnnxConfig.model_validate_json(config.model_dump_json()) == config
        Before(config.input, torch.float32)
        After(config.decode, len(config.keypoints))

"""DeepLabCut networks as model files: the coordinates that DeepLabCut gives, and a sentence for what can't be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import InvalidInputError
from poseloop_training.importers.base import ImportRequest
from poseloop_training.importers.deeplabcut import build, import_deeplabcut, read_source
from poseloop_training.importers.deeplabcut_network import Box
from poseloop_training.importers.resize import resize_like_opencv
from poseloop_training.model_runner import ModelRunner

from tests.training.deeplabcut_nets import BODYPARTS, configuration, state_dict, write_training_folder

# Two best cells closer to each other than this: either may win, and the goldens' author may have had the other.
UNCLEAR = 1e-3


def frame(width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    return Arena(ArenaSettings(width=width, height=height, color="rgb")).frame(3)


@pytest.mark.parametrize(("net", "file"), [("cspnext_s", ""), ("cspnext_s", "exported.pt"), ("resnet_50", "")])
def test_coordinates_are_deeplabcuts(net: str, file: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dlc-models" / net
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    golden = json.loads((folder / "golden.json").read_text())
    out = tmp_path / "m.onnx"
    import_deeplabcut(folder / file, ImportRequest(out, size=(160, 128)))
    runner, network = ModelRunner(out), build(read_source(folder))
    assert runner.spec.keypoints == golden["bodyparts"]
    assert runner.spec.swap_pairs == [("leftear", "rightear")]
    compared = 0
    for name, expected in list(golden["predictions"].items())[:6]:
        image = cv2.imread(str(shared_data / "openfield/labeled-data/m4s1" / name))[..., ::-1].copy()
        got = runner.predict([image])[0, 0]
        with torch.inference_mode():
            best = network.maps(network.scaled(torch.from_numpy(image)[None])).heatmaps.flatten(2).topk(2).values[0]
        clear = (best[:, 0] - best[:, 1] > UNCLEAR).numpy()
        distance = np.linalg.norm(got[:, :2] - np.array(expected)[:, :2], axis=1)
        assert distance[clear].max(initial=0) <= 0.05
        np.testing.assert_allclose(got[:, 2], np.array(expected)[:, 2], atol=2e-3)
        compared += int(clear.sum())
    assert compared >= 12


@pytest.mark.parametrize(
    ("net", "stride"),
    [("resnet_101", 8), ("hrnet_w18", 2), ("cspnext_m", 16), ("top_down_resnet_50", 16), ("top_down_hrnet_w32", 4)],
)
def test_every_kind_of_network_is_exported(net: str, stride: int, tmp_path: Path) -> None:
    folder = write_training_folder(tmp_path / "train", configuration(net))
    out = tmp_path / f"{net}.onnx"
    box = Box(20, 10, 60, 80) if net.startswith("top_down") else None
    import_deeplabcut(folder, ImportRequest(out, size=(128, 96), license="CC0-1.0"), box)
    runner = ModelRunner(out)
    assert runner.spec.decode.stride == stride
    assert runner.spec.license == "CC0-1.0"
    assert net in runner.spec.created_by
    network = build(read_source(folder), box)
    for image in (frame(), frame(131, 77)):
        got = runner.predict([image])
        assert got.shape == (1, 1, len(BODYPARTS), 3)
        assert np.isfinite(got).all()
        with torch.inference_mode():
            maps = network.maps(network.scaled(torch.from_numpy(image)[None]))
        np.testing.assert_allclose(got[0, 0], decoded_in_numpy(maps, stride, network, image), atol=0.02)


def decoded_in_numpy(maps: Any, stride: int, network: Any, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The rule of the format notes, cell by cell."""
    rows = []
    for heatmap, offset in zip(maps.heatmaps[0].numpy(), maps.offsets[0].numpy(), strict=True):
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        place = np.array([x, y]) * stride + 0.5 * stride + offset[:, y, x] * 7.2801
        if network.crop is not None:
            size = network.crop.right - network.crop.left
            place = place * size / 128 + (network.crop.left, network.crop.top)
        rows.append([*place, np.clip(heatmap[y, x], 0, 1)])
    return np.array(rows)


@pytest.mark.parametrize("net", ["hrnet_w32", "hrnet_w48", "cspnext_x"])
def test_the_larger_ones_build(net: str) -> None:
    config = configuration(net)
    assert state_dict(config)


def test_weights_keep_their_names(tmp_path: Path) -> None:
    names = {
        "resnet_50": "backbone.model.layer4.2.conv3.weight",
        "hrnet_w18": "backbone.model.stage4.2.fuse_layers.0.3.0.weight",
        "cspnext_s": "backbone.stage4.2.blocks.0.conv2.depthwise_conv.conv.weight",
    }
    for net, name in names.items():
        weights = state_dict(configuration(net))
        assert name in weights
        assert {key.split(".")[0] for key in weights} == {"backbone", "heads"}
        assert weights["heads.bodypart.locref_head.deconv_layers.0.weight"].shape[1] == 2 * len(BODYPARTS)


@pytest.mark.parametrize("box", [Box(20, 10, 60, 80), Box(-30, -20, 90, 50), Box(80, 60, 100, 100)])
def test_a_box_is_cut_out_as_opencv_would(box: Box, tmp_path: Path) -> None:
    network = build(read_source(write_training_folder(tmp_path, configuration("top_down_cspnext_s"))), box)
    image, crop = frame(), network.crop
    assert crop is not None
    side = max(box.width, box.height)
    assert crop.right - crop.left == pytest.approx(side, abs=1)
    assert (crop.left + crop.right) / 2 == pytest.approx(box.x + box.width / 2, abs=1)
    large = np.pad(image, ((200, 200), (200, 200), (0, 0)))
    part = large[crop.top + 200 : crop.bottom + 200, crop.left + 200 : crop.right + 200]
    expected = cv2.resize(part, (128, 128), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1).astype(float)
    got = network.scaled(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("old", "new"), [((80, 80), (128, 128)), ((512, 512), (256, 256)), ((33, 57), (96, 64))])
def test_scaling_is_opencvs_to_the_last_bit(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    got = resize_like_opencv(torch.from_numpy(image).permute(2, 0, 1)[None].float(), new)[0]
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), expected)


def test_colours_normalisation_sigmoid_and_no_offsets(tmp_path: Path) -> None:
    config = configuration("cspnext_s")
    config["data"]["colormode"] = "BGR"
    config["data"]["inference"].update(normalize_images=False, scale_to_unit_range=True)
    config["model"]["heads"]["bodypart"]["predictor"].update(apply_sigmoid=True, location_refinement=False)
    network = build(read_source(write_training_folder(tmp_path / "a", config)))
    write_training_folder(tmp_path / "b", configuration("cspnext_s"))
    shutil.copy(tmp_path / "a/snapshot-010.pt", tmp_path / "b/snapshot-010.pt")
    with pytest.raises(InvalidInputError, match=r"lacks locref_head\.deconv_layers\.0\.weight"):
        build(read_source(tmp_path / "b"))
    plain = network
    image = torch.from_numpy(frame())[None]
    with torch.inference_mode():
        maps = network.maps(network.scaled(image))
        features = plain.backbone(image.flip(3).permute(0, 3, 1, 2) / 255)
        expected = torch.sigmoid(plain.heatmap_head(features))
        place = network(image)[0, 0, :, :2]
    torch.testing.assert_close(maps.heatmaps, expected)
    assert maps.offsets is None
    assert ((place - 8) % 16 == 0).all()


def test_a_project_gives_the_network_and_the_skeleton(tmp_path: Path) -> None:
    shuffle = tmp_path / "mouse/dlc-models-pytorch/iteration-0/mouseOct30-trainset95shuffle1"
    config = configuration("cspnext_s")
    train = write_training_folder(shuffle / "train", config, "snapshot-200.pt")
    shutil.copy(train / "snapshot-200.pt", train / "snapshot-best-050.pt")
    (train / "snapshot-detector-300.pt").write_bytes(b"")
    (tmp_path / "mouse/config.yaml").write_text(yaml.safe_dump({"skeleton": [["snout", "leftear"], ["snout", "tail"]]}))
    for source in (tmp_path / "mouse", shuffle, train):
        assert read_source(source).file.name == "snapshot-best-050.pt"
    assert read_source(train / "snapshot-200.pt").file.name == "snapshot-200.pt"
    import_deeplabcut(tmp_path / "mouse", ImportRequest(tmp_path / "m.onnx", size=(64, 64)))
    assert ModelRunner(tmp_path / "m.onnx").spec.skeleton == [("snout", "leftear")]
    shutil.copytree(shuffle, shuffle.with_name("mouseOct30-trainset95shuffle2"))
    with pytest.raises(InvalidInputError, match=r"holds 2 trained networks; give the folder of one: .*shuffle2/train"):
        read_source(tmp_path / "mouse")


def test_numpy_numbers_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    folder = write_training_folder(tmp_path, configuration("cspnext_s"))
    content = torch.load(folder / "snapshot-010.pt", weights_only=True)
    content["metadata"]["metrics"] = {"test.mAP": np.float64(12.5)}
    torch.save(content, folder / "snapshot-010.pt")
    assert len(read_source(folder).weights) == len(content["model"])


REFUSED = {
    "dlcrnet_stride16_ms5": ({"heads.bodypart.type": "DLCRNetHead"}, "its head is DLCRNetHead with HeatmapPredictor"),
    "dekr_w32": ({"heads.bodypart.predictor.type": "DEKRPredictor"}, "HeatmapHead with DEKRPredictor"),
    "rtmpose_m": ({"heads.bodypart.type": "RTMCCHead", "heads.bodypart.predictor.type": "SimCCPredictor"}, "RTMCCHead"),
    "animaltokenpose": ({"backbone.type": "HRNetCoAM"}, "its backbone is HRNetCoAM"),
    "hrnet_neck": ({"neck": {"type": "Transformer"}}, "neck"),
    "hrnet_joined": ({"backbone.interpolate_branches": True}, "joins all four branches"),
    "hrnet_old": ({"backbone.only_high_res": False}, "joins all four branches"),
    "cspnext_relu": ({"backbone.activation_fn": "ReLU"}, "P5 with ReLU, not P5 with SiLU"),
    "cspnext_wide": ({"backbone.expand_ratio": 1.0}, "other proportions"),
    "unknown_net": ({"backbone.type": "ResNet", "backbone.model_name": "vit_large"}, "no network is known by the name"),
}


@pytest.mark.parametrize("net", REFUSED)
def test_what_cannot_be_decoded_is_refused_by_its_name(net: str, tmp_path: Path) -> None:
    changes, why = REFUSED[net]
    folder = write_training_folder(tmp_path, configuration("cspnext_s"))
    config = configuration("cspnext_s") | {"net_type": net}
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = config["model"]
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / "pytorch_config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InvalidInputError) as caught:
        build(read_source(folder))
    assert f"{net} can't be imported" in str(caught.value)
    assert why in str(caught.value)
    assert "resnet_*" in str(caught.value)
    assert "top_down_*" in str(caught.value)


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    folder = write_training_folder(tmp_path / "train", configuration("cspnext_s"))
    weights, config = folder / "snapshot-010.pt", folder / "pytorch_config.yaml"
    whole, text = weights.read_bytes(), config.read_text()

    def refused(sentence: str, source: Path = folder, box: Box | None = None) -> None:
        with pytest.raises(InvalidInputError, match=sentence) as caught:
            build(read_source(source), box)
        assert "\n" not in str(caught.value)

    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        weights.write_bytes(damaged)
        refused("can't be loaded as tensors and plain values")
    torch.save({"epoch": 1}, weights)
    refused("has no weights under 'model'")
    torch.save({"model": state_dict(configuration("cspnext_m"))}, weights)
    refused("are not of the network that its configuration describes")
    broken = state_dict(configuration("cspnext_s"))
    broken["backbone.stem.0.conv.weight"][0] = float("nan")
    torch.save({"model": broken}, weights)
    refused("are not all numbers")
    weights.write_bytes(whole)
    refused("--box: cspnext_s looks at whole frames", box=Box(0, 0, 10, 10))
    for content, sentence in (
        ("[1, 2", "is no YAML"),
        ("net_type: x", "is no configuration of a DeepLabCut 3 network"),
        (text.replace("  - leftear\n", ""), "need 2"),
        (text.replace("- leftear\n", "- snout\n"), "a name stands twice"),
        (text.replace("- leftear\n", '- "ear\\e[31m"\n'), r"'ear\\x1b\[31m' holds a control character"),
        (text.replace("locref_std: 7.2801", "locref_std: big"), "locref_std"),
        (text.replace("deepen_factor: 0.33", "deepen_factor: 900"), "deepen_factor"),
        (text.replace("- 512\n", "- 256\n"), "takes 256 channels and its backbone cspnext_s gives 512"),
    ):
        config.write_text(content)
        if "twice" in sentence or "control" in sentence:  # only a whole model has names
            with pytest.raises(InvalidInputError, match=sentence):
                import_deeplabcut(folder, ImportRequest(tmp_path / "x.onnx"))
        else:
            refused(sentence)
    config.unlink()
    refused("holds no pytorch_config.yaml")
    refused("does not exist", tmp_path / "nowhere")
    refused("is no .pt file", Path(__file__))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_top_down_network_needs_its_box(tmp_path: Path) -> None:
    folder = write_training_folder(tmp_path, configuration("top_down_cspnext_s"))
    with pytest.raises(InvalidInputError, match=r"top_down_cspnext_s works top-down .* --box X,Y,WIDTH,HEIGHT"):
        build(read_source(folder))


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("place", ["model", "metadata"])
def test_a_pickle_is_never_executed(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_training_folder(tmp_path / "train", configuration("cspnext_s"))
    torch.save({"model": {}, "metadata": {}} | {place: _Evil()}, folder / "snapshot-010.pt")
    with pytest.raises(InvalidInputError, match="can't be loaded as tensors and plain values"):
        read_source(folder)
    assert not Path("executed").exists()

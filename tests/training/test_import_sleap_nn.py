"""sleap-nn's single-instance models as model files: the peaks that sleap-nn finds, and nothing out of a pickle runs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop_training.importers.base import ImportRequest
from poseloop_training.importers.decoding import peak, refine_by_mean
from poseloop_training.importers.resize import resize_smoothly
from poseloop_training.importers.sleap_nn import build, import_sleap_nn, read_source
from poseloop_training.importers.sleap_nn_network import SleapNetwork
from poseloop_training.model_runner import ModelRunner

from tests.training.sleap_nets import unet, write_model_folder

# Two best cells closer to each other than this: the last bits of the scaling decide which wins.
UNCLEAR = 1e-3


@pytest.fixture
def golden_folder(shared_data: Path) -> Path:
    folder = shared_data / "sleap-nn/single_instance"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def frames_of_half_size(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames ``[N, H, W, C]`` whose halves are these images ``[N, C, h, w]``, to a fraction of a grey level."""
    wanted = torch.from_numpy(images).float()
    frames = F.interpolate(wanted, scale_factor=2.0, mode="bilinear")
    for _ in range(60):
        frames += 1.5 * F.interpolate(wanted - resize_smoothly(frames, 0.5), scale_factor=2.0, mode="nearest")
        frames = frames.clamp(0, 255)
    return frames.round().byte().permute(0, 2, 3, 1).numpy().copy()


def test_peaks_are_sleap_nns(golden_folder: Path, tmp_path: Path) -> None:
    golden = np.load(golden_folder / "golden.npz", allow_pickle=False)
    import_sleap_nn(golden_folder, ImportRequest(tmp_path / "m.onnx"))
    runner = ModelRunner(tmp_path / "m.onnx")
    assert runner.spec.keypoints == ["A", "B"]
    assert runner.spec.skeleton == [("A", "B")]
    assert (runner.spec.native_width, runner.spec.native_height) == (560, 320)
    frames = frames_of_half_size(golden["image"][:, 0])
    got = runner.predict(list(frames))[:, 0]
    with torch.inference_mode():
        maps = build(read_source(golden_folder)).maps(torch.from_numpy(golden["image"][:, 0]).float())
    best = maps.heatmaps.flatten(2).topk(2).values.numpy()
    clear = best[..., 0] - best[..., 1] > UNCLEAR
    assert clear.sum() >= 14
    assert np.linalg.norm(got[..., :2] - golden["pred_instance_peaks"], axis=-1)[clear].max() <= 0.05
    np.testing.assert_allclose(got[..., 2], golden["pred_peak_values"].clip(0, 1), atol=0.02)


def test_without_the_scaling_they_are_the_same_to_a_thousandth(golden_folder: Path, tmp_path: Path) -> None:
    golden = np.load(golden_folder / "golden.npz", allow_pickle=False)
    config = yaml.safe_load((golden_folder / "training_config.yaml").read_text())
    config["data_config"]["preprocessing"].update(scale=1.0, max_height=160, max_width=280)
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump(config))
    shutil.copyfile(golden_folder / "best.ckpt", tmp_path / "best.ckpt")
    import_sleap_nn(tmp_path, ImportRequest(tmp_path / "m.onnx"))
    frames = golden["image"][:, 0].transpose(0, 2, 3, 1).copy()
    got = ModelRunner(tmp_path / "m.onnx").predict(list(frames))[:, 0, :, :2] * 2
    assert np.linalg.norm(got - golden["pred_instance_peaks"], axis=-1).max() <= 1e-3


@pytest.mark.parametrize("scale", [0.5, 0.25, 1 / 3, 0.2, 0.75, 0.4])
def test_scaling_is_torchvisions(scale: float) -> None:
    size = 120
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255
    expected = F.interpolate(image, size=(round(size * scale),) * 2, mode="bilinear", antialias=True)
    torch.testing.assert_close(resize_smoothly(image, scale), expected, atol=1e-3, rtol=1e-5)


def test_the_mean_around_the_best_cell() -> None:
    maps = torch.zeros(1, 3, 12, 16)
    maps[0, 0, 5, 7], maps[0, 0, 5, 8], maps[0, 0, 6, 7] = 1.0, 0.5, 0.25
    maps[0, 0, 11, 15] = 0.9  # outside the window
    maps[0, 1, 0, 15], maps[0, 1, 0, 14] = 1.0, 0.5  # in a corner
    place = refine_by_mean(maps, peak(maps), 5)[0]
    expected = torch.tensor([[7 + 0.5 / 1.75, 5 + 0.25 / 1.75], [15 - 0.5 / 1.5, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(place, expected)


@pytest.mark.parametrize("upward", ["bilinear", "transposed"])
def test_the_maps_of_a_whole_unet_are_sleap_nns(upward: str) -> None:
    """Against what sleap-nn 0.3.5 made of random weights: two UNets of stride 8 with decoders up to stride 2."""
    golden = np.load(Path(__file__).with_name("sleap_nn_unet.npz"), allow_pickle=False)
    prefix = f"{upward}/model."
    weights = {name.removeprefix(prefix): torch.from_numpy(golden[name]) for name in golden if name.startswith(prefix)}
    network = SleapNetwork(weights, 1.0, Path("best.ckpt")).eval()
    assert (network.stride, network.max_stride, len(network.upward)) == (2, 8, 2 if upward == "transposed" else 0)
    with torch.inference_mode():
        maps = network.maps(torch.from_numpy(golden[f"{upward}/image"]).float()).heatmaps
    np.testing.assert_allclose(maps.numpy(), golden[f"{upward}/maps"], atol=1e-6)


@pytest.mark.parametrize(("down", "up", "channels", "scale"), [(3, 2, 1, 1.0), (4, 3, 3, 0.75), (2, 0, 3, 0.5)])
def test_any_depth_is_exported(down: int, up: int, channels: int, scale: float, tmp_path: Path) -> None:
    stride = 2 ** (down - up)
    folder = write_model_folder(tmp_path / "model", unet(down, up, channels), stride, scale=scale)
    import_sleap_nn(folder, ImportRequest(tmp_path / "m.onnx"))
    runner = ModelRunner(tmp_path / "m.onnx")
    assert runner.spec.color == ("gray" if channels == 1 else "rgb")
    assert (runner.spec.decode.stride, runner.spec.decode.input_scale) == (stride, scale)
    network = build(read_source(folder))
    for height, width in ((96, 128), (75, 101)):
        frame = np.random.default_rng(1).integers(0, 256, (height // 5, width // 5, channels), dtype=np.uint8)
        frame = frame.repeat(5, axis=0).repeat(5, axis=1)
        with torch.inference_mode():
            expected = network(torch.from_numpy(frame)[None])[0].numpy()
        np.testing.assert_allclose(runner.predict([frame])[0], expected, atol=0.02)


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence) as caught:
        build(read_source(folder))
    assert "\n" not in str(caught.value)


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path, unet(2, 0), 4)
    file = folder / "training_config.yaml"
    config = yaml.safe_load(file.read_text())
    heads, backbones = config["model_config"]["head_configs"], config["model_config"]["backbone_config"]
    heads["bottomup"], heads["single_instance"] = {"confmaps": {}}, None
    file.write_text(yaml.safe_dump(config))
    refused(folder, "the model bottomup on unet can't be imported; what can be: single_instance on unet")
    heads["single_instance"], heads["bottomup"] = {"confmaps": {"output_stride": 4}}, None
    backbones["convnext"], backbones["unet"] = {"model_type": "tiny"}, None
    file.write_text(yaml.safe_dump(config))
    refused(folder, "single_instance on convnext can't be imported")


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    weights = unet(2, 1)
    folder = write_model_folder(tmp_path, weights, 2)
    build(read_source(folder))
    write_model_folder(tmp_path, weights, 4)
    refused(folder, "2 confidence maps of stride 2, and training_config.yaml says 2 of stride 4")
    stem = {name.replace("stack0_enc1", "stem0"): tensor for name, tensor in weights.items()}
    write_model_folder(tmp_path, stem, 2)
    refused(folder, r"no plain UNet for one animal \(backbone.encoders.0.*stem0_conv0.weight\)")
    broken = dict(weights)
    broken["model.backbone.encoders.0.encoder_stack.1.blocks.stack0_enc1_conv0.weight"] = torch.zeros(8, 5, 3, 3)
    write_model_folder(tmp_path, broken, 2)
    refused(folder, "do not fit together")
    del broken["model.backbone.encoders.0.encoder_stack.1.blocks.stack0_enc1_conv0.weight"]
    write_model_folder(tmp_path, broken, 2)
    refused(folder, "lacks its weight or bias")
    (folder / "best.ckpt").write_bytes((folder / "best.ckpt").read_bytes()[:1000])
    refused(folder, "can't be loaded as tensors and plain values")
    (folder / "best.ckpt").unlink()
    refused(folder, "does not exist")
    write_model_folder(tmp_path, weights, 2, scale="big")
    refused(folder, r"data_config\.preprocessing\.scale")
    (folder / "training_config.yaml").write_text("a: 1")
    refused(folder, "is no configuration of sleap-nn")
    (folder / "training_config.yaml").unlink()
    refused(folder, "does not exist")


class _Evil:
    """Would leave a trace if its pickle were executed, through a module whose objects become stand-ins or not."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_model_folder(tmp_path / "model", unet(2, 0), 4)
    content = torch.load(folder / "best.ckpt", weights_only=True)
    for evil in (
        _Evil(exec, "open('executed', 'w')"),
        _Evil(eval, "open('executed', 'w')"),
        _Evil(Path.touch, Path("executed")),
        _Evil(shutil.copyfile, str(folder / "best.ckpt"), "executed"),
    ):
        for place in ("config", "state_dict"):
            torch.save(content | {place: evil}, folder / "best.ckpt")
            with contextlib.suppress(InvalidInputError):  # refused, or loaded as something inert
                read_source(folder)
            assert not Path("executed").exists()

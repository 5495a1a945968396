"""Backbones: the packaged weights fit, padding is TensorFlow's, and what can't be had is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from poseloop.errors import InvalidInputError
from poseloop_training.backbone import Backbone, BackboneConfig, fill, load_packaged_weights
from poseloop_training.checkpoint import load_plain
from poseloop_training.initialise import build_network
from poseloop_training.network import NetworkConfig


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    backbone = Backbone(BackboneConfig()).eval()
    load_packaged_weights(backbone)
    return backbone


def test_packaged_weights_are_those_of_the_running_statistics(lite0: Backbone) -> None:
    """A wrong order of tensors or a wrong normalisation would show as activations far from the stored statistics."""
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(4, 3, 28, 28), size=224, mode="bilinear") * 2 - 1
    maps = lite0(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    assert lite0.strides == (4, 8, 16, 32)
    assert all(0.02 < m.std() < 20 for m in maps)
    assert lite0.mean == lite0.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("size", [(64, 96), (128, 32)])
def test_static_padding_is_tensorflows(lite0: Backbone, size: tuple[int, int]) -> None:
    dynamic = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
    dynamic.load_state_dict(lite0.body.state_dict())
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        for ours, timms in zip(lite0(image), dynamic.eval()(image), strict=True):
            torch.testing.assert_close(ours, timms)


def test_gray_network_sees_what_the_rgb_one_sees(lite0: Backbone) -> None:
    gray = Backbone(BackboneConfig(channels=1)).eval()
    load_packaged_weights(gray)
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(gray(image)[-1], lite0(image.expand(-1, 3, -1, -1))[-1], rtol=1e-3, atol=1e-4)


def test_layers_beyond_the_coarsest_map_are_left_out() -> None:
    small = Backbone(BackboneConfig(most_stride=8))
    assert small.strides == (4, 8)
    assert sum(p.numel() for p in small.parameters()) < 100_000


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (BackboneConfig("tf_efficientnet_lite00"), "timm has no network 'tf_efficientnet_lite00'"),
        (BackboneConfig("vit_tiny_patch16_224"), "stride 4 is needed"),
        (BackboneConfig("resnet18", least_stride=64, most_stride=64), "stride 64 is needed"),
    ],
)
def test_unsuitable_network_is_refused(config: BackboneConfig, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        Backbone(config)


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"'resnet18' could not be fetched.*--init FILE"):
        Backbone(BackboneConfig("resnet18"), pretrained=True)


def test_weights_of_another_network_are_refused(lite0: Backbone) -> None:
    with pytest.raises(InvalidInputError, match="of another network"):
        fill(lite0.body, timm.create_model("resnet18", pretrained=False).state_dict(), Path("resnet.pth"))


def test_own_weights_from_a_file(tmp_path: Path) -> None:
    config = NetworkConfig(keypoints=2, backbone="resnet18", channels=1)
    source = timm.create_model("resnet18", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "own.pth")
    network = build_network(config, str(tmp_path / "own.pth"))
    stem = network.backbone.body.state_dict()["conv1.weight"]
    torch.testing.assert_close(stem, source.state_dict()["conv1.weight"].sum(dim=1, keepdim=True))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    torch.save({"weights": Path("an object")}, tmp_path / "evil.pth")
    with pytest.raises(InvalidInputError, match="can't be loaded as tensors and plain values"):
        load_plain(tmp_path / "evil.pth")
    (tmp_path / "noise.ckpt").write_bytes(b"no checkpoint at all")
    with pytest.raises(InvalidInputError, match=r"noise\.ckpt can't be loaded"):
        load_plain(tmp_path / "noise.ckpt")
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_plain(tmp_path / "absent.ckpt")

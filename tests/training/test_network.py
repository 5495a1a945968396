"""From bytes to coordinates: the half-pixel algebra of scaling, padding and cells holds at every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_training.heads import Maps, cell_centres
from poseloop_training.network import NetworkConfig, PoseNetwork, resize
from torch import Tensor

SMALL = "mobilenetv4_conv_small_035"


class Seer(PoseNetwork):
    """Maps of a network that sees the centre of the one bright spot perfectly, in the pixels that it is given."""

    def maps(self, image: Tensor) -> Maps:
        multiple, stride = self.config.most_stride, self.config.stride
        rows, columns = torch.meshgrid(*map(torch.arange, image.shape[-2:]), indexing="ij")
        weight = image.sum(dim=1)
        total = weight.sum(dim=(1, 2))
        spot = torch.stack(
            ((weight * columns).sum(dim=(1, 2)) / total, (weight * rows).sum(dim=(1, 2)) / total), dim=-1
        )
        height, width = (-(-size // multiple) * multiple // stride for size in image.shape[-2:])
        way = (spot[:, None, :, None, None] - cell_centres(height, width, stride, spot)) / stride
        return Maps(20 * (0.5 - way.square().sum(dim=2)), way)


def frame_with_spot(x: float, y: float, width: int, height: int, channels: int) -> Tensor:
    rows, columns = np.mgrid[:height, :width]
    spot = np.round(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2)))
    return torch.from_numpy(np.repeat(spot[None, ..., None], channels, axis=3).astype(np.uint8))


@given(
    scale=st.sampled_from([1.0, 0.5, 1 / 3, 0.25, 0.75, 0.4]),
    stride=st.sampled_from([4, 8]),
    width=st.integers(96, 150),
    height=st.integers(96, 150),
    place=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=40)
def test_coordinates_are_those_of_the_frame(
    scale: float, stride: int, width: int, height: int, place: tuple[float, float], channels: int
) -> None:
    network = Seer.__new__(Seer)
    torch.nn.Module.__init__(network)
    network.config = NetworkConfig(keypoints=1, channels=channels, input_scale=scale, stride=stride)
    x, y = place[0] * width, place[1] * height
    found = network(frame_with_spot(x, y, width, height, channels))
    assert found.shape == (1, 1, 1, 3)
    assert found[0, 0, 0, :2].tolist() == pytest.approx([x, y], abs=0.12)


@pytest.fixture(scope="module")
def network() -> PoseNetwork:
    torch.manual_seed(0)
    return PoseNetwork(NetworkConfig(keypoints=5, channels=1, backbone=SMALL, most_stride=16, width=16)).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 47), (120, 161), (33, 200)])
def test_any_size_of_frame(network: PoseNetwork, height: int, width: int) -> None:
    frames = torch.randint(0, 256, (2, height, width, 1), dtype=torch.uint8)
    with torch.inference_mode():
        found = network(frames)
        alone = network(frames[1:])
    assert found.shape == (2, 1, 5, 3)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(found[1:], alone, rtol=0, atol=1e-2)


def test_padding_does_not_move_keypoints(network: PoseNetwork) -> None:
    frames = torch.randint(0, 256, (1, 96, 90, 1), dtype=torch.uint8)
    with torch.inference_mode():
        maps = network.maps(network.scaled(frames))
    assert maps.heatmaps.shape[-2:] == (12, 12)


def test_halving_is_the_mean_of_four_pixels() -> None:
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert resize(image, 0.5)[0, 0].tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]
    assert resize(image, 1.0) is image


def test_frames_are_normalised_as_the_backbone_was_trained(network: PoseNetwork) -> None:
    rgb = PoseNetwork(NetworkConfig(keypoints=1, backbone="resnet18"))
    black = 0 * rgb.gain + rgb.bias
    white = 255 * rgb.gain + rgb.bias
    torch.testing.assert_close(black.flatten(), torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))
    torch.testing.assert_close(white.flatten(), torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))

"""Targets, loss and decoding share one geometry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_training.heads import KeypointHead, LossSettings, Maps, cell_centres, decode, keypoint_loss
from torch import Tensor

SETTINGS = LossSettings()


def perfect_maps(keypoints: Tensor, height: int, width: int, stride: int, certainty: float = 20.0) -> Maps:
    """Return the maps that a perfect network gives for keypoints ``[N, K, 2]``."""
    way = (keypoints[..., None, None] - cell_centres(height, width, stride, keypoints)) / stride
    return Maps(certainty * (0.5 - way.square().sum(dim=2)), way)


@given(
    stride=st.sampled_from([2, 4, 8, 16]),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
    size=st.tuples(st.integers(3, 12), st.integers(3, 12)),
)
@settings(max_examples=60)
def test_perfect_maps_decode_to_their_keypoints(
    stride: int, places: list[tuple[float, float]], size: tuple[int, int]
) -> None:
    height, width = size
    keypoints = torch.tensor([places]) * torch.tensor([width, height]) * stride * 0.999 - 0.499
    found = decode(perfect_maps(keypoints, height, width, stride), stride)
    torch.testing.assert_close(found[..., :2], keypoints, rtol=0, atol=2e-3)
    assert ((found[..., 2] >= 0) & (found[..., 2] <= 1)).all()


def test_centres_are_those_of_blocks_of_pixels() -> None:
    centres = cell_centres(2, 3, 4, torch.zeros(1))
    assert centres[0, 0].tolist() == [1.5, 5.5, 9.5]
    assert centres[1, :, 0].tolist() == [1.5, 5.5]


def test_perfect_maps_have_no_offset_loss_and_less_heatmap_loss() -> None:
    keypoints = torch.tensor([[[13.0, 22.5], [40.25, 9.0]]])
    perfect = perfect_maps(keypoints, 12, 16, 4, certainty=2.0)
    wrong = Maps(perfect.heatmaps.flip(-1), perfect.offsets.flip(-1))
    good, bad = keypoint_loss(perfect, keypoints, 4, SETTINGS), keypoint_loss(wrong, keypoints, 4, SETTINGS)
    assert good.offset == pytest.approx(0, abs=1e-6)
    assert good.heatmap < bad.heatmap
    assert bad.offset > 1


def test_unlabelled_keypoint_has_no_gradient() -> None:
    maps = Maps(torch.randn(1, 2, 6, 6, requires_grad=True), torch.randn(1, 2, 2, 6, 6, requires_grad=True))
    keypoints = torch.tensor([[[10.0, 10.0], [torch.nan, 3.0]]])
    losses = keypoint_loss(maps, keypoints, 4, SETTINGS)
    (losses.heatmap + losses.offset).backward()
    assert maps.heatmaps.grad is not None
    assert maps.offsets.grad is not None
    assert maps.heatmaps.grad[0, 0].abs().sum() > 0
    assert maps.heatmaps.grad[0, 1].abs().sum() == 0
    assert maps.offsets.grad[0, 1].abs().sum() == 0


def test_keypoint_outside_the_window_shall_not_be_seen() -> None:
    keypoints = torch.tensor([[[-9.0, 10.0]]])
    empty = Maps(torch.full((1, 1, 6, 6), -9.0), torch.zeros(1, 1, 2, 6, 6))
    seen = Maps(torch.full((1, 1, 6, 6), 3.0), torch.zeros(1, 1, 2, 6, 6))
    assert keypoint_loss(empty, keypoints, 4, SETTINGS).heatmap < 0.01
    assert keypoint_loss(seen, keypoints, 4, SETTINGS).heatmap > 1
    assert keypoint_loss(seen, keypoints, 4, SETTINGS).offset == 0


def test_nothing_labelled_is_no_loss() -> None:
    maps = Maps(torch.randn(2, 3, 5, 5), torch.randn(2, 3, 2, 5, 5))
    losses = keypoint_loss(maps, torch.full((2, 3, 2), torch.nan), 8, SETTINGS)
    assert losses.heatmap == losses.offset == 0


def test_untrained_head_is_unsure_and_keeps_the_axes() -> None:
    head = KeypointHead((8, 16), keypoints=3, width=12).eval()
    maps = head([torch.randn(2, 8, 10, 6), torch.randn(2, 16, 5, 3)])
    assert maps.heatmaps.shape == (2, 3, 10, 6)
    assert maps.offsets.shape == (2, 3, 2, 10, 6)
    assert torch.sigmoid(maps.heatmaps).mean() < 0.05

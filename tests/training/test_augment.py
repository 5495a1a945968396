"""Augmentation moves the keypoints with the image, to a tenth of a pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_training.augment import Augmentation, AugmentSettings, exchange, move, warp
from poseloop_training.network import resize
from torch import Tensor

PLAIN = AugmentSettings(light=0, blur=0, noise=0, occlusion=0)


def blob(x: float, y: float, height: int, width: int, sigma: float = 3.0) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    spot = 127 + 128 * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return spot.round().to(torch.uint8)[None]


def centre_of(image: Tensor) -> tuple[float, float]:
    weight = (image[0].float() - 130).clamp(min=0)
    rows, columns = torch.meshgrid(torch.arange(weight.shape[0]), torch.arange(weight.shape[1]), indexing="ij")
    return float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())


@given(
    x=st.floats(40, 90),
    y=st.floats(30, 60),
    angle=st.floats(-math.pi, math.pi),
    zoom=st.floats(0.7, 1.4),
    mirrored=st.booleans(),
    fineness=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=60)
def test_warp_and_move_agree(x: float, y: float, angle: float, zoom: float, mirrored: bool, fineness: int) -> None:
    turn = zoom * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if mirrored:
        turn = turn @ torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    centre = torch.tensor([64.5, 44.5])
    forward = torch.cat((turn, (torch.tensor([80.0, 75.0]) - turn @ centre)[:, None]), dim=1)
    finer_x, finer_y = fineness * (x + 0.5) - 0.5, fineness * (y + 0.5) - 0.5
    image = blob(finer_x, finer_y, 90 * fineness, 130 * fineness, sigma=3.0 * fineness)
    drawn = warp(image, forward, (150, 160), fineness)
    moved = move(torch.tensor([[x, y]]), forward)[0]
    assert centre_of(drawn) == pytest.approx(tuple(moved.tolist()), abs=0.1)


@pytest.mark.parametrize("window", [(96, 96), (160, 192), (64, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_keypoint_stays_on_its_blob(window: tuple[int, int], channels: int) -> None:
    torch.manual_seed(3)
    image = blob(70.25, 51.5, 120, 160).expand(channels, -1, -1)
    augmentation = Augmentation(PLAIN, window, (), channels)
    checked = 0
    for _ in range(30):
        drawn, keypoints = augmentation(image, torch.tensor([[70.25, 51.5]]))
        assert drawn.shape == (channels, *window)
        x, y = keypoints[0].tolist()
        if 12 < x < window[1] - 13 and 12 < y < window[0] - 13:
            assert centre_of(drawn) == pytest.approx((x, y), abs=0.25)
            checked += 1
    assert checked > 10


def test_what_is_only_shifted_is_scaled_as_the_network_scales_a_frame() -> None:
    frame = torch.randint(0, 256, (1, 80, 120), dtype=torch.uint8)
    still = AugmentSettings(rotation=0, scale=(1, 1), shift=0, flip=False, light=0, blur=0, noise=0, occlusion=0)
    drawn, _ = Augmentation(still, (40, 60), (), 1)(frame, torch.tensor([[30.0, 20.0]]), 2)
    expected = resize(frame[None].float(), 0.5)[0]
    assert (drawn - expected).abs().max() <= 0.5


def test_unlabelled_stays_unlabelled_and_mirrors_exchange() -> None:
    torch.manual_seed(0)
    keypoints = torch.tensor([[10.0, 20.0], [torch.nan, torch.nan], [30.0, 25.0]])
    _, moved = Augmentation(PLAIN, (64, 64), [(0, 2)], 1)(torch.zeros(1, 60, 60, dtype=torch.uint8), keypoints)
    assert moved.isnan().any(dim=1).tolist() == [False, True, False]
    assert exchange(keypoints, [(0, 2)])[0].tolist() == [30.0, 25.0]


def test_frame_without_labels_is_windowed_somewhere() -> None:
    nothing = torch.full((2, 2), torch.nan)
    image, keypoints = Augmentation(AugmentSettings(), (64, 64), (), 3)(
        torch.zeros(3, 200, 300, dtype=torch.uint8), nothing
    )
    assert image.shape == (3, 64, 64)
    assert keypoints.isnan().all()


def test_appearance_changes_light_not_geometry() -> None:
    torch.manual_seed(1)
    settings_ = AugmentSettings(rotation=0, scale=(1, 1), shift=0, flip=False, light=0.5, blur=1, noise=1, occlusion=1)
    image, keypoints = Augmentation(settings_, (64, 64), (), 3)(
        torch.full((3, 64, 64), 100, dtype=torch.uint8), torch.tensor([[12.0, 40.0]])
    )
    assert keypoints.tolist() == [[12.0, 40.0]]
    assert np.isfinite(image.numpy()).all()
    assert image.std() > 1
    assert -1 <= image.min() <= image.max() <= 256

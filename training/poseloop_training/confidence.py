"""Calibration: what makes the confidence of a trained network the probability that a keypoint is right.

Platt's logistic map (1999), a scale and an offset of the heatmap's highest logit, shared by all keypoints. It is fitted
to the validation frames, which are not trained on. There may be five of them, all found well: varied views of each add
harder keypoints and some that left the view, and a prior says what is usual. The test frames have no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from poseloop.types import ConfidenceSpec
from torch import Tensor

from poseloop_training.augment import Augmentation, AugmentSettings
from poseloop_training.dataset import PoseDataset
from poseloop_training.frames import TrainingFrames
from poseloop_training.heads import decode
from poseloop_training.network import PoseNetwork
from poseloop_training.reliability import radius_px
from poseloop_training.settings import native_size, swap_indices

# More frames or views hardly change two parameters; these take a few seconds.
MOST_FRAMES = 80
MOST_IMAGES = 160
MOST_VIEWS = 8
# Of the scale's logarithm and of the offset: mean and standard deviation, from networks trained for one to fifteen
# minutes on three kinds of animals (docs/training.md).
PRIOR_LOG_SCALE = (math.log(1.2), 0.5)
PRIOR_OFFSET = (1.0, 2.0)
# Beyond this a float32 probability no longer tells logits apart.
LARGEST_LOGIT = 15.0


@dataclass(frozen=True, eq=False)
class Scores:
    """Keypoints of known place: the highest logits of their heatmaps, errors in pixels of the frame, and weights."""

    logits: NDArray[np.float64]
    distances_px: NDArray[np.float64]
    weights: NDArray[np.float64]


def views_of(frames: int) -> int:
    """Return how many varied views of each of this many validation frames are used."""
    return max(min(MOST_VIEWS, MOST_IMAGES // max(frames, 1) - 1), 1)


def images_for(frames: int) -> int:
    """Return how many images calibration predicts, given this many validation frames."""
    return min(frames, MOST_FRAMES) * (1 + views_of(frames))


def calibrate(
    network: PoseNetwork, dataset: PoseDataset, train: Sequence[int], validation: Sequence[int], views: AugmentSettings
) -> ConfidenceSpec | None:
    """Find the map from logits to probabilities.

    Args:
        network: trained, on the CPU.
        dataset: of one animal a frame.
        train: training frames; their labels and those of the validation frames say how large the animal is.
        validation: frames that were not trained on.
        views: how the views of a frame vary.

    Returns:
        None where no validation frame has a label.
    """
    frames = [index for index in validation if dataset.samples[index].labelled.any()]
    if not frames:
        return None
    # Evenly spread, and the same in every run.
    frames = [frames[i] for i in np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).astype(int)]
    width, height = native_size(dataset)
    labels = np.array([dataset.samples[index].keypoints[0] for index in (*train, *frames)])
    radius = radius_px(labels, width, height, network.config.input_scale)
    scores = _scores(network, dataset, frames, views)
    scale, offset = fit_logistic(scores.logits, scores.distances_px <= radius, scores.weights)
    return ConfidenceSpec(
        radius_px=radius,
        scale=round(scale, 4),
        offset=round(offset, 4),
        frames=len(frames),
        keypoints=sum(int(dataset.samples[index].labelled.sum()) for index in frames),
        views=views_of(len(frames)),
    )


def fit_logistic(
    logits: NDArray[np.float64], within: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the scale and offset whose sigmoid(scale·logit + offset) explains the outcomes best, given the prior.

    The scale is positive, so the map never turns an order round. Fisher scoring with halved steps: each one goes down.

    Args:
        logits: ``(n,)``
        within: ``(n,)``: which keypoints were right.
        weights: ``(n,)``: how many keypoints each counts as.
    """
    means, deviations = np.array([PRIOR_LOG_SCALE, PRIOR_OFFSET]).T

    def loss(at: NDArray[np.float64]) -> float:
        t = np.exp(at[0]) * logits + at[1]
        return float((weights * (np.logaddexp(0, t) - within * t)).sum() + (((at - means) / deviations) ** 2).sum() / 2)

    at = means.copy()
    for _ in range(100):
        slope = np.exp(at[0]) * logits
        # tanh does not overflow where exp would.
        probability = (1 + np.tanh((slope + at[1]) / 2)) / 2
        jacobian = np.stack((slope, np.ones_like(slope)))
        gradient = jacobian @ (weights * (probability - within)) + (at - means) / deviations**2
        information = (jacobian * weights * probability * (1 - probability)) @ jacobian.T + np.diag(1 / deviations**2)
        step = -np.linalg.solve(information, gradient)
        before = loss(at)
        while loss(at + step) > before and np.abs(step).max() > 1e-9:
            step /= 2
        if np.abs(step).max() <= 1e-9:
            break
        at = at + step
    return float(np.exp(at[0])), float(at[1])


@torch.inference_mode()
def _scores(network: PoseNetwork, dataset: PoseDataset, frames: Sequence[int], views: AugmentSettings) -> Scores:
    """Predict the frames and their views; a frame's views weigh as much as itself, together."""
    config, count = network.config, views_of(len(frames))
    width, height = native_size(dataset)
    # A view has the size of a frame: how a keypoint is found depends on what else there is to see.
    window = round(height * config.input_scale), round(width * config.input_scale)
    varied = TrainingFrames(
        dataset, frames, config, Augmentation(views, window, swap_indices(dataset), config.channels)
    )
    logits, distances, weights = [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for row, index in enumerate(frames):
            pixels = torch.from_numpy(dataset.load_image(index, config.color))[None]
            places = (torch.from_numpy(dataset.samples[index].keypoints[0]) + 0.5) * config.input_scale - 0.5
            images, keypoints = zip(*varied.__getitems__([row] * count), strict=True)
            for image, truth, weight in (
                (network.scaled(pixels), places[None], 1.0),
                (torch.stack(images), torch.stack(keypoints), 1 / count),
            ):
                found = decode(network.maps(image.contiguous(memory_format=torch.channels_last)), config.stride)
                distances.append(_flat((found[..., :2] - truth).norm(dim=-1) / config.input_scale))
                logits.append(_flat(torch.logit(found[..., 2].double()).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)))
                weights.append(np.full(logits[-1].shape, weight))
    distance = np.concatenate(distances)
    known = np.isfinite(distance)  # an unlabelled keypoint may be anywhere
    return Scores(np.concatenate(logits)[known], distance[known], np.concatenate(weights)[known])


def _flat(values: Tensor) -> NDArray[np.float64]:
    flat: NDArray[np.float64] = values.double().flatten().numpy()
    return flat

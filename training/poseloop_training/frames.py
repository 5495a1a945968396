"""Training frames at the network's resolution, augmented; kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from poseloop_training.augment import Augmentation
from poseloop_training.dataset import PoseDataset
from poseloop_training.network import NetworkConfig, resize

# Scaled frames beyond this are decoded anew each time.
CACHE_BYTES = 2 * 2**30


class TrainingFrames(Dataset[tuple[Tensor, Tensor]]):
    """Augmented frames of a dataset.

    An item is float32 ``[C, h, w]`` in grey levels and its keypoints, float32 ``[K, 2]`` in network pixels; NaN where
    unlabelled.

    Attributes:
        fits: the scaled frames fit into the memory that is set aside for them.
    """

    def __init__(
        self, dataset: PoseDataset, indices: Sequence[int], config: NetworkConfig, augmentation: Augmentation
    ) -> None:
        self._dataset = dataset
        self._indices = tuple(indices)
        self._config = config
        self._augmentation = augmentation
        self._cache: dict[int, Tensor] = {}
        pixels = sum(dataset.samples[index].width * dataset.samples[index].height for index in indices)
        self.fits = pixels * config.channels * config.input_scale**2 <= CACHE_BYTES

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        index = self._indices[item]
        keypoints = torch.from_numpy(self._dataset.samples[index].keypoints[0])
        return self._augmentation(self._image(index), (keypoints + 0.5) * self._config.input_scale - 0.5)

    def __getitems__(self, items: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Return a batch's items, by one thread: on images this small, threads wait longer than they work."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [self[item] for item in items]
        finally:
            torch.set_num_threads(threads)

    def _image(self, index: int) -> Tensor:
        if index in self._cache:
            return self._cache[index]
        pixels = self._dataset.load_image(index, self._config.color)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        scaled = resize(image, self._config.input_scale)[0].round().to(torch.uint8)
        # In memory channels come last, as the augmentation wants them.
        scaled = scaled.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        if self.fits:
            self._cache[index] = scaled
        return scaled

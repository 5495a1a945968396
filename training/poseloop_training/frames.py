"""Training frames, augmented and at the network's resolution; kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from poseloop_training.augment import Augmentation
from poseloop_training.dataset import PoseDataset
from poseloop_training.draws import Draw, numbered
from poseloop_training.network import NetworkConfig, resize
from poseloop_training.resources import CACHE_BYTES

# Pixels of what is augmented a network pixel, where frames have that many.
FINENESS = 2


class TrainingFrames(Dataset[tuple[Tensor, Tensor]]):
    """Augmented frames of a dataset.

    An item is float32 ``[C, h, w]`` in grey levels and its keypoints, float32 ``[K, 2]`` in network pixels; NaN where
    unlabelled. It is asked for by its place, or by a `Draw` where its variation shall follow from the draw's number.

    Attributes:
        fits: the frames, scaled to what is augmented, fit into the memory that is set aside for them.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        indices: Sequence[int],
        config: NetworkConfig,
        augmentation: Augmentation,
        *,
        seed: int = 0,
        memory: int = CACHE_BYTES,
    ) -> None:
        """Prepare them; ``seed`` is of draws, ``memory`` what scaled frames may take, in bytes."""
        self._dataset = dataset
        # An array, since workers hold a copy of it: numbers of their own would each be touched, and so be copied.
        self._indices = np.asarray(indices, dtype=np.int64)
        self._config = config
        self._augmentation = augmentation
        self._seed = seed
        self._cache: dict[int, Tensor] = {}
        self._fineness = FINENESS if FINENESS * config.input_scale <= 1 else 1
        self._scale = self._fineness * config.input_scale
        pixels = sum(sample.width * sample.height for sample in map(dataset.samples.__getitem__, indices))
        self.fits = pixels * config.channels * self._scale**2 <= memory

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, item: int | Draw) -> tuple[Tensor, Tensor]:
        if isinstance(item, Draw):
            with numbered(self._seed, item.number):
                return self[item.item]
        index = int(self._indices[item])
        keypoints = torch.from_numpy(self._dataset.samples[index].keypoints[0])
        places = (keypoints + 0.5) * self._config.input_scale - 0.5
        return self._augmentation(self._image(index), places, self._fineness)

    def __getitems__(self, items: list[int] | list[Draw]) -> list[tuple[Tensor, Tensor]]:
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
        scaled = resize(image, self._scale)[0].round().to(torch.uint8)
        # In memory channels come last, as the augmentation wants them.
        scaled = scaled.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        if self.fits:
            self._cache[index] = scaled
        return scaled

"""Which frame comes when, and with which variation, by the number of the draw alone.

A frame drawn n-th in a run is the same one, varied in the same way, whichever process and data worker prepares it. So a
run repeats on any number of devices and workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """A frame to prepare: ``item`` of the training frames, as the ``number``-th of the run."""

    item: int
    number: int


class Draws(Sampler[Draw]):
    """One process's share of every batch, epoch by epoch: with 2 processes, the first or the second half."""

    def __init__(self, frames: int, batch: int, batches: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        """Prepare epochs of ``batches`` batches of ``batch`` of these frames, over all ``processes`` together."""
        self._frames, self._batch, self._batches = frames, batch, batches
        self._seed, self._rank, self._share = seed, rank, batch // processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is gone through next; the trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches * self._share

    def __iter__(self) -> Iterator[Draw]:
        drawn = self._batches * self._batch
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._frames)[:drawn]
        for start in range(self._rank * self._share, drawn, self._batch):
            for place in range(start, start + self._share):
                yield Draw(int(order[place]), self._epoch * drawn + place)


@contextmanager
def numbered(seed: int, number: int) -> Iterator[None]:
    """Let what is random inside follow from seed and number alone, and leave no trace outside."""
    before = torch.get_rng_state()
    mixed = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(mixed[0]))
    try:
        yield
    finally:
        torch.set_rng_state(before)

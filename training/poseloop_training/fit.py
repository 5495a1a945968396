"""The training loop: Lightning runs it; loss, averaging and the schedule of the learning rate stand here.

The learning rate follows the time: it falls along a cosine over the time limit or the epochs, whichever ends first, so
that a run of any length ends annealed. What is validated and exported is a moving average of the weights. Several
processes take the steps that one would: each has its share of every batch, and what is decided, they decide together.
"""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
from poseloop.errors import InvalidInputError
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from poseloop_training.callbacks import Progress, StopOnInterrupt, Validation
from poseloop_training.checkpoint import DESCRIPTION
from poseloop_training.draws import Draws
from poseloop_training.frames import TrainingFrames
from poseloop_training.group import Group
from poseloop_training.heads import LossSettings, Maps, keypoint_loss
from poseloop_training.mixed_precision import LIGHTNING, TrainingPrecision
from poseloop_training.network import PoseNetwork
from poseloop_training.quiet import quiet_lightning
from poseloop_training.resources import data_workers
from poseloop_training.settings import TrainSettings
from poseloop_training.shared_statistics import shared_statistics

# Part of the run in which the learning rate rises to its full value.
WARM_UP = 0.03
# Of the gradient's norm over all weights: one odd batch of eight shall not undo the others.
GRADIENT_NORM = 5.0
# An epoch is a pass over the frames or this many batches of them, so that large sets are validated now and then too.
MOST_BATCHES = 250


class PoseTraining(pl.LightningModule):
    """The network being trained, and its moving average.

    Attributes:
        network: what the gradients move.
        averaged: what is validated, kept and exported.
        progress: how far the run is.
    """

    def __init__(
        self,
        network: PoseNetwork,
        settings: TrainSettings,
        progress: Progress,
        description: dict[str, Any],
        group: Group | None = None,
    ) -> None:
        """Prepare training; ``description`` goes into the checkpoints, see `poseloop_training.checkpoint`."""
        super().__init__()
        self._group = group or Group()
        self.network = network
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.progress = progress
        self._settings = settings
        self._loss = LossSettings()
        self._description = description

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of images ``[N, C, h, w]`` in grey levels with keypoints ``[N, K, 2]`` in their pixels."""
        images, keypoints = batch
        maps = self.network.maps(images.contiguous(memory_format=torch.channels_last))
        maps = Maps(maps.heatmaps.float(), maps.offsets.float())
        losses = keypoint_loss(maps, keypoints, self.network.config.stride, self._loss, self._group.count)
        self.progress.note_loss(*self._group.mean(losses.heatmap.item(), losses.offset.item()))
        return losses.heatmap + losses.offset

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; biases and normalisations do not decay (He et al. 2019, 3.1)."""
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": self._settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self._settings.learning_rate)

    def on_train_start(self) -> None:
        """Start the clock of the schedule, which knows from here on how many epochs there are."""
        # The trainer leaves modules in the mode that they come in, and measuring the deadline ran the network once.
        self.network.train()
        self.progress.start(int(self.trainer.num_training_batches), self.trainer.max_epochs or -1)

    def on_train_batch_start(self, *_: Any) -> None:
        """Set the learning rate for how far the run is."""
        fraction = self._group.from_first(self.progress.fraction(self.global_step))
        rate = min(fraction / WARM_UP, 1.0) * (1 + math.cos(math.pi * fraction)) / 2
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = self._settings.learning_rate * max(rate, 0.005)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the average, and end the run where its time is over."""
        # The first steps change everything, so the average must not hold on to them.
        keep = min(self._settings.averaging, (1 + self.global_step) / (10 + self.global_step))
        average(self.averaged, self.network, keep)
        if self._group.from_first(self.progress.is_over(self.global_step)):
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the checkpoint readable without this run."""
        checkpoint[DESCRIPTION] = self._description
        checkpoint["progress"] = self.progress.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from where the checkpoint was."""
        self.progress.restore(checkpoint["progress"])


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, keep: float) -> None:
    """Move every tensor of ``averaged`` towards ``network``'s, keeping the part ``keep`` of it."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


@dataclass(frozen=True, slots=True)
class FitOutcome:
    """How a run went.

    Attributes:
        weights: of the averaged network, the newest whose validation error was the least or near it.
        validation_px: that error; None without validation frames.
        epochs: whole passes over the training frames.
        interrupted: by Ctrl-C.
        stopped_early: validation had been worse for long.
    """

    weights: dict[str, Tensor]
    validation_px: float | None
    epochs: int
    interrupted: bool
    stopped_early: bool


def fit(
    training: PoseTraining,
    frames: TrainingFrames,
    validate: Callable[[PoseNetwork], float] | None,
    settings: TrainSettings,
    run_dir: Path,
    *,
    keep_best: Callable[[dict[str, Tensor]], None],
    resume: Path | None = None,
    bars: Iterable[pl.Callback] = (),
    group: Group | None = None,
    precision: TrainingPrecision = "fp32",
) -> FitOutcome:
    """Train until the epochs, the time limit, early stopping or Ctrl-C end it.

    Args:
        training: network, average and schedule.
        frames: training frames.
        validate: gives the mean error in pixels on the validation frames; None where there are none.
        settings: of the run.
        run_dir: last.ckpt is written into it, after every validation and at the end.
        keep_best: called with the averaged weights whenever they are the best so far.
        resume: last.ckpt of the run to go on with.
        bars: what shows the progress.
        group: the processes to train with; of them the first validates, keeps and shows.
        precision: of the numbers in the network while it trains.
    """
    quiet_lightning()
    group = group or Group()
    loader = make_loader(frames, settings, group)
    validation = Validation(validate, settings.patience, run_dir / "last.ckpt", keep_best, group)
    interrupt = StopOnInterrupt(group)
    trainer = pl.Trainer(
        **_devices(group),
        precision=LIGHTNING[precision],
        max_epochs=settings.epochs_for(len(loader)),
        gradient_clip_val=GRADIENT_NORM,
        callbacks=[validation, interrupt, *bars],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )
    with interrupt, group, shared_statistics(training.network, group.place):
        trainer.fit(training, loader, ckpt_path=resume, weights_only=True)
    training.progress.stop()
    best = validation.best_weights or copy.deepcopy(training.averaged.state_dict())
    error = validation.best_px if math.isfinite(validation.best_px) else None
    return FitOutcome(best, error, trainer.current_epoch, interrupt.requested, validation.exhausted)


def make_loader(frames: TrainingFrames, settings: TrainSettings, group: Group) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches in random order; frames that lie in memory need no other process to fetch them.

    Raises:
        InvalidInputError: see `shared_batch`.
    """
    place = group.place
    batch = shared_batch(len(frames), settings, place.size)
    batches = min(len(frames) // batch, MOST_BATCHES)
    workers = 0 if frames.fits else data_workers(place.local_size)
    # What several processes or workers draw has to follow from the draws' numbers; one alone draws in turn.
    sampler = (
        Draws(len(frames), batch, batches, settings.seed, place.rank, place.size)
        if group.numbered or not frames.fits
        else RandomSampler(frames, num_samples=min(len(frames), batch * MOST_BATCHES))
    )
    return DataLoader(
        frames,
        batch // place.size,
        sampler=sampler,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=ignore_interrupts if workers else None,
    )


def ignore_interrupts(_: int) -> None:
    """Leave Ctrl-C in a terminal, which reaches data workers too, to the process that they work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shared_batch(frames: int, settings: TrainSettings, processes: int) -> int:
    """Return the size of a batch of all processes together, no larger than the set.

    Raises:
        InvalidInputError: it can't be shared evenly by the processes.
    """
    batch = min(settings.batch_size, frames)
    if settings.batch_size % processes or batch < processes:
        higher = math.ceil(settings.batch_size / processes) * processes
        raise InvalidInputError(
            f"a batch of {batch} frames can't be shared evenly by {processes} processes: give --batch-size {higher}, "
            "more frames or fewer devices."
        )
    return batch - batch % processes


def _devices(group: Group) -> dict[str, Any]:
    """Return what tells Lightning where to train."""
    place = group.place
    if place.size == 1:
        return {"accelerator": "auto", "devices": 1}
    # Buffers are equal by themselves: statistics are shared, and all else in them never changes.
    return {
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": place.local_size,
        "num_nodes": place.nodes,
        "strategy": DDPStrategy(broadcast_buffers=False),
        "plugins": [group.environment()],
        "use_distributed_sampler": False,
    }

"""The training loop: Lightning runs it; loss, averaging and the schedule of the learning rate stand here.

The learning rate follows the time: it falls along a cosine over the time limit or the epochs, whichever ends first, so
that a run of any length ends annealed. What is validated and exported is a moving average of the weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from poseloop_training.callbacks import Progress, StopOnInterrupt, Validation
from poseloop_training.checkpoint import DESCRIPTION
from poseloop_training.frames import TrainingFrames
from poseloop_training.heads import LossSettings, keypoint_loss
from poseloop_training.network import PoseNetwork
from poseloop_training.quiet import quiet_lightning
from poseloop_training.settings import TrainSettings

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

    def __init__(self, network: PoseNetwork, settings: TrainSettings, progress: Progress, description: dict[str, Any]):
        """Prepare training; ``description`` goes into the checkpoints, see `poseloop_training.checkpoint`."""
        super().__init__()
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
        losses = keypoint_loss(maps, keypoints, self.network.config.stride, self._loss)
        self.progress.note_loss(losses.heatmap.item(), losses.offset.item())
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
        fraction = self.progress.fraction(self.global_step)
        rate = min(fraction / WARM_UP, 1.0) * (1 + math.cos(math.pi * fraction)) / 2
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = self._settings.learning_rate * max(rate, 0.005)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the average, and end the run where its time is over."""
        # The first steps change everything, so the average must not hold on to them.
        keep = min(self._settings.averaging, (1 + self.global_step) / (10 + self.global_step))
        average(self.averaged, self.network, keep)
        if self.progress.is_over(self.global_step):
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
        weights: of the averaged network where its validation error was least.
        epochs: whole passes over the training frames.
        interrupted: by Ctrl-C.
        stopped_early: validation had not improved for long.
    """

    weights: dict[str, Tensor]
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
    """
    quiet_lightning()
    loader = make_loader(frames, settings)
    validation = Validation(validate, settings.patience, run_dir / "last.ckpt", keep_best)
    interrupt = StopOnInterrupt()
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=settings.epochs_for(len(loader)),
        gradient_clip_val=GRADIENT_NORM,
        callbacks=[validation, interrupt, *bars],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )
    with interrupt:
        trainer.fit(training, loader, ckpt_path=resume, weights_only=True)
    best = validation.best_weights or copy.deepcopy(training.averaged.state_dict())
    return FitOutcome(best, trainer.current_epoch, interrupt.requested, validation.exhausted)


def make_loader(frames: TrainingFrames, settings: TrainSettings) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches in random order; frames that lie in memory need no other process to fetch them."""
    batch = min(settings.batch_size, len(frames))
    sampler = RandomSampler(frames, num_samples=min(len(frames), batch * MOST_BATCHES))
    workers = 0 if frames.fits else max(torch.get_num_threads() - 1, 1)
    return DataLoader(
        frames, batch, sampler=sampler, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )

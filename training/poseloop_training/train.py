"""One training run from labels to a model file: split, network, loop, test errors, export, run folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from poseloop.types import DecodeSpec, ModelSpec, TrainingRecord
from torch import Tensor

from poseloop_training.augment import Augmentation, AugmentSettings
from poseloop_training.callbacks import Progress
from poseloop_training.checkpoint import Checkpoint, describe, write_checkpoint
from poseloop_training.confidence import calibrate, images_for
from poseloop_training.dataset import PoseDataset
from poseloop_training.drawing import draw_reliability, draw_worst
from poseloop_training.evaluate import EvaluationResult, Predict, evaluate_predictions
from poseloop_training.export import Parity, export_model, refuse_diverged
from poseloop_training.fit import FitOutcome, PoseTraining, fit, shared_batch
from poseloop_training.frames import TrainingFrames
from poseloop_training.group import Group
from poseloop_training.initialise import NONE, build_network
from poseloop_training.mixed_precision import TrainingPrecision
from poseloop_training.network import NetworkConfig, PoseNetwork
from poseloop_training.plan import Identity, Plan
from poseloop_training.precision import Frames, Lowered, export_lowered, report
from poseloop_training.reliability import RELIABILITY, reliability_of
from poseloop_training.resources import cache_bytes, usable_cores
from poseloop_training.run_folder import RunFolder
from poseloop_training.settings import (
    TrainSettings,
    choose_network,
    choose_window,
    native_size,
    refuse_unsuitable,
    swap_indices,
)
from poseloop_training.split import Split
from poseloop_training.tuning import keep_freed_memory

# What comes after training besides predicting frames: export, parity check, drawing.
FINISH_SECONDS = 20.0
# The same for a file in fewer bits, layers left out one by one included, and runs to find the ranges of integers.
LOWERING_SECONDS, LOWERING_RUNS = 40.0, 150
# However short the time limit is, this part of it is for training.
LEAST_TRAINING_PART = 0.5
PARITY_FRAMES = 4
PACKAGES = ("poseloop", "torch", "torchvision", "timm", "lightning", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Hashes:
    """SHA-256 of all labels and of the training images."""

    labels: str
    images: str


@dataclass(frozen=True, eq=False)
class TrainOutcome:
    """What a run made.

    Attributes:
        spec: the description inside the model file.
        test: predictions on the test frames; None where none were held out.
        fit: how the loop ended.
        parity: of the model file, in fp32, with the network.
        seconds: wall time of the whole run.
        lowered: the file in fewer bits beside fp32; None where it is in fp32.
    """

    model: Path
    run: RunFolder
    spec: ModelSpec
    config: NetworkConfig
    test: EvaluationResult | None
    fit: FitOutcome
    parity: Parity
    seconds: float
    lowered: Lowered | None = None


def train(
    dataset: PoseDataset,
    plan: Plan,
    run: RunFolder,
    *,
    started: float,
    resume: bool = False,
    bars: Sequence[pl.Callback] = (),
    group: Group | None = None,
    precision: TrainingPrecision = "fp32",
) -> TrainOutcome:
    """Train a model and write it with its run folder.

    Args:
        dataset: checked, of one animal a frame.
        plan: settings and split of the run, and what becomes of it; the test frames are looked at once, when training
            is over.
        run: the run folder.
        started: when the command began, on ``time.monotonic()``: the time limit counts from there.
        resume: go on from the run folder's last.ckpt.
        bars: what shows the progress.
        group: of this first process and the others, which `accompany` it.
        precision: of the numbers in the network while it trains.

    Raises:
        InvalidInputError: the dataset or settings can't be trained with.
        DivergedError: the weights ran away, so there is nothing to export.
        ParityError: the exported graph differs from the network.
    """
    split, settings = plan.split, plan.settings
    group = group or Group()
    config = _begin(dataset, plan, group)
    # A run that goes on brings its own weights, and the file of the first ones may be gone.
    network = build_network(config, NONE if resume else settings.init)
    network.to(memory_format=torch.channels_last)
    spec = _spec(dataset, plan.identity, config)
    hashes = Hashes(plan.labels_sha256, dataset.images_sha256(split.train))
    if resume:
        run.write_plan(plan)
    else:
        run.begin(plan)
    progress = Progress(_deadline(settings, dataset, split, network, started))
    training = PoseTraining(network, settings, progress, describe(spec, config), group)
    outcome = fit(
        training,
        _training_frames(dataset, plan, config, group),
        _validator(dataset, split),
        settings,
        run.path,
        keep_best=lambda weights: write_checkpoint(run.best, Checkpoint(spec, config, weights)),
        resume=run.last if resume else None,
        bars=bars,
        group=group,
        precision=precision,
    )
    network.load_state_dict(outcome.weights)
    network.cpu().eval()
    images = _parity_images(dataset, split, config)
    refuse_diverged(network, images)
    network.confidence = calibrate(network, dataset, split.train, split.validation, _views(dataset, settings))
    test = _test(dataset, split, network)
    how = {**settings.model_dump(exclude={"backbone", "init", "seed"}), "processes": group.place.size}
    how["training_precision"] = precision
    record = _record(dataset, hashes, plan, config, outcome, progress, how)
    errors = test.test_errors() if test else None
    spec = spec.model_copy(update={"training": record, "test_errors": errors, "confidence": network.confidence})
    write_checkpoint(run.best, Checkpoint(spec, config, outcome.weights))
    lowered = None
    if settings.precision == "fp32":
        parity = export_model(network, spec, images, plan.out)
    else:
        frames = Frames.of(dataset, split, spec)
        lowered = export_lowered(settings.precision, network, spec, frames, plan.out, (dataset, split))
        parity, spec, test = lowered.parity, lowered.spec, lowered.test
    _write_results(run, dataset, test, parity, progress, outcome, spec, lowered)
    return TrainOutcome(plan.out, run, spec, config, test, outcome, parity, time.monotonic() - started, lowered)


def accompany(
    dataset: PoseDataset,
    plan: Plan,
    run: RunFolder,
    group: Group,
    *,
    resume: bool = False,
    precision: TrainingPrecision = "fp32",
) -> None:
    """Take another process's part in a training that the first one does with `train`, without writing anything.

    The arguments are those of `train`, and have to be the same.
    """
    config = _begin(dataset, plan, group)
    # The first weights are the first process's.
    network = build_network(config, NONE)
    network.to(memory_format=torch.channels_last)
    fit(
        PoseTraining(network, plan.settings, Progress(), {}, group),
        _training_frames(dataset, plan, config, group),
        None,
        plan.settings,
        run.path,
        keep_best=lambda _: None,
        resume=run.last if resume else None,
        group=group,
        precision=precision,
    )


def _begin(dataset: PoseDataset, plan: Plan, group: Group) -> NetworkConfig:
    refuse_unsuitable(dataset, plan.split)
    # Before the run folder is begun, which takes away what an earlier run left there.
    shared_batch(len(_labelled(dataset, plan.split.train)), plan.settings, group.place.size)
    keep_freed_memory()
    pl.seed_everything(plan.settings.seed, workers=True, verbose=False)
    if group.place.local_size > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(usable_cores() // group.place.local_size, 1))
    return choose_network(plan.settings, dataset)


def predictor(network: PoseNetwork) -> Predict:
    """Return what predicts images of one size, for `evaluate_predictions`."""

    @torch.inference_mode()
    def predict(images: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        frames: Tensor = torch.from_numpy(np.stack(images)).to(network.gain.device)
        found: np.ndarray[Any, np.dtype[np.float32]] = network(frames).cpu().numpy()
        return found

    return predict


def _training_frames(dataset: PoseDataset, plan: Plan, config: NetworkConfig, group: Group) -> TrainingFrames:
    settings = plan.settings
    window = choose_window(settings, config, dataset)
    augmentation = Augmentation(_views(dataset, settings), window, swap_indices(dataset), config.channels)
    return TrainingFrames(
        dataset,
        _labelled(dataset, plan.split.train),
        config,
        augmentation,
        seed=settings.seed,
        memory=cache_bytes(group.place.local_size),
    )


def _views(dataset: PoseDataset, settings: TrainSettings) -> AugmentSettings:
    # Mirrored frames need to know which keypoints a mirror exchanges.
    return settings.augmentation(flip=settings.flip and bool(dataset.swap_pairs))


def _validator(dataset: PoseDataset, split: Split) -> Any:
    frames = _labelled(dataset, split.validation)
    if not frames:
        return None

    def validate(network: PoseNetwork) -> float:
        result = evaluate_predictions(dataset, frames, predictor(network), color=network.config.color)
        return result.summary.mean_px

    return validate


def _test(dataset: PoseDataset, split: Split, network: PoseNetwork) -> EvaluationResult | None:
    if not _labelled(dataset, split.test):
        return None
    return evaluate_predictions(dataset, split.test, predictor(network), color=network.config.color)


def _labelled(dataset: PoseDataset, indices: Sequence[int]) -> tuple[int, ...]:
    return tuple(index for index in indices if dataset.samples[index].labelled.any())


def _deadline(
    settings: TrainSettings, dataset: PoseDataset, split: Split, network: PoseNetwork, started: float
) -> float | None:
    """Return when training has to end so that the whole command keeps the time limit."""
    if settings.time_limit_s is None:
        return None
    predict, image = predictor(network.eval()), dataset.load_image(split.train[0], network.config.color)
    predict([image])
    before = time.monotonic()
    predict([image])
    now = time.monotonic()
    images = len(split.test) + len(split.validation) + images_for(len(split.validation))
    finish = FINISH_SECONDS + 1.5 * images * (now - before)
    if settings.precision != "fp32":
        finish += LOWERING_SECONDS + LOWERING_RUNS * (now - before)
    end = started + settings.time_limit_s
    return max(end - finish, now + LEAST_TRAINING_PART * (end - now))


def _spec(dataset: PoseDataset, identity: Identity, config: NetworkConfig) -> ModelSpec:
    width, height = native_size(dataset)
    return ModelSpec(
        name=identity.name,
        keypoints=list(dataset.keypoint_names),
        skeleton=list(dataset.skeleton),
        swap_pairs=list(dataset.swap_pairs),
        color=config.color,
        native_width=width,
        native_height=height,
        license=identity.license,
        decode=DecodeSpec(kind="heatmap_offset", input_scale=config.input_scale, stride=config.stride),
        created_by=f"poseloop {_version('poseloop')}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _record(
    dataset: PoseDataset,
    hashes: Hashes,
    plan: Plan,
    config: NetworkConfig,
    outcome: FitOutcome,
    progress: Progress,
    how: dict[str, Any],
) -> TrainingRecord:
    split, settings = plan.split, plan.settings
    return TrainingRecord(
        dataset=dataset.name,
        train_frames=len(_labelled(dataset, split.train)),
        validation_frames=len(_labelled(dataset, split.validation)),
        test_frames=len(_labelled(dataset, split.test)),
        labels_sha256=hashes.labels,
        images_sha256=hashes.images,
        backbone=config.backbone,
        initialisation=Path(settings.init).name,
        epochs=outcome.epochs,
        seconds=round(progress.seconds, 1),
        seed=settings.seed,
        settings=how,
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _parity_images(dataset: PoseDataset, split: Split, config: NetworkConfig) -> list[Any]:
    frames = (split.test or split.train)[:PARITY_FRAMES]
    return [dataset.load_image(index, config.color) for index in frames]


def _write_results(
    run: RunFolder,
    dataset: PoseDataset,
    test: EvaluationResult | None,
    parity: Parity,
    progress: Progress,
    outcome: FitOutcome,
    spec: ModelSpec,
    lowered: Lowered | None,
) -> None:
    confidence = reliability_of(test, spec) if test is not None else None
    run.write_metrics(
        {
            "test": {**test.to_json(), "confidence": confidence.to_json()} if test and confidence else None,
            "precision": report(lowered) if lowered else None,
            "validation_error_px": outcome.validation_px,
            "parity": asdict(parity),
            "interrupted": outcome.interrupted,
            "stopped_early": outcome.stopped_early,
            "training": spec.training.model_dump() if spec.training else None,
            "history": [asdict(point) for point in progress.history],
        }
    )
    run.draw_curves(progress.history)
    if test is not None:
        draw_worst(test, dataset, run.path / "worst")
    if confidence is not None:
        draw_reliability(confidence, run.path / RELIABILITY)

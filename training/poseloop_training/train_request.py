"""From the options of `poseloop train` to the dataset and the plan of the run; what can't be is refused at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError
from pydantic import ValidationError
from rich.console import Console

from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.indices import read_indices
from poseloop_training.plan import Identity, Plan, name_like
from poseloop_training.problems import show_and_refuse
from poseloop_training.run_folder import RunFolder
from poseloop_training.settings import TrainSettings
from poseloop_training.split import Split, split_frames

DEFAULT_OUT = Path("model.onnx")
# All else of a run that goes on is what it was.
CHANGEABLE = frozenset({"epochs", "time_limit_s", "patience"})


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The options that were given; None where one was not.

    Attributes:
        settings: of TrainSettings, by name.
        resume: the run folder to go on with.
        target_ms: what a frame may take on one core here; the network follows from it.
        accurate: the network shall spare no time in use.
    """

    project: Path
    settings: dict[str, Any]
    out: Path | None = None
    name: str | None = None
    license: str | None = None
    swap: list[str] | None = None
    test_indices: Path | None = None
    run_dir: Path | None = None
    resume: Path | None = None
    target_ms: float | None = None
    accurate: bool = False


def prepare(request: TrainRequest, console: Console) -> tuple[RunFolder, PoseDataset, Plan]:
    """Return where, on what and how to train; shows what there is to know about the dataset.

    Raises:
        InvalidInputError: an option is wrong, contradicts --resume, or the dataset can't be used.
    """
    if request.resume is not None:
        return _go_on(request, RunFolder(request.resume), console)
    settings = _settings(request.settings)
    out = request.out or DEFAULT_OUT
    identity = Identity(request.name or name_like(out.stem), request.license or "unspecified")
    run = RunFolder(request.run_dir or out.with_suffix(".run"))
    check_out(out)
    run.check()
    dataset = _dataset(request.project, console)
    if request.swap:
        dataset = dataset.with_swap_pairs(_pairs(request.swap))
    split = _split(dataset, settings, request.test_indices)
    if request.accurate or request.target_ms is not None:
        settings = _for_speed(request, settings, dataset, split, console)
    return run, dataset, Plan.of(dataset, split, settings, identity, out)


def check_out(out: Path) -> None:
    """Find out before training whether the model file could be written after it.

    Raises:
        InvalidInputError: the name is no model file's, or is a folder's, or a file stands in its way.
    """
    if out.suffix != ".onnx":
        raise InvalidInputError(f"--out {out}: a model file ends in .onnx; write --out {out.with_suffix('.onnx')}.")
    if out.is_dir():
        raise InvalidInputError(f"--out {out} is a folder; give the name of a file.")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InvalidInputError(f"--out {out} can't be written: {there} is no folder to write into; give another one.")


def _go_on(request: TrainRequest, run: RunFolder, console: Console) -> tuple[RunFolder, PoseDataset, Plan]:
    before = run.read_plan()
    others = {
        "accurate": request.accurate or None,
        "target_ms": request.target_ms,
        "swap": request.swap,
        "test_indices": request.test_indices,
        "run_dir": request.run_dir,
    }
    changed = sorted({*request.settings} - CHANGEABLE | {name for name, given in others.items() if given is not None})
    if changed:
        raise InvalidInputError(
            f"--{changed[0].replace('_', '-')} can't be changed with --resume, which goes on with the run's own "
            "settings; leave it out, or train anew with --init RUN/best.ckpt."
        )
    bounds = {"epochs": None, "time_limit_s": None} if request.settings.keys() & {"epochs", "time_limit_s"} else {}
    settings = _settings({**before.settings.model_dump(), **bounds, **request.settings})
    out = request.out or before.out
    identity = Identity(request.name or before.identity.name, request.license or before.identity.license)
    check_out(out)
    dataset = _dataset(request.project, console)
    before.refuse_other_labels(dataset, run.path)
    dataset = dataset.with_swap_pairs(before.swap_pairs)
    return run, dataset, Plan.of(dataset, before.split, settings, identity, out)


def _for_speed(
    request: TrainRequest, settings: TrainSettings, dataset: PoseDataset, split: Split, console: Console
) -> TrainSettings:
    """Return the settings with a network that is as fast or as accurate as was asked for."""
    # Measuring needs PyTorch and ONNX Runtime, which other runs' requests do without.
    from poseloop_training.speed import accurate, choose

    if request.target_ms is None:
        return settings.model_copy(update=accurate(settings, dataset))
    image = dataset.load_image(split.train[0], settings.color or dataset.color)
    with console.status("Measuring networks on this machine"):
        chosen = choose(
            request.target_ms, settings, list(request.settings), dataset, image,
            lambda timed: console.print(f"  {timed}", markup=False),
        )  # fmt: skip
    console.print(f"For {request.target_ms:g} ms a frame: {chosen}.", markup=False)
    return settings.model_copy(update=chosen.as_settings())


def _settings(given: dict[str, Any]) -> TrainSettings:
    try:
        return TrainSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(map(str, first["loc"])).replace("_", "-") if first["loc"] else "the options"
        raise InvalidInputError(f"{option}: {first['msg']}; `poseloop train --help` lists the options.") from None


def _dataset(project: Path, console: Console) -> PoseDataset:
    dataset = load_dataset(project)
    show_and_refuse(dataset, console)
    return dataset


def _pairs(swap: list[str]) -> list[tuple[str, str]]:
    pairs = [tuple(part.strip() for part in text.split(",")) for text in swap]
    for text, pair in zip(swap, pairs, strict=True):
        if len(pair) != 2:
            raise InvalidInputError(f"--swap {text!r}: write two keypoints with a comma, as in leftear,rightear.")
    return [(left, right) for left, right in pairs]


def _split(dataset: PoseDataset, settings: TrainSettings, test_indices: Path | None) -> Split:
    return split_frames(
        len(dataset),
        test=read_indices(test_indices, len(dataset)) if test_indices is not None else None,
        test_fraction=settings.test_fraction,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )

"""`poseloop train`."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from poseloop.errors import InvalidInputError
from rich.console import Console
from rich.markup import escape

from poseloop_training.tuning import share_the_processor

if TYPE_CHECKING:
    from poseloop_training.dataset import PoseDataset
    from poseloop_training.plan import Plan
    from poseloop_training.train import TrainOutcome

# The time limit is for the whole command; starting the program has cost about its processor time until here.
_STARTED = time.monotonic() - time.process_time()
FAST_MS = 5.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 60.0}


def register(app: typer.Typer) -> None:
    """Add the command `train`."""
    app.command("train")(train)


def parse_duration(text: str) -> float:
    """Return the seconds of "90s", "10m", "1.5h", "1h30m" or "10" (minutes).

    Raises:
        InvalidInputError: it is none of these, or not more than nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    rest = re.sub(r"(\d+(?:\.\d+)?)\s*([smh]?)", "", text.strip().lower()).strip()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if rest or not parts or seconds <= 0 or (len(parts) > 1 and not all(unit for _, unit in parts)):
        raise InvalidInputError(f"{text!r} is no time; write for example 90s, 10m or 1h30m.")
    return seconds


def train(
    project: Annotated[
        Path,
        typer.Argument(
            help="Labels: DeepLabCut project folder or CollectedData file, SLEAP .slp, COCO .json.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The model file to write. (default: model.onnx)", show_default=False)
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(help="For the whole command: 90s, 10m, 1h30m. The schedule ends with it.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training frames, or 250 batches of them.", show_default=False)
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Any timm network with feature maps. (default: tf_efficientnet_lite0)", show_default=False),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="First weights: imagenet, none or a file. (default: imagenet)", show_default=False),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Network pixels a heatmap cell. (default: 4)", show_default=False)
    ] = None,
    most_stride: Annotated[
        int | None,
        typer.Option(
            help="Leave out the backbone's layers beyond this stride: 8 is faster, 32 sees more. (default: 16)",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Channels of the feature pyramid. (default: 64)", show_default=False)
    ] = None,
    input_scale: Annotated[
        float | None,
        typer.Option(help="Network pixels a frame pixel. (default: from the frames and animals)", show_default=False),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Side of a training window in network pixels. (default: from the animals)", show_default=False
        ),
    ] = None,
    color: Annotated[
        Literal["gray", "rgb"] | None, typer.Option(help="(default: from the images)", show_default=False)
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"] | None,
        typer.Option(help="Of the model file: int8 for CPUs, fp16 for GPUs. (default: fp32)", show_default=False),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="The same as --target-ms 5.")] = False,
    accurate: Annotated[bool, typer.Option("--accurate", help="See as much of a frame as can be trained.")] = False,
    target_ms: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="What a frame may take on one core here: network, scale and precision are chosen by measurement.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="(default: 8)", show_default=False)] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that share a batch, on each machine: GPUs where there are any. (default: 1)",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Machines; start the same command on each, see the docs. (default: 1)", show_default=False
        ),
    ] = None,
    training_precision: Annotated[
        Literal["fp32", "bf16", "fp16"] | None,
        typer.Option(help="Numbers to train in. (default: what the GPU is fast in; fp32 on CPUs)", show_default=False),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="(default: 0.002)", show_default=False)] = None,
    rotation: Annotated[
        float | None, typer.Option(help="Largest angle of augmentation, degrees. (default: 180)", show_default=False)
    ] = None,
    zoom_out: Annotated[
        float | None, typer.Option(help="Least size of an augmented frame. (default: 0.75)", show_default=False)
    ] = None,
    zoom_in: Annotated[
        float | None, typer.Option(help="Largest size of an augmented frame. (default: 1.3)", show_default=False)
    ] = None,
    flip: Annotated[
        bool | None, typer.Option(help="Mirror frames, where swap pairs are known. (default: flip)", show_default=False)
    ] = None,
    swap: Annotated[
        list[str] | None,
        typer.Option(help="LEFT,RIGHT: keypoints a mirror exchanges; once a pair.", show_default=False),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            help="End when all of this part of the run was worse than before. (default: 0.3)", show_default=False
        ),
    ] = None,
    test_indices: Annotated[
        Path | None,
        typer.Option(help="File with the frames held out for the test, as for `evaluate`.", show_default=False),
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Part held out for the test otherwise. (default: 0.2)", show_default=False)
    ] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(help="Part of the others that chooses the weights. (default: 0.1)", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="(default: 0)", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="(default: the file's name)", show_default=False)] = None,
    license: Annotated[
        str | None, typer.Option(help="Stands in the model file. (default: unspecified)", show_default=False)
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="(default: NAME.run beside the model)", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to go on with, as it was begun, up to --epochs or for --time-limit.", show_default=False
        ),
    ] = None,
) -> None:
    """Train a model on labelled frames and export it as one file."""
    if fast + accurate + (target_ms is not None) > 1:
        raise InvalidInputError("--fast, --accurate and --target-ms exclude each other; give one of them.")
    given: dict[str, Any] = {
        "backbone": backbone,
        "init": init,
        "stride": stride,
        "most_stride": most_stride,
        "width": width,
        "input_scale": input_scale,
        "window": window,
        "color": color,
        "precision": precision,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "rotation": rotation,
        "zoom_out": zoom_out,
        "zoom_in": zoom_in,
        "flip": flip,
        "patience": patience,
        "test_fraction": test_fraction,
        "validation_fraction": validation_fraction,
        "seed": seed,
        "epochs": epochs,
        "time_limit_s": parse_duration(time_limit) if time_limit is not None else None,
    }
    given = {key: value for key, value in given.items() if value is not None}
    console = Console(stderr=True, highlight=False)
    share_the_processor()
    with console.status("Loading"):
        # PyTorch and Lightning take seconds to import, and --help shall not wait for them.
        from poseloop_training import train as training
        from poseloop_training.callbacks import ProgressBar
        from poseloop_training.companions import companions, find_place
        from poseloop_training.mixed_precision import choose_precision
        from poseloop_training.train_request import TrainRequest, prepare

    place = find_place(devices, nodes)
    used = choose_precision(training_precision)
    console.quiet = not place.first
    target_ms = FAST_MS if fast else target_ms
    request = TrainRequest(project, given, out, name, license, swap, test_indices, run_dir, resume, target_ms, accurate)
    run, dataset, plan = prepare(request, console)
    _announce(dataset, plan, console)
    again, bars = resume is not None, [ProgressBar(console)]
    with companions(place, sys.argv[1:], console, numbered=devices is not None) as group:
        if not place.first:
            training.accompany(dataset, plan, run, group, resume=again, precision=used)
            return
        outcome = training.train(
            dataset, plan, run, started=_STARTED, resume=again, bars=bars, group=group, precision=used
        )
    _report(outcome, console)


def _announce(dataset: PoseDataset, plan: Plan, console: Console) -> None:
    console.print(
        f"{escape(dataset.name)}: {len(dataset.keypoint_names)} keypoints, {len(plan.split.train)} frames to train on, "
        f"{len(plan.split.validation)} for validation, {len(plan.split.test)} for the test."
    )
    console.print(_left_and_right(dataset), markup=False, soft_wrap=True)


def _left_and_right(dataset: PoseDataset) -> str:
    """Say what a mirror exchanges, for a wrong pair would teach a model to exchange body parts."""
    from poseloop_training.names import sided_alone

    pairs = ", ".join(f"{left} and {right}" for left, right in dataset.swap_pairs)
    guessed = " (guessed from the names; --swap LEFT,RIGHT replaces them)" if dataset.swap_pairs_guessed else ""
    alone = ", ".join(sided_alone(dataset.keypoint_names, dataset.swap_pairs))
    text = f"A mirror exchanges {pairs}{guessed}." if pairs else "No left and right are known: frames are not mirrored."
    return f"{text} Without a counterpart: {alone}." if alone else text


def _report(outcome: TrainOutcome, console: Console) -> None:
    from poseloop_training.evaluate_cli import error_table

    if outcome.test is not None:
        Console(highlight=False).print(error_table(outcome.test))
    if outcome.fit.interrupted:
        console.print(
            "Stopped by Ctrl-C: the model is the best so far; go on with "
            f"--resume {escape(str(outcome.run.path))} and the same labels.",
            soft_wrap=True,
        )
    elif outcome.fit.stopped_early:
        console.print("Ended early: the validation error no longer improved.")
    if outcome.lowered is not None:
        console.print(str(outcome.lowered), markup=False, soft_wrap=True)
    console.print(
        f"{escape(str(outcome.model))}: {outcome.model.stat().st_size / 1e6:.1f} MB after {outcome.seconds / 60:.1f} "
        f"minutes, {outcome.fit.epochs} epochs; {outcome.parity}. "
        f"Run folder: {escape(str(outcome.run.path))}",
        soft_wrap=True,
    )

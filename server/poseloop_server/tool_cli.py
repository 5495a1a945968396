"""The commands that use a model or a server without being one: `track` and `demo`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProviderName(StrEnum):
    """What can be asked to run a model."""

    CPU = "cpu"
    OPENVINO = "openvino"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Model file, an .onnx made by `poseloop train`.")]
ProviderOption = Annotated[ProviderName, typer.Option(help="What runs the model.")]
OptionsOption = Annotated[
    str | None, typer.Option("--provider-options", help="Options of the provider, as KEY=VALUE,KEY=VALUE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("track")(track)
    app.command("demo")(demo)


def track(
    video: Annotated[Path, typer.Argument(help="Video file; every frame is tracked.")],
    model: ModelOption,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", help="Table, .csv or .h5; may be given twice. Without: VIDEO_MODEL.csv in this folder."
        ),
    ] = None,
    h5: Annotated[bool, typer.Option("--h5", help="Write an .h5 beside the .csv.")] = False,
    annotated: Annotated[
        Path | None, typer.Option("--video", help="Also write the video with the poses drawn in it, an .mp4.")
    ] = None,
    provider: ProviderOption = ProviderName.CPU,
    provider_options: OptionsOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model. Without: all cores.")] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Window that follows the one animal, such as 256x256."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace outputs that are there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Track every frame of a video and write the poses as DeepLabCut tables.

    The same model code runs as in the server, and no frame is left out. DeepLabCut, SLEAP, movement and pandas read
    the tables. Ctrl-C stops early and keeps what is done.
    """
    from poseloop.crop import parse_crop

    from poseloop_server.following import require_croppable
    from poseloop_server.model import PoseModel
    from poseloop_server.provider_options import options_of_flag
    from poseloop_server.track import TrackOutputs, track_video
    from poseloop_server.video_poses import open_video

    tables = list(output or [Path(f"{video.stem}_{model.stem}.csv")])
    if h5 and not any(table.suffix == ".h5" for table in tables):
        tables.append(tables[0].with_suffix(".h5"))
    window = None if crop is None else parse_crop(crop)
    outputs = TrackOutputs(tables, annotated)
    outputs.check(overwrite=force)
    source = open_video(video)
    outputs.check_apart_from(video)
    console = Console(stderr=True, highlight=False)
    with console.status("Loading the model …"):
        options = options_of_flag(provider, provider_options)
        loaded = PoseModel(model, provider=provider, options=options, threads=threads or os.cpu_count() or 1)
    if window is not None:
        require_croppable(loaded)
    with stopped_by_ctrl_c() as stop, progress_bar(console) as progress:
        bar = progress.add_task(video.name, total=source.frames or None)
        result = track_video(
            source,
            loaded,
            outputs,
            crop=window,
            on_frame=lambda done: progress.update(bar, completed=done),
            stop=stop.is_set,
        )
    if as_json:
        typer.echo(json.dumps({**asdict(result), "outputs": [str(path) for path in outputs.all]}))
        return
    if result.interrupted:
        console.print(f"[yellow]Stopped after {result.frames} frames; the files hold those and are whole.[/]")
    elif source.frames and result.frames != source.frames:
        console.print(
            f"[yellow]The header of {video.name} promises {source.frames} frames; {result.frames} could be decoded.[/]"
        )
    rate = result.frames / max(result.seconds, 1e-9)
    console.print(
        f"{result.frames} frames in {result.seconds:.1f} s ({rate:.1f} a second), "
        f"inference {result.inference_ms:.1f} ms on {loaded.provider}"
    )
    for path in outputs.all:
        console.print(f"  {path}", soft_wrap=True)


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to run.")] = 15.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what it leaves behind.")] = Path(
        "demo-output"
    ),
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model file. Without: the bundled arena model.")
    ] = None,
) -> None:
    """Run the whole loop on this machine: no camera, no labels, no GPU needed.

    A synthetic camera films a mouse-like animal at 60 frames a second, a server finds its keypoints, and this program
    subscribes to them and compares them with the truth. It leaves an annotated clip, a histogram of the latency and
    the figures as JSON.
    """
    from poseloop_server.bundled import arena_model_path
    from poseloop_server.demo_view import run_demo

    run_demo(model or arena_model_path(), seconds, output, Console(highlight=False))


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Event]:
    """Within the block, Ctrl-C and SIGTERM set the event; a second one acts as usual."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask_to_stop(*_: object) -> None:
        stop.set()
        restore()

    for number in numbers:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()


def progress_bar(console: Console) -> Progress:
    """Return a bar that counts frames."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
        console=console,
    )

"""The commands `poseloop bench latency`, `scaling`, `peer`, `soak` and `loop`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from poseloop.errors import InvalidInputError
from rich.console import Console

from poseloop_server.tool_cli import JsonOption, ProviderName, ProviderOption

if TYPE_CHECKING:
    from poseloop_server.bench.rig import Setup

Result = TypeVar("Result")
Carrier = Literal["grpc", "local"]
Poses = Literal["auto", "zeromq"]

ModelOption = Annotated[
    Path | None, typer.Option("--model", "-m", help="Model file. Without: the bundled arena model.")
]
TransportOption = Annotated[
    Carrier, typer.Option(help="How frames reach the server. local: shared memory of one machine.")
]
PosesOption = Annotated[
    Poses, typer.Option(help="How poses reach the subscriber. auto: shared memory, ahead of ZeroMQ.")
]
SizeOption = Annotated[
    str,
    typer.Option(
        help="WIDTHxHEIGHT of the frames in pixels, or WIDTHxHEIGHTxCHANNELS: 1 for grey, 3 for RGB. Without channels "
        "they have the model's own colour."
    ),
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads of the model, served and bare.")]
NumbersOption = Annotated[str, typer.Option(help="The numbers of streams to measure, one after the other.")]
RateOption = Annotated[float, typer.Option(min=1, max=1000, help="Frames a second of each stream.")]
SecondsOption = Annotated[
    float, typer.Option(min=1.5, help="How long each number of streams is served; the first second is warm-up.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    bench = typer.Typer(no_args_is_help=True, help="Measure this machine with this model.")
    for name, command in (("latency", latency), ("scaling", scaling), ("peer", peer), ("soak", soak), ("loop", loop)):
        bench.command(name)(command)
    app.add_typer(bench, name="bench")


def latency(
    model: ModelOption = None,
    transport: TransportOption = "grpc",
    poses: PosesOption = "auto",
    size: SizeOption = "640x480",
    fps: RateOption = 60.0,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each stream; the first second's are warm-up.")] = 600,
    seconds: Annotated[float | None, typer.Option(min=1.5, help="How long to send, instead of --frames.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=256, help="How many cameras there are.")] = 1,
    load: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=20, help="Frames a second of all streams, as a factor of what the bare inference can do."
        ),
    ] = None,
    provider: ProviderOption = ProviderName.CPU,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure what serving adds to bare inference, from capture to the subscriber.

    Synthetic cameras, the server and a subscriber run as processes of their own. Before and after them a bare
    session.run of the same model on the same frames, at the same rate and with the same threads, is timed in a process
    that does nothing else. The overhead of a frame is its time from capture to the subscriber less the median of
    those. Frames of another colour than the model's are converted beforehand for the bare inference, and on their way
    for the served one. The first second of each part is warm-up and is not counted.

    With --load the bare inference runs one right after the other, and its median gives the rate of the cameras. Above
    1 frames have to be dropped; then look at the ages by stream, and at the account.
    """
    from poseloop_server.bench.latency import LatencyJob, measure_latency
    from poseloop_server.bench.view import show_latency

    setup = _setup(model, size, transport, poses, provider, threads)
    job = LatencyJob(setup, streams, fps, frames, seconds, load)
    result = _run(lambda say: measure_latency(job, say))
    _show(result.to_json(), as_json, lambda console: show_latency(result, console))


def scaling(
    model: ModelOption = None,
    transport: TransportOption = "grpc",
    poses: PosesOption = "auto",
    size: SizeOption = "640x480",
    streams: NumbersOption = "1,2,4,8,16",
    fps: RateOption = 30.0,
    seconds: SecondsOption = 10.0,
    plot: Annotated[Path, typer.Option("--plot", "-o", help="Where the picture goes, a .png.")] = Path(
        "bench-scaling.png"
    ),
    provider: ProviderOption = ProviderName.CPU,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure ages, fairness, losses and memory over the number of streams, and draw them.

    Each number of streams gets a server of its own. The load is told beside it: above 100 % of what the bare inference
    can do, frames have to be dropped.
    """
    from poseloop_server.bench.plot import draw_scaling
    from poseloop_server.bench.scaling import ScalingJob, measure_scaling
    from poseloop_server.bench.view import show_scaling

    _check_folder(plot)
    job = ScalingJob(_setup(model, size, transport, poses, provider, threads), _numbers(streams), fps, seconds)
    result = _run(lambda say: measure_scaling(job, say))
    draw_scaling(result, plot)
    _show({**result.to_json(), "plot": str(plot)}, as_json, lambda console: show_scaling(result, console))


def peer(
    model: ModelOption = None,
    transport: TransportOption = "grpc",
    poses: PosesOption = "auto",
    size: SizeOption = "640x480",
    streams: NumbersOption = "1,2,4",
    fps: RateOption = 60.0,
    seconds: SecondsOption = 10.0,
    buffers: Annotated[
        int, typer.Option(min=0, help="Frames that a camera's driver holds for the naive loop; 0: as many as it takes.")
    ] = 4,
    plain_session: Annotated[
        bool, typer.Option("--plain-session", help="The naive loop's session has ONNX Runtime's own settings.")
    ] = False,
    drift: Annotated[
        float, typer.Option(min=0, max=50, help="Percent by which each camera is slower than the one before.")
    ] = 0.0,
    provider: ProviderOption = ProviderName.CPU,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure the simplest loop that a lab would write beside the server.

    The loop takes a frame of each camera in turn, runs the model on it and prints the keypoints, all in one process
    and one thread. Of the server, the subscriber prints them. Either way a pose's age is from capture to print. The
    loop runs before and after each served run.

    Real cameras have clocks of their own, so the loop goes at the pace of the slowest and the frames of the others wait
    in their drivers' buffers. With --drift 2 that comes about within seconds, which takes two cameras that differ by 50
    millionths a quarter of an hour.
    """
    from poseloop_server.bench.peer import PeerJob, measure_peer
    from poseloop_server.bench.view import show_peer

    setup = _setup(model, size, transport, poses, provider, threads)
    job = PeerJob(setup, _numbers(streams), fps, seconds, buffers, plain_session, drift / 100)
    result = _run(lambda say: measure_peer(job, say))
    _show(result.to_json(), as_json, lambda console: show_peer(result, console))


def soak(
    minutes: Annotated[float, typer.Option(min=0.02, help="How long; from 3 on there is a verdict.")] = 20.0,
    model: ModelOption = None,
    transport: TransportOption = "grpc",
    poses: PosesOption = "auto",
    size: SizeOption = "640x480",
    streams: Annotated[int, typer.Option(min=1, max=256, help="How many cameras there are.")] = 4,
    load: Annotated[
        float,
        typer.Option(
            min=0.01, max=20, help="Frames a second of all streams, as a factor of what the bare inference can do."
        ),
    ] = 0.5,
    interval: Annotated[float, typer.Option(min=0.5, max=20, help="Seconds between two samples.")] = 10.0,
    plot: Annotated[Path | None, typer.Option("--plot", "-o", help="Also draw it, as a .png.")] = None,
    provider: ProviderOption = ProviderName.CPU,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Watch a server under steady load: memory, threads, file handles and the age of its poses.

    At the end it says whether any of them grew: growth an hour by a robust regression over what follows the first
    minute, and the last minute against the first.
    """
    from poseloop_server.bench.plot import draw_soak
    from poseloop_server.bench.soak import SoakJob
    from poseloop_server.bench.soak import soak as run_soak
    from poseloop_server.bench.view import moment_line, show_soak

    if plot is not None:
        _check_folder(plot)
    job = SoakJob(_setup(model, size, transport, poses, provider, threads), minutes, streams, load, interval)
    console = Console(stderr=True, highlight=False)
    result = run_soak(job, console.print, lambda moment: console.print(moment_line(moment)))
    if plot is not None:
        draw_soak(result, plot)
    _show(result.to_json(), as_json, lambda console: show_soak(result, console))


def loop(
    model: ModelOption = None,
    transport: TransportOption = "local",
    size: SizeOption = "320x240",
    fps: RateOption = 100.0,
    trials: Annotated[int, typer.Option(min=10, max=100_000, help="How often the animal steps in.")] = 1000,
    record: Annotated[bool, typer.Option(help="Keep a record meanwhile, as an experiment does.")] = True,
    provider: ProviderOption = ProviderName.CPU,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure the whole loop: an animal steps into a zone, and a byte arrives at a serial port.

    A synthetic camera, the server and a device at the other end of a pseudo-terminal run as processes of their own. The
    latency is from the capture of the first frame that shows the animal inside to the byte's arrival. A step without a
    byte is a miss, and a byte that belongs to no step a false alarm.
    """
    from poseloop_server.bench.loop import LoopJob, measure_loop
    from poseloop_server.bench.view import show_loop

    job = LoopJob(_setup(model, size, transport, "auto", provider, threads), trials, fps, record)
    result = _run(lambda say: measure_loop(job, say))
    _show(result.to_json(), as_json, lambda console: show_loop(result, console))


def _setup(
    model: Path | None, size: str, transport: Carrier, poses: Poses, provider: ProviderName, threads: int
) -> Setup:
    from poseloop_server.bench.rig import Setup
    from poseloop_server.bundled import arena_model_path

    width, height, channels = _size(size)
    return Setup(model or arena_model_path(), width, height, channels, provider.value, threads, transport, poses)


def _run(measure: Callable[[Callable[[str], None]], Result]) -> Result:
    with Console(stderr=True, highlight=False).status("starting") as status:
        return measure(lambda step: status.update(step))


def _show(document: dict[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        show(Console(highlight=False))


def _size(text: str) -> tuple[int, int, int | None]:
    parts = text.lower().split("x")
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        raise InvalidInputError(f"the size {text!r} is not WIDTHxHEIGHT or WIDTHxHEIGHTxCHANNELS, such as 640x480x3")
    width, height, *channels = map(int, parts)
    return width, height, channels[0] if channels else None


def _numbers(text: str) -> list[int]:
    parts = text.replace(" ", "").split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 256 for part in parts):
        raise InvalidInputError(f"the numbers of streams {text!r} are not 1 to 256 with commas between, such as 1,2,4")
    return [int(part) for part in parts]


def _check_folder(file: Path) -> None:
    """Refuse a picture that can't be written before anything is measured."""
    if file.suffix != ".png" or not file.absolute().parent.is_dir():
        raise InvalidInputError(f"the picture {file} can't be written; name a .png in a folder that exists")

"""The command `poseloop rehearse`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from poseloop.errors import InvalidInputError
from poseloop.output import JsonOption, require_apart, write_json
from rich.console import Console

from poseloop_server.tool_cli import (
    OptionsOption,
    ProviderName,
    ProviderOption,
    progress_bar,
    stopped_by_ctrl_c,
)

if TYPE_CHECKING:
    from poseloop.crop import Crop

    from poseloop_server.loop.config import LoopConfig
    from poseloop_server.model import PoseModel
    from poseloop_server.rehearse.opening import Opened, Wanted
    from poseloop_server.rehearse.outcome import Outcome
    from poseloop_server.rehearse.run import Rehearsal, Watch
    from poseloop_server.track import TrackOutputs


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("rehearse")(rehearse)


def rehearse(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="An experiment's configuration, a .yaml file.")],
    video: Annotated[
        Path | None, typer.Option("--video", "-v", help="Video to rehearse on; with --poses, the one they are of.")
    ] = None,
    poses: Annotated[
        Path | None, typer.Option("--poses", "-p", help="Poses to rehearse on: .h5, .csv, or an experiment's .jsonl.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model file. Without: the bundled arena model.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Which stream of CONFIG, and of a log. Needed where there are several.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, max=100_000, help="Frames a second. Without: as the video says.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of the frames, such as 640x480. Without: the video's.")
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(min=0, max=60_000, help="From capture to decision. Without: 10 ms; in a log as it was."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Another configuration, compared on the same recording.")
    ] = None,
    tolerance_ms: Annotated[
        float, typer.Option(min=0, max=60_000, help="How far apart the same event of two configurations may be.")
    ] = 200.0,
    check: Annotated[bool, typer.Option("--check", help="Only check CONFIG against the model.")] = False,
    save_poses: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the video's poses, an .h5 or .csv for --poses.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every event as a row.")] = None,
    clip: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw zones, keypoints and events into the video, an .mp4.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="WxH", help="Window that follows the one animal, such as 256x256.")
    ] = None,
    provider: ProviderOption = ProviderName.CPU,
    provider_options: OptionsOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model. Without: all cores.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the triggers of CONFIG would have done on a recording, without a camera, a device or an animal.

    Stages and triggers run as in an experiment; the outputs are simulated, and nothing is sent.
    The same recording gives the same events. Ctrl-C stops early and shows what was found until then.
    """
    from poseloop.crop import parse_crop

    from poseloop_server.loop.config import load_loop
    from poseloop_server.rehearse.documents import document, write_csv
    from poseloop_server.rehearse.opening import Wanted
    from poseloop_server.rehearse.view import print_outcome

    wanted = Wanted(video, poses, fps, size, latency_ms, stream, pictures=clip is not None)
    options = ModelOptions(model, provider, provider_options, threads)
    if poses is not None and (model or crop or save_poses):
        raise InvalidInputError("the poses are there already; leave out --model, --crop and --save-poses")
    configs = [load_loop(path) for path in (config, against) if path is not None]
    if check:
        _check(configs, wanted, options, as_json)
        return
    if csv is not None:
        if not csv.parent.is_dir():
            raise InvalidInputError(f"the folder {csv.parent} of the table is not there; make it first")
        require_apart(csv, config, against, video, poses, model)
        if csv.exists() and not force:
            raise InvalidInputError(f"{csv} is there already; choose another name, or replace it with --force")
    window = None if crop is None else parse_crop(crop)
    outputs = _outputs(wanted, save_poses, clip, force)
    outcome = _run(configs, wanted, options, window, outputs, round(tolerance_ms * 1e6))
    if csv is not None:
        write_csv(csv, outcome.rehearsals)
    if as_json:
        write_json(document(outcome))
    else:
        print_outcome(outcome)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model to load, and how."""

    path: Path | None
    provider: str
    options: str | None
    threads: int | None

    def load(self) -> PoseModel:
        """Load it, which takes a second or more."""
        from poseloop_server.bundled import arena_model_path
        from poseloop_server.model import PoseModel
        from poseloop_server.provider_options import options_of_flag

        with Console(stderr=True).status("Loading the model …"):
            options = options_of_flag(self.provider, self.options)
            threads = self.threads or os.cpu_count() or 1
            return PoseModel(self.path or arena_model_path(), provider=self.provider, options=options, threads=threads)


def _outputs(wanted: Wanted, save_poses: Path | None, clip: Path | None, force: bool) -> TrackOutputs:
    from poseloop_server.track import TrackOutputs

    outputs = TrackOutputs([] if save_poses is None else [save_poses], clip)
    outputs.check(overwrite=force)
    if wanted.video is not None and wanted.video.is_file():
        outputs.check_apart_from(wanted.video)
    return outputs


def _run(
    configs: Sequence[LoopConfig],
    wanted: Wanted,
    options: ModelOptions,
    crop: Crop | None,
    outputs: TrackOutputs,
    tolerance_ns: int,
) -> Outcome:
    from poseloop_server.rehearse.check import check_outputs, stream_of
    from poseloop_server.rehearse.opening import open_poses, open_video_recording
    from poseloop_server.rehearse.outcome import Outcome
    from poseloop_server.rehearse.run import Rehearsal, run

    with ExitStack() as files:
        opened = open_poses(wanted)
        if opened is None:
            opened = open_video_recording(wanted, options.load, crop, outputs, files)
        recording = opened.recording
        rehearsals = []
        for config in configs:
            check_outputs(config, recording.keypoints)
            rehearsals.append(Rehearsal(config, stream_of(config, opened.stream, opened.model), recording))
        watch = _clip(outputs, opened, rehearsals[0], files)
        with stopped_by_ctrl_c() as stop, progress_bar(Console(stderr=True, highlight=False)) as progress:
            bar = progress.add_task("rehearsing", total=recording.frames or None)
            result = run(
                rehearsals,
                recording,
                on_pose=lambda done: progress.update(bar, completed=done),
                watch=watch,
                stop=stop.is_set,
            )
    remarks = [] if result.interrupted else recording.remarks()
    return Outcome(result, recording.description, remarks, opened.latency_ms, rehearsals, tolerance_ns)


def _clip(outputs: TrackOutputs, opened: Opened, rehearsal: Rehearsal, files: ExitStack) -> Watch:
    from poseloop_server.rehearse.clip import RehearsalClip
    from poseloop_server.track import AnnotatedVideo, finish_with

    if outputs.video is None:
        return lambda *_: None
    video = AnnotatedVideo(outputs.video, opened.fps)
    finish_with(files, video)
    return RehearsalClip(video, rehearsal, opened.skeleton).add


def _check(configs: Sequence[LoopConfig], wanted: Wanted, options: ModelOptions, as_json: bool) -> None:
    from poseloop_server.rehearse.check import check_outputs, check_streams, streams_of
    from poseloop_server.rehearse.opening import open_poses
    from poseloop_server.rehearse.view import print_checks

    opened = open_poses(wanted)
    if opened is not None:
        keypoints, model, what = opened.recording.keypoints, None, str(wanted.poses)
    else:
        loaded = options.load()
        keypoints, model, what = tuple(loaded.spec.keypoints), loaded.name, f"the model {loaded.name}"
    found = []
    for config in configs:
        check_outputs(config, keypoints)
        streams = check_streams(config, streams_of(config, wanted.stream, model), keypoints)
        found.append((config.source.file, streams))
    if as_json:
        write_json([{"configuration": file, "streams": [asdict(one) for one in streams]} for file, streams in found])
    else:
        print_checks(found, what)

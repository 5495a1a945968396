"""`poseloop demo` as people see it: what happens while it starts, a live table, a summary, and what to try next."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from poseloop.errors import InvalidInputError
from poseloop.types import Counters, ModelInfo
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poseloop_server.demo import SETTINGS, Demo, Recording, Summary

_REFRESH_S: Final = 0.2
_LINE_EVERY_S: Final = 5.0
_WINDOW_FRAMES: Final = 300
_BAR: Final = 10

_NEXT: Final = """\
[bold]What to try next[/]
  your camera     [cyan]poseloop serve[/], and beside it [cyan]poseloop stream camera:0 --name cam0[/]
  its keypoints   [cyan]poseloop watch cam0[/], or in Python:
                  [green]for pose in poseloop.subscribe("tcp://localhost:5557", stream="cam0"): print(pose["snout"])[/]
  your animals    [cyan]poseloop train DEEPLABCUT_PROJECT --out mouse.onnx[/]
                  [cyan]poseloop serve --model mouse.onnx[/]
  a recording     [cyan]poseloop track VIDEO --model mouse.onnx -o poses.csv --video poses.mp4[/]
  this machine    [cyan]poseloop bench latency[/] and [cyan]poseloop doctor[/]"""


def run_demo(model: Path, seconds: float, output: Path, console: Console) -> None:
    """Run the demo and write its files.

    Raises:
        ChildFailedError: a process failed.
        InvalidInputError: the output folder can't be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"the folder {output} can't be made: {error.strerror}") from None
    console.print("[bold]poseloop demo[/]: camera, server and subscriber, each a process of its own")
    with Demo(model) as demo:
        console.print("  starting the server, which loads the model and warms it up …")
        served = demo.start_server()
        console.print(f"  starting the camera: {_film()} …")
        recording = demo.start_camera(served)
        _watch(demo, recording, served, seconds, console)
    summary = recording.summary()
    if summary is None:
        raise InvalidInputError("the demo was stopped before it saw anything; run it again")
    console.print(f"  writing the clip, the histogram and the figures to {output} …")
    files = _write_files(output, recording, summary, served)
    _conclude(summary, served, files, console)


def _watch(demo: Demo, recording: Recording, served: ModelInfo, seconds: float, console: Console) -> None:
    """Show what comes until the time is over, or Ctrl-C."""
    view = LiveView(recording, served, seconds)
    live = Live(view, console=console, refresh_per_second=1 / _REFRESH_S, transient=True)
    next_line_s = _LINE_EVERY_S
    try:
        with live if console.is_terminal else nullcontext():
            while view.elapsed_s < seconds:
                demo.check()
                time.sleep(_REFRESH_S)
                if not console.is_terminal and view.elapsed_s >= next_line_s:
                    next_line_s += _LINE_EVERY_S
                    _print_line(recording, view.elapsed_s, console)
    except KeyboardInterrupt:
        console.print("  stopped early")


def _print_line(recording: Recording, elapsed_s: float, console: Console) -> None:
    summary = recording.summary(_WINDOW_FRAMES)
    if summary is not None:
        error = f", error {summary.mean_error_px:.2f} px" if summary.errors_px else ""
        console.print(
            f"  {elapsed_s:4.0f} s: {summary.frames_per_second:.1f} frames/s, latency p50 {summary.age.p50:.1f} ms, "
            f"p99 {summary.age.p99:.1f} ms, {summary.counters.dropped} dropped{error}",
            soft_wrap=True,
        )


class LiveView:
    """The live table; drawn from the recording as it is at that moment."""

    def __init__(self, recording: Recording, served: ModelInfo, seconds: float) -> None:
        self._recording = recording
        self._served = served
        self._seconds = seconds
        self._started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Since the first pose."""
        return time.monotonic() - self._started_s

    def __rich__(self) -> RenderableType:
        """Draw."""
        summary = self._recording.summary(_WINDOW_FRAMES)
        if summary is None:
            return Text("  waiting for poses …")
        left = max(self._seconds - self.elapsed_s, 0.0)
        heading = Text(f"  frame {self._recording.sightings[-1].sequence}", style="bold")
        heading.append(f"   {left:.0f} s to go, Ctrl-C ends it now", style="dim")
        return Group(heading, self._keypoints(summary), Text(), _figures(summary))

    def _keypoints(self, summary: Summary) -> Table:
        table = Table(box=None, pad_edge=True)
        table.add_column("keypoint")
        for title in ("x", "y"):
            table.add_column(title, justify="right", min_width=6)
        table.add_column("confidence")
        table.add_column("error px", justify="right")
        last = self._recording.sightings[-1]
        for name, (x, y, confidence) in zip(self._recording.names, last.keypoints.tolist(), strict=True):
            error = summary.errors_px.get(name)
            table.add_row(name, f"{x:.1f}", f"{y:.1f}", _bar(confidence), "-" if error is None else f"{error:.2f}")
        return table


def _bar(confidence: float) -> Text:
    filled = round(_BAR * min(max(confidence, 0.0), 1.0))
    style = "green" if confidence >= 0.8 else "yellow" if confidence >= 0.3 else "red"
    return Text.assemble(("━" * filled, style), ("━" * (_BAR - filled), "bright_black"), f" {confidence:.2f}")


def _figures(summary: Summary) -> Table:
    table = Table(box=None, show_header=False)
    age, inference = summary.age, summary.inference
    table.add_row("frames a second", f"[bold cyan]{summary.frames_per_second:.1f}[/]")
    table.add_row("capture to published", f"[bold]p50 {age.p50:.1f}[/]  p95 {age.p95:.1f}  p99 {age.p99:.1f} ms")
    table.add_row("worst", f"{age.max:.1f} ms")
    table.add_row("of which inference", f"p50 {inference.p50:.1f}  p99 {inference.p99:.1f} ms")
    table.add_row("frames", f"sent {summary.counters.sent}, published {summary.counters.published}")
    table.add_row("dropped", _drops(summary.counters))
    if summary.errors_px:
        table.add_row("error against the truth", f"[bold]{summary.mean_error_px:.2f} px[/]")
    return table


def _drops(counters: Counters) -> Text:
    places = {
        "outbox": counters.dropped_outbox,
        "connection": counters.lost_connection,
        "rate": counters.dropped_rate,
        "mailbox": counters.dropped_mailbox,
        "failed": counters.failed,
    }
    line = Text(f"{counters.dropped}", style="bold red" if counters.dropped else "bold green")
    line.append("  (" + ", ".join(f"{place} {count}" for place, count in places.items()) + ")", style="dim")
    return line


def _write_files(output: Path, recording: Recording, summary: Summary, served: ModelInfo) -> dict[str, Path]:
    from poseloop_server.demo_files import write_clip, write_histogram, write_summary

    files = {
        "annotated clip": output / "clip.mp4",
        "latency histogram": output / "latency.png",
        "figures": output / "summary.json",
    }
    write_clip(files["annotated clip"], recording, served.spec)
    write_histogram(files["latency histogram"], recording, summary)
    write_summary(files["figures"], summary)
    return files


def _conclude(summary: Summary, served: ModelInfo, files: dict[str, Path], console: Console) -> None:
    console.print()
    console.print(f"[bold]{summary.poses} poses[/] of {_film()}")
    console.print(f"[dim]model {served.name} on {served.provider}, {served.device}[/]")
    table = _figures(summary)
    for name, path in files.items():
        table.add_row(name, str(path))
    console.print(table)
    console.print()
    console.print(_NEXT, soft_wrap=True)


def _film() -> str:
    return f"{SETTINGS.width}x{SETTINGS.height} at {SETTINGS.frames_per_second:g} frames a second"

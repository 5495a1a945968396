"""`poseloop watch`: the poses of one stream as a live table, as JSON lines, as CSV."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poseloop.addresses import DEFAULT_ENDPOINT, check_stream
from poseloop.clock import now_ns
from poseloop.documents import pose_document
from poseloop.losses import Restart
from poseloop.output import JsonOption, console, until_told_to_stop, write_json
from poseloop.pose_table import PoseTable
from poseloop.subscriber import Subscription
from poseloop.types import Counters, Pose

_REFRESH_S = 0.1
_WINDOW_S = 5.0
_QUIET_S = 1.0
_BAR = 10
_RESTARTS = 3


class WatchStatistics:
    """Frame rate and age of the poses of the last seconds."""

    def __init__(self, window_s: float = _WINDOW_S) -> None:
        self._window_ns = round(window_s * 1e9)
        self._recent: deque[tuple[int, float, float]] = deque()  # arrived, age, inference
        self.received = 0

    def add(self, pose: Pose, arrived_ns: int) -> None:
        """Add a pose that arrived at that time of our clock."""
        self.received += 1
        self._recent.append((arrived_ns, pose.stamps.age_ms, pose.stamps.inference_ms))
        while self._recent[0][0] < arrived_ns - self._window_ns:
            self._recent.popleft()

    @property
    def frames_per_second(self) -> float:
        """Poses a second; NaN with fewer than two."""
        if len(self._recent) < 2:
            return float("nan")
        return (len(self._recent) - 1) / ((self._recent[-1][0] - self._recent[0][0]) / 1e9)

    def age_ms(self, percentile: float) -> float:
        """A percentile of capture to published; NaN without poses."""
        return float(np.percentile([age for _, age, _ in self._recent], percentile)) if self._recent else float("nan")

    def inference_ms(self, percentile: float) -> float:
        """A percentile of the inference's duration; NaN without poses."""
        times = [inference for _, _, inference in self._recent]
        return float(np.percentile(times, percentile)) if times else float("nan")


class WatchView:
    """What the live table shows; the statistics and the subscription are read when it is drawn."""

    def __init__(self, stream: str, endpoint: str, subscription: Subscription, statistics: WatchStatistics) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._subscription = subscription
        self._statistics = statistics
        self._last: Pose | None = None
        self._arrived_ns = now_ns()

    def show(self, pose: Pose, arrived_ns: int) -> None:
        """Show this pose from now on."""
        self._last, self._arrived_ns = pose, arrived_ns

    def __rich__(self) -> RenderableType:
        """Draw."""
        quiet_s = (now_ns() - self._arrived_ns) / 1e9
        if self._last is None:
            waiting = f"waiting for poses of stream {self._stream} from {self._endpoint} ({quiet_s:.0f} s)"
            return Text(f"{waiting}; `poseloop streams` tells what runs", style="yellow")
        parts: list[RenderableType] = [self._heading(self._last), _keypoint_table(self._last), self._account()]
        if quiet_s > _QUIET_S:
            parts.append(Text(f"no pose for {quiet_s:.0f} s", style="bold yellow"))
        parts += [Text(str(restart), style="yellow") for restart in self._subscription.restarts[-_RESTARTS:]]
        return Group(*parts)

    def _heading(self, pose: Pose) -> Text:
        statistics = self._statistics
        return Text.assemble(
            (pose.stream, "bold"),
            f"  frame {pose.sequence}  {pose.width}x{pose.height}  model {pose.model}\n",
            (f"{statistics.frames_per_second:5.1f} fps", "bold cyan"),
            f"   age p50 {statistics.age_ms(50):.1f} ms, p99 {statistics.age_ms(99):.1f} ms"
            f"   inference p50 {statistics.inference_ms(50):.1f} ms",
        )

    def _account(self) -> Text:
        assert self._last is not None
        return Text.assemble(_account_line(self._last.counters), "\n", ("not here  ", "dim"), self._not_here())

    def _not_here(self) -> Text:
        losses = self._subscription.losses
        return Text(str(losses), style="red" if losses.missed else "dim")


def _account_line(counters: Counters) -> Text:
    """The client's part counts from its first frame, the server's from when it opened the stream."""
    line = Text.assemble(("client    ", "dim"), f"sent {counters.sent}")
    _add_drops(line, {"outbox": counters.dropped_outbox, "connection": counters.lost_connection})
    line.append("\nserver    ", style="dim").append(f"received {counters.received}  published {counters.published}")
    _add_drops(line, {"rate": counters.dropped_rate, "mailbox": counters.dropped_mailbox, "failed": counters.failed})
    return line


def _add_drops(line: Text, drops: dict[str, int]) -> None:
    line.append("  dropped:")
    for place, count in drops.items():
        line.append(f" {place} {count}", style="red" if count else "dim")


def _keypoint_table(pose: Pose) -> Table:
    table = Table(box=None, pad_edge=False)
    several = pose.keypoints.shape[0] > 1
    if several:
        table.add_column("animal", justify="right")
    table.add_column("keypoint")
    for title in ("x", "y"):
        table.add_column(title, justify="right", min_width=8)
    table.add_column("confidence")
    for index, instance in enumerate(pose.keypoints.tolist()):
        for name, (x, y, confidence) in zip(pose.keypoint_names, instance, strict=True):
            style = "green" if confidence >= 0.8 else "yellow" if confidence >= 0.3 else "red"
            filled = round(_BAR * confidence)
            bar = Text.assemble(("━" * filled, style), ("━" * (_BAR - filled), "bright_black"), f" {confidence:.2f}")
            place = ("-", "-") if x != x or y != y else (f"{x:.1f}", f"{y:.1f}")
            table.add_row(*([str(index)] if several else []), Text(name), *place, bar)
    return table


def _shown_in_the_table(restart: Restart) -> None:
    pass


def watch(
    stream: Annotated[str, typer.Argument(help="The stream's name, for example cam0.")],
    endpoint: Annotated[str, typer.Option(help="Where the server publishes poses.")] = DEFAULT_ENDPOINT,
    as_json: JsonOption = False,
    csv: Annotated[Path | None, typer.Option(help="Write every pose to this CSV file too.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after this many poses.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Pass over poses that came while one was handled.")] = False,
) -> None:
    """Watch a stream's keypoints live: a table, or one JSON document a line."""
    check_stream(stream)
    statistics = WatchStatistics()
    with ExitStack() as stack:
        subscription = stack.enter_context(
            Subscription(endpoint, stream, latest=latest, on_restart=_shown_in_the_table)
        )
        view = WatchView(stream, endpoint, subscription, statistics)
        table = None if csv is None else stack.enter_context(PoseTable(csv))
        stack.enter_context(until_told_to_stop())
        out = console()
        if not as_json:
            live = stack.enter_context(Live(view, console=out, auto_refresh=False))
        next_refresh_s = time.monotonic()
        while frames is None or statistics.received < frames:
            pose = subscription.receive(_REFRESH_S)
            if pose is not None:
                arrived_ns = now_ns()
                statistics.add(pose, arrived_ns)
                view.show(pose, arrived_ns)
                if table is not None:
                    table.write(pose)
                if as_json:
                    write_json(pose_document(pose))
            if not as_json and time.monotonic() >= next_refresh_s:
                next_refresh_s = time.monotonic() + _REFRESH_S
                live.refresh()

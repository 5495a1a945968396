"""`poseloop streams --watch`: every stream of a server as a live table, or as one JSON document a refresh."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from poseloop.addresses import check_server
from poseloop.keys import quit_key
from poseloop.output import console, until_told_to_stop, write_json
from poseloop.streams_history import PLACES, StreamNow, StreamsPoller
from poseloop.types import Policy

NO_STREAM = "no stream is open; `poseloop stream SOURCE` opens one"

_REFRESH_S = 0.5
_SILENT_S = 2.0
_WIDE = 100
# A live frame is old when it took this many intervals of its camera: two newer ones were there before its pose.
_OLD_INTERVALS = 2.0
_MANY_DROPPED = 0.1
_WRONG, _DOUBTFUL = "bold red", "yellow"


def watch_streams(server: str, as_json: bool) -> None:
    """Show the streams until q or Ctrl-C."""
    check_server(server)
    with ExitStack() as stack:
        poller = stack.enter_context(closing(StreamsPoller(server, _REFRESH_S)))
        stack.enter_context(until_told_to_stop())
        wait = stack.enter_context(quit_key())
        if as_json:
            while not wait(_REFRESH_S):
                write_json(_document(server, poller))
            return
        view = StreamsView(server, poller)
        live = stack.enter_context(Live(view, console=console(), auto_refresh=False, vertical_overflow="crop"))
        while not wait(_REFRESH_S):
            live.refresh()


def _document(server: str, poller: StreamsPoller) -> dict[str, object]:
    streams, _ = poller.look()
    answers = poller.has_answered and poller.silent_s < _SILENT_S
    return {"server": server, "answers": answers, "streams": [stream.to_json() for stream in streams if answers]}


class StreamsView:
    """What the live table shows; the poller is read when it is drawn."""

    def __init__(self, server: str, poller: StreamsPoller) -> None:
        self._server = server
        self._poller = poller

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw."""
        streams, closed = self._poller.look()
        away = self._poller.silent_s >= _SILENT_S
        parts: list[RenderableType] = [Text(self._server, style="bold") if away else _heading(self._server, streams)]
        if streams:
            parts.append(_table(streams, wide=options.max_width >= _WIDE, away=away))
        elif self._poller.has_answered and not away:
            parts.append(Text(NO_STREAM, style="dim"))
        if away or not self._poller.has_answered:
            parts.append(self._waiting())
        parts += [Text(f"{name} was closed {ago_s:.0f} s ago", style=_DOUBTFUL) for name, ago_s in closed.items()]
        parts.append(Text("\nq ends", style="dim"))
        yield Group(*parts)

    def _waiting(self) -> Text:
        what = "no answer" if self._poller.has_answered else "waiting for the server"
        why = f": {self._poller.trouble}" if self._poller.trouble else ""
        return Text(f"{what} for {self._poller.silent_s:.0f} s{why}", style=f"bold {_DOUBTFUL}")


def _heading(server: str, streams: list[StreamNow]) -> Text:
    rates = (each for stream in streams for place, each in stream.rates.dropped.items() if place != "rate")
    dropped = sum(rate for rate in rates if rate > 0)
    return Text.assemble(
        (server, "bold"),
        f"  {len(streams)} stream{'' if len(streams) == 1 else 's'}  ",
        (f"{sum(stream.info.frames_per_second for stream in streams):.1f} poses/s", "bold cyan"),
        "  ",
        (f"{dropped:.1f} dropped/s", _DOUBTFUL if dropped else "dim"),
    )


def _table(streams: list[StreamNow], wide: bool, away: bool) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, padding=(0, 1), style="dim" if away else "")
    # Where room is short, these two give way first, since they may be wrapped as far as the table knows.
    table.add_column("stream", overflow="ellipsis", min_width=6)
    table.add_column("model", overflow="ellipsis", min_width=5)
    if wide:
        table.add_column("frames", no_wrap=True)
    for title in ("poses\n/s", "age ms\np50", "\np99", "wait\nms", "infer\nms", "queue"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("dropped", no_wrap=True)
    for stream in streams:
        info = stream.info
        frames = Text(f"{info.policy} {info.width}x{info.height} {info.format or '-'}")
        table.add_row(
            Text(info.name),
            Text(info.model),
            *([frames] if wide else []),
            _rate(stream),
            _age(stream, info.age.p50, _WRONG),
            _age(stream, info.age.p99, _DOUBTFUL),
            _milliseconds(info.wait.p50, _DOUBTFUL if info.wait.p50 > max(1.0, info.inference.p50) else ""),
            _milliseconds(info.inference.p50, ""),
            Text(str(stream.queue), style=_DOUBTFUL if info.policy is Policy.LIVE and stream.queue > 1 else ""),
            _drops(stream),
        )
    return table


def _rate(stream: StreamNow) -> Text:
    published, sent = stream.info.frames_per_second, stream.rates.sent
    if sent == 0:
        return Text("idle", style=_DOUBTFUL)
    wanted = sent if stream.info.max_fps is None else min(sent, stream.info.max_fps)
    return Text(f"{published:.1f}", style=_WRONG if published < wanted / 2 else "bold cyan")


def _age(stream: StreamNow, age_ms: float, style: str) -> Text:
    sent = stream.rates.sent
    is_old = stream.info.policy is Policy.LIVE and sent > 0 and age_ms > _OLD_INTERVALS * 1e3 / sent
    return _milliseconds(age_ms, style if is_old else "")


def _milliseconds(value_ms: float, style: str) -> Text:
    if math.isnan(value_ms):
        return Text("-", style="dim")
    return Text(f"{value_ms:.1f}" if value_ms < 1000 else f"{value_ms:.0f}", style=style)


def _drops(stream: StreamNow) -> Text:
    """One line a place: how many there ever, and how many a second now."""
    lines = []
    for place, counter in PLACES.items():
        count, rate = getattr(stream.info.counters, counter), stream.rates.dropped[place]
        if not count:
            continue
        serious = place in ("connection", "failed") or rate > _MANY_DROPPED * stream.rates.sent
        asked_for = place == "rate"
        style = "dim" if asked_for or not rate > 0 else _WRONG if serious else _DOUBTFUL
        lines.append(Text(f"{place} {count}" + (f"  {rate:.1f}/s" if rate > 0 else ""), style=style))
    return Text("\n").join(lines) if lines else Text("-", style="dim")

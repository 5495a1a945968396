"""`poseloop stream`: a camera, video or the synthetic arena as a stream of a server."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from poseloop.addresses import DEFAULT_SERVER
from poseloop.client import SenderOptions, connect
from poseloop.encoder import Encoding
from poseloop.link import Reconnection
from poseloop.memory import keep_freed_memory
from poseloop.output import JsonOption, console, until_told_to_stop, write_json
from poseloop.sender import FrameSender
from poseloop.sources import Source, Speed, open_source
from poseloop.transport import Transport
from poseloop.types import Counters, Policy

# How long the last frames wait for a server that is away: Ctrl-C is meant to end.
_AWAY_AT_THE_END_S = 60.0
_AWAY_WHEN_TOLD_TO_STOP_S = 3.0


class StreamStatus:
    """The status line while frames are sent."""

    def __init__(self, sender: FrameSender, source: Source, encode: Encoding) -> None:
        self._sender = sender
        self._encode = encode
        self._source = source
        self._started_s = time.monotonic()
        self.reconnections: list[Reconnection] = []

    @property
    def seconds(self) -> float:
        """Since the first frame."""
        return time.monotonic() - self._started_s

    def __rich__(self) -> Text:
        """Draw."""
        counters = self._sender.counters
        rate = counters.sent / self.seconds if self.seconds > 0 else 0.0
        state = "" if self._sender.connected else "  server away, trying again"
        encoding = f"as {self._sender.encoding}  " if self._encode == "auto" else ""
        return Text.assemble(
            (self._sender.stream, "bold"),
            f"  {self._source.description}  {rate:.1f} fps  sent {counters.sent}  published {counters.published}  ",
            encoding,
            (f"dropped {counters.dropped}", "red" if counters.dropped else "dim"),
            (state, "bold yellow"),
        )


def _account(status: StreamStatus, stream: str, counters: Counters) -> dict[str, object]:
    return {
        "stream": stream,
        "seconds": round(status.seconds, 3),
        "frames_per_second": round(counters.sent / status.seconds, 3) if status.seconds > 0 else 0.0,
        **asdict(counters),
        "dropped": counters.dropped,
        "in_flight": counters.in_flight,
        "reconnections": [asdict(reconnection) for reconnection in status.reconnections],
    }


def _say(status: StreamStatus, stream: str, counters: Counters) -> None:
    out = console()
    out.print(
        f"{stream}: {counters.sent} frames in {status.seconds:.1f} s; published {counters.published}, dropped "
        f"{counters.dropped} (outbox {counters.dropped_outbox}, connection {counters.lost_connection}, rate "
        f"{counters.dropped_rate}, mailbox {counters.dropped_mailbox}, failed {counters.failed})"
        + (f"; {counters.in_flight} not answered" if counters.in_flight else ""),
        soft_wrap=True,
    )


def stream(
    source: Annotated[str, typer.Argument(help="A video file, camera:0, or synthetic:640x480@60?seed=3.")],
    name: Annotated[str, typer.Option(help="The stream's name.")] = "cam0",
    server: Annotated[str, typer.Option(help="The server's address.")] = DEFAULT_SERVER,
    model: Annotated[str, typer.Option(help="A loaded model's name; not needed where the server has one.")] = "",
    policy: Annotated[Policy, typer.Option(help="live: newest frame wins. lossless: the source waits.")] = Policy.LIVE,
    encode: Annotated[Encoding, typer.Option(help="How frames travel; auto: as what makes poses younger.")] = "raw",
    transport: Annotated[
        Transport,
        typer.Option(help="local: through shared memory, on the server's host. auto: where that can be."),
    ] = "auto",
    fps: Annotated[float | None, typer.Option(help="Frames a second; the source's own unless given.")] = None,
    speed: Annotated[Speed, typer.Option(help="max: as fast as frames are taken.")] = "realtime",
    loop: Annotated[bool, typer.Option("--loop", help="Begin a video again at its end.")] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="End after this many frames.")] = None,
    priority: Annotated[int, typer.Option(help="-100 to 100; the server serves higher ones first.")] = 0,
    max_fps: Annotated[
        float | None, typer.Option(help="Poses a second that are enough, live; the server drops and counts the rest.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Window that follows the one animal, such as 256x256, or off; else the server's.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a camera, a video or the synthetic arena to a server, until it ends or Ctrl-C."""
    keep_freed_memory()
    reconnections: list[Reconnection] = []
    options = SenderOptions(
        encoding=encode,
        transport=transport,
        on_reconnect=reconnections.append,
        priority=priority,
        max_fps=max_fps,
        crop=crop,
    )
    with (
        open_source(source, fps=fps, speed=speed, loop=loop) as opened,
        connect(server) as connection,
        connection.sender(name, model, policy, **options) as sender,
    ):
        status = StreamStatus(sender, opened, encode)
        status.reconnections = reconnections
        errors = Console(stderr=True, highlight=False)
        away_s = _AWAY_WHEN_TOLD_TO_STOP_S
        try:
            with until_told_to_stop(), Live(status, console=errors, refresh_per_second=4, transient=True):
                for frame in islice(opened, frames):
                    sender.send(frame)
                away_s = _AWAY_AT_THE_END_S
            sender.close(away_s=away_s)
        finally:  # whatever ended it, what became of the frames is told
            if as_json:
                write_json(_account(status, name, sender.counters))
            else:
                _say(status, name, sender.counters)

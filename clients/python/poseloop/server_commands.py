"""`poseloop models` and `poseloop streams`: what a server has and does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from poseloop.addresses import DEFAULT_SERVER
from poseloop.client import connect
from poseloop.output import JsonOption, console, write_json
from poseloop.streams_history import PLACES, stream_document
from poseloop.streams_view import NO_STREAM, watch_streams
from poseloop.types import Counters, ModelInfo, StreamInfo

ServerOption = Annotated[str, typer.Option("--server", help="The server's address.")]

models_app = typer.Typer(help="List, load, swap and unload the models of a server.", invoke_without_command=True)


def _model_document(model: ModelInfo) -> dict[str, Any]:
    return {**asdict(model), "spec": model.spec.model_dump()}


_SPANS: Final = "sent, outbox and connection: over all sessions of the client; the rest: since the stream was opened"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _model_table(models: list[ModelInfo]) -> Table:
    table = _table("model", "keypoints", "native size", "runs on", "inference", "batches", "streams")
    for model in models:
        spec = model.spec
        table.add_row(
            Text(model.name),
            str(len(spec.keypoints)),
            f"{spec.native_width}x{spec.native_height} {spec.color}",
            Text(f"{model.provider} {model.precision}, {model.device}, {_threads(model)}"),
            f"{model.inference_ms:.1f} ms",
            _batches(model),
            Text(", ".join(model.streams) or "-"),
        )
    return table


def _threads(model: ModelInfo) -> str:
    cores = f" on cores {', '.join(str(core) for core in model.cores)}" if model.cores else ""
    return f"{model.threads} {'thread' if model.threads == 1 else 'threads'}{cores}"


def _batches(model: ModelInfo) -> str:
    """Say how long batches take, and how many streams' frames are inferred together."""
    if not model.batch_times_ms:
        return "-"
    times = ", ".join(f"{frames}: {time_ms:.1f}" for frames, time_ms in sorted(model.batch_times_ms.items()))
    largest = max(model.batches, default=1)
    return f"{f'up to {largest}' if largest > 1 else 'no'} ({times} ms)"


@models_app.callback()
def models(context: typer.Context, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """List, load, swap and unload the models of a server."""
    if context.invoked_subcommand is not None:
        context.obj = server
        return
    with connect(server) as connection:
        loaded = connection.models()
    if as_json:
        write_json([_model_document(model) for model in loaded])
    else:
        console().print(_model_table(loaded) if loaded else "no model is loaded; `poseloop models load FILE` loads one")


@models_app.command()
def load(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A file name in the server's models folder.")],
    name: Annotated[str, typer.Option(help="What to call it; the file's stem unless given.")] = "",
    server: Annotated[str | None, typer.Option("--server", help="The server's address.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Load a model from the server's models folder."""
    with connect(server or context.obj) as connection:
        model = connection.load_model(file, name)
    if as_json:
        write_json(_model_document(model))
    else:
        console().print(_model_table([model]))


@models_app.command()
def swap(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The loaded model's name, which stays.")],
    file: Annotated[str, typer.Argument(help="A file name in the server's models folder.")],
    server: Annotated[str | None, typer.Option("--server", help="The server's address.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let another version take over a model's name and streams, while they run."""
    with connect(server or context.obj) as connection:
        model = connection.swap_model(name, file)
    if as_json:
        write_json(_model_document(model))
    else:
        console().print(_model_table([model]))


@models_app.command()
def unload(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    server: Annotated[str | None, typer.Option("--server", help="The server's address.")] = None,
) -> None:
    """Unload a model that no stream uses."""
    with connect(server or context.obj) as connection:
        connection.unload_model(name)
    console().print(f"{name} is unloaded")


def _dropped(counters: Counters) -> str:
    """Say how many frames were dropped, and at which places."""
    places = {place: getattr(counters, counter) for place, counter in PLACES.items()}
    where = ", ".join(f"{place} {count}" for place, count in places.items() if count)
    return f"{counters.dropped} ({where})" if where else "0"


def _stream_table(streams: list[StreamInfo]) -> Table:
    columns = ("stream", "model", "policy", "frames", "fps", "age p50/p99", "sent", "published", "dropped")
    table = _table(*columns)
    table.caption = _SPANS
    table.caption_justify = "left"
    for stream in streams:
        table.add_row(
            Text(stream.name),
            Text(stream.model),
            stream.policy,
            f"{stream.width}x{stream.height} {stream.format or '-'}",
            f"{stream.frames_per_second:.1f}",
            f"{stream.age.p50:.1f}/{stream.age.p99:.1f} ms",
            str(stream.counters.sent),
            str(stream.counters.published),
            _dropped(stream.counters),
        )
    return table


def streams(
    server: ServerOption = DEFAULT_SERVER,
    watch: Annotated[bool, typer.Option("--watch", help="Show them live, until q or Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the open streams of a server with their accounts and latencies."""
    if watch:
        watch_streams(server, as_json)
        return
    with connect(server) as connection:
        opened = connection.streams()
    if as_json:
        write_json([stream_document(stream) for stream in opened])
    else:
        console().print(_stream_table(opened) if opened else NO_STREAM)

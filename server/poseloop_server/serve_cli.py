"""`poseloop serve`: its flags are made from the settings, so that each key has one."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from poseloop_server.settings import OFF, Settings
from poseloop_server.settings_sources import load_settings

_METAVARS = {"model": "[NAME=]PATH", "model_threads": "NAME=COUNT", "cores": "[NAME=]CORES", "crop": "[NAME=]WxH"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("serve")(_with_flags(Settings.model_fields))


def serve(config: Path | None, flags: dict[str, object]) -> None:
    """Serve models: frames come in over gRPC, keypoints leave over ZeroMQ.

    Every flag may also stand in the YAML file of --config, or in an environment variable POSELOOP_FLAG_NAME.
    SIGTERM and Ctrl-C end the server after the frames in flight are answered.
    """
    settings = load_settings(config, flags)
    console = Console(highlight=False, soft_wrap=True)
    with _logging_aside(RichHandler(console=console, show_path=False, markup=False)):
        _run(_serve_until_told(settings, console))


@contextmanager
def _logging_aside(handler: logging.Handler) -> Iterator[None]:
    """Let a thread write what is logged: a line takes milliseconds, for which a pose must not wait."""
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    listener = QueueListener(lines, handler)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[QueueHandler(lines)])
    listener.start()
    try:
        yield
    finally:
        listener.stop()  # writes what is left


async def _serve_until_told(settings: Settings, console: Console) -> None:
    told_to_stop = asyncio.Event()
    _on_signal(told_to_stop)  # before the imports, which take a while: a task that is cancelled fails inside gRPC
    from poseloop_server import realtime
    from poseloop_server.app import Server, announce, require_announceable, tune_process

    if settings.announce is not None:
        require_announceable(settings.announce)  # before the models are loaded, which may take minutes
    await asyncio.sleep(0)  # lets a signal that came until now be noticed
    if told_to_stop.is_set():
        return
    server = Server(settings)
    await server.start()
    try:
        tune_process()
        if settings.lock_memory:
            realtime.lock_memory()
        console.print(_what_runs(server))
        for address in (settings.listen_address, settings.metrics_address):
            if address is not None and not address.is_loopback:
                console.print(f"[yellow]{address} can be reached from other machines, and asks for no password.[/]")
        if settings.announce is not None:
            announce(server.announcement, settings.announce)
        console.print("[bold green]READY[/]")
        await told_to_stop.wait()
        console.print("stopping: answering the frames in flight")
    finally:
        await server.stop()


def _what_runs(server: Any) -> Table:
    """Return a table of what really runs, as opposed to what was asked for."""
    table = Table(box=None, show_header=False)
    where = server.announcement
    table.add_row("frames", f"gRPC {where.address}")
    table.add_row("poses", f"ZeroMQ {where.publish}" + (f", JSON {where.publish_json}" if where.publish_json else ""))
    table.add_row("metrics", f"http://{where.metrics}/metrics" if where.metrics else OFF)
    for model in server.models:
        spec = model.spec
        table.add_row(
            f"model {model.name}",
            f"{len(spec.keypoints)} keypoints, {spec.color} {spec.native_width}x{spec.native_height}, "
            f"{model.provider} on {model.device}{_in_brackets(str(model.options))}, {model.precision}, {model.threads} "
            f"{'thread' if model.threads == 1 else 'threads'}, warm-up {model.warm_up_ms:.0f} ms, "
            f"inference {model.inference_ms:.2f} ms, {_batches(model.batch_plan)}",
        )
    if server.experiment is not None:
        _add_experiment(table, server.experiment)
    return table


def _add_experiment(table: Table, experiment: Any) -> None:
    config = experiment.config
    for name, stream in config.streams.items():
        stages = ", ".join(stage.kind for stage in stream.stages) or "none"
        table.add_row(f"stream {name}", Text(f"stages: {stages}; triggers: {', '.join(stream.triggers) or 'none'}"))
    for name, output in experiment.outputs.items():
        account = output.account()
        state = "" if account.connected else f", not there yet: {account.problem}"
        table.add_row(f"output {name}", Text(f"{config.outputs[name].kind}{state}"))
    table.add_row("record", Text(str(experiment.record or OFF)))


def _batches(plan: Any) -> str:
    return f"batches of up to {max(plan.sizes)} frames" if plan.batches else "no batches"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _on_signal(event: asyncio.Event) -> None:
    """Set the event at SIGTERM or Ctrl-C; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()

    def ask_to_stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(event.set)

    # Not loop.add_signal_handler, which Windows lacks; a handler of this kind runs on every system.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop's event loop where there is one, else on the standard one."""
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop
        except ModuleNotFoundError:
            pass
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def _with_flags(fields: dict[str, FieldInfo]) -> Any:
    """Return `serve` as a function with one flag a key, as Typer reads it from a signature."""

    def command(config: Path | None = None, **flags: object) -> None:
        serve(config, flags)

    parameters = [
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option("--config", help="YAML file with any of these keys.")],
        )
    ]
    for key, field in fields.items():
        flag = f"--{key.replace('_', '-')}"
        kind: Any = list[str] | None if field.default_factory is list else str | None
        metavar: str | None = _METAVARS.get(key) or key.rpartition("_")[2].upper()
        if field.annotation is bool:
            kind, metavar = bool | None, None
            flag = f"{flag}/--no-{key.replace('_', '-')}"
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, [], False) or str(default) == "" else f" (default: {default})"
        option = typer.Option(flag, help=f"{field.description}{shown}", metavar=metavar)
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
        )
    command.__doc__ = serve.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command

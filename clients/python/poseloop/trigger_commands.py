"""`poseloop triggers`: what a server's experiment does, and holding it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from poseloop.addresses import DEFAULT_SERVER
from poseloop.client import connect
from poseloop.output import JsonOption, console, write_json
from poseloop.triggers import LoopInfo

ServerOption = Annotated[str, typer.Option("--server", help="The server's address.")]
OwnServerOption = Annotated[str | None, typer.Option("--server", help="The server's address.")]
TriggerArgument = Annotated[str, typer.Argument(help="The trigger's name; all of them unless given.")]
StreamOption = Annotated[str, typer.Option("--stream", help="Of this stream only.")]

triggers_app = typer.Typer(help="Show, arm and disarm the triggers of a server.", invoke_without_command=True)


@triggers_app.callback()
def triggers(context: typer.Context, server: ServerOption = DEFAULT_SERVER, as_json: JsonOption = False) -> None:
    """Show, arm and disarm the triggers of a server."""
    if context.invoked_subcommand is not None:
        context.obj = server
        return
    with connect(server) as connection:
        loop = connection.triggers()
    if as_json:
        write_json(asdict(loop))
    elif not loop.experiment:
        console().print("this server has no triggers; `poseloop serve --loop FILE` starts one that has")
    else:
        _show(loop)


@triggers_app.command()
def arm(
    context: typer.Context, trigger: TriggerArgument = "", stream: StreamOption = "", server: OwnServerOption = None
) -> None:
    """Let triggers fire, from the next pose on."""
    _arm(server or context.obj, stream, trigger, armed=True)


@triggers_app.command()
def disarm(
    context: typer.Context, trigger: TriggerArgument = "", stream: StreamOption = "", server: OwnServerOption = None
) -> None:
    """Let triggers not fire, from the next pose on; one that is active ends."""
    _arm(server or context.obj, stream, trigger, armed=False)


def _arm(server: str, stream: str, trigger: str, *, armed: bool) -> None:
    with connect(server) as connection:
        count = connection.arm(trigger, stream, armed=armed)
    console().print(f"{count} trigger{'' if count == 1 else 's'} {'armed' if armed else 'disarmed'}")


def _show(loop: LoopInfo) -> None:
    to = console()
    to.print(f"experiment {loop.experiment}, record {loop.record or 'off'}", highlight=False, markup=False)
    table = _table("trigger", "stream", "when", "state", "fired", "not fired")
    for trigger in loop.triggers:
        table.add_row(
            Text(trigger.name),
            Text(trigger.stream),
            Text(trigger.condition),
            trigger.state if trigger.armed else f"{trigger.state}, disarmed",
            str(trigger.fired),
            Text(_counts(trigger.suppressed)),
        )
    to.print(table if loop.triggers else "no stream with triggers was opened yet")
    table = _table("output", "type", "", "commands")
    for output in loop.outputs:
        there = "there" if output.connected else "gone"
        table.add_row(Text(output.name), output.type, there, Text(_counts(output.commands)))
    if loop.outputs:
        to.print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) or "-"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

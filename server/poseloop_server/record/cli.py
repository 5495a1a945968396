"""The commands `poseloop record` and `poseloop report`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from poseloop.errors import InvalidInputError
from poseloop.output import JsonOption, console, require_apart, until_told_to_stop, write_json
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from poseloop_server.record.differences import ReplayResult
    from poseloop_server.record.reader import Log

LogArgument = Annotated[Path, typer.Argument(metavar="LOG", help="A .jsonl file that an experiment has left.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    record = typer.Typer(no_args_is_help=True, help="Read the log of an experiment.")
    record.command("events")(events)
    record.command("replay")(replay)
    app.add_typer(record, name="record")
    app.command("report")(report)


def events(
    log: LogArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .csv file to write. Without: standard output.")
    ] = None,
) -> None:
    """Write every event of a log as a table in CSV: decisions, what became of commands, arming, problems.

    Poses are not events; docs/record.md shows how to read those.
    """
    from poseloop_server.record.reader import Log
    from poseloop_server.record.tables import write_events

    read = Log(log)
    if output is None:
        with until_told_to_stop():
            write_events(read, sys.stdout)
    else:
        require_apart(output, log)
        try:
            with output.open("w", encoding="utf-8", newline="") as file:
                rows = write_events(read, file)
        except OSError as error:
            raise InvalidInputError(f"the table {output} can't be written: {error.strerror}; name another") from None
        console().print(f"{rows} events in {output}", soft_wrap=True)
    _say_torn(read)


def replay(
    log: LogArgument,
    own_code: Annotated[
        bool, typer.Option("--run-own-code", help="Run the files of own stages that the log names.")
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="Where those files are. Without: where they were.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide everything in a log again, from its poses, and compare bit for bit. Exit status 1: something differs."""
    from poseloop_server.record.reader import Log
    from poseloop_server.record.rebuilt import loop_maker, other_versions
    from poseloop_server.record.replay import replay as replay_log

    read = Log(log)
    make = loop_maker(read.header, own_code, folder)
    others = other_versions(read.header)
    with Console(stderr=True).status("Replaying …") as status:
        result = replay_log(read, make, lambda poses: status.update(f"Replaying … {poses} poses"))
    if as_json:
        write_json({**asdict(result), "same": result.same, "other_versions": others})
    else:
        _print_result(result, others)
    if not result.same:
        raise typer.Exit(1)


def report(
    log: LogArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "--out", "-o", help="The page to write. Without: LOG with .html.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a log as one page: latencies from capture to action, triggers, zones and trajectories, events, losses."""
    from poseloop_server.record.report.write import write_report

    page = output or log.parent / f"{log.stem}.html"
    require_apart(page, log)
    with Console(stderr=True).status("Reading …"):
        summary = write_report(log, page)
    if as_json:
        write_json({**summary, "page": str(page)})
        return
    console().print(f"{page}: {summary['poses']} poses, {summary['fired']} times fired", soft_wrap=True)


def _print_result(result: ReplayResult, others: dict[str, tuple[str, str]]) -> None:
    out = console()
    for one in result.differences:
        out.print(Text(f"line {one.line}, stream {one.stream}" if one.stream else f"line {one.line}", "bold"))
        out.print(f"  logged    {one.logged}", soft_wrap=True)
        out.print(f"  replayed  {one.replayed}", soft_wrap=True)
    if result.different > len(result.differences):
        out.print(f"and {result.different - len(result.differences)} more")
    for sentence in _remarks(result, others):
        out.print(Text(sentence, "yellow"), soft_wrap=True)
    what = f"{result.poses} poses and {result.decisions} decisions"
    if result.same:
        out.print(f"{what} came out as they were, to the last bit")
    else:
        out.print(f"of {what} {result.different} came out otherwise")


def _remarks(result: ReplayResult, others: dict[str, tuple[str, str]]) -> list[str]:
    remarks = []
    if result.lost:
        remarks.append(f"{result.lost} entries are not in the log, since it could not be written at the time.")
    remarks += [
        f"{poses} poses of the stream {stream} can't be compared: the log lacks something before them."
        for stream, poses in result.not_compared.items()
    ]
    if result.torn:
        remarks.append("The last line is not whole and was left out: the process ended while it was written.")
    elif not result.closed:
        remarks.append("There is no closing line: the process ended before the experiment did, or it still runs.")
    if others and not result.same:
        changed = ", ".join(f"{name} {then} (now {now})" for name, (then, now) in others.items())
        remarks.append(f"The log was made with {changed}.")
    return remarks


def _say_torn(log: Log) -> None:
    if log.torn:
        Console(stderr=True).print("[yellow]The log's last line is not whole and was left out.[/]")

"""The `poseloop` program. Each package adds its commands through the entry point group ``poseloop.commands``."""

from __future__ import annotations

import errno
import io
import sys
from importlib.metadata import entry_points

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from poseloop import commands
from poseloop.errors import MissingExtraError, PoseloopError
from poseloop.extras import EXTRAS, Extra
from poseloop.grpc_threads import read_on_the_waiting_thread

app = typer.Typer(
    name="poseloop",
    help="Real-time pose for closed-loop experiments.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _program() -> None:
    # With a callback the program keeps its commands' names even where there is only one of them.
    pass


def _add_stand_in(command: str, extra: Extra, missing: tuple[str, ...]) -> None:
    @app.command(
        command,
        help=escape(f"Not installed: pip install 'poseloop[{extra.name}]'"),
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )
    def stand_in() -> None:
        raise MissingExtraError(f"`poseloop {command}` (it lacks {', '.join(missing)})", extra.name)


def load_commands() -> None:
    """Register every installed part's commands, and a stand-in for each command of a part that is missing.

    Whether a part is installed is asked of the modules that its extra brings (`poseloop.extras`), not by importing it
    and seeing what happens: an import that fails for any other reason is a fault and must be seen.
    """
    commands.register(app)
    for entry in entry_points(group="poseloop.commands"):
        extra = EXTRAS.get(entry.name)
        missing = extra.missing_modules() if extra is not None else ()
        if extra is not None and missing:
            for command in extra.commands:
                _add_stand_in(command, extra, missing)
        else:
            entry.load()(app)


def _write_what_the_encoding_has() -> None:
    """Let a character that the output's encoding lacks become a question mark; Windows' has no check mark in a file."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _say(what: str) -> None:
    # A name that it quotes may hold what a terminal obeys.
    what = "".join(letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in what)
    # Text, not markup: "poseloop[server]" and a keypoint "[ear]" are no styles.
    message = Text.assemble(("error:", "bold red"), " ", what)
    Console(stderr=True, highlight=False).print(message, soft_wrap=True)


def main() -> None:
    """Run the program; an error that poseloop raises on purpose is one sentence on stderr and exit status 1."""
    _write_what_the_encoding_has()
    read_on_the_waiting_thread()  # before the commands, some of which import gRPC
    try:
        load_commands()
        app()
    except PoseloopError as error:
        _say(str(error))
        sys.exit(1)
    except OSError as error:
        # Any question about such a file fails with it; that the file is not there is never said.
        if error.errno != errno.ENAMETOOLONG:
            raise
        _say(f"the name {error.filename} is too long for a file; give a shorter one")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

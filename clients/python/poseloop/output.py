"""What commands write on standard output, and how they end when nobody reads it any more."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from poseloop.errors import InvalidInputError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def console() -> Console:
    """Return a console on standard output that prints names in brackets as they are."""
    return Console(highlight=False, markup=False)


def write_json(document: Any) -> None:
    """Write one JSON document on a line of its own, at once; NaN, which JSON lacks, as null."""
    sys.stdout.write(json.dumps(_finite(document), allow_nan=False) + "\n")
    sys.stdout.flush()


def require_apart(output: Path, *inputs: Path | None) -> None:
    """Check that what is written would not replace what it is made from; None is no file.

    Raises:
        InvalidInputError: it would.
    """
    if any(file is not None and file.exists() and output.exists() and output.samefile(file) for file in inputs):
        raise InvalidInputError(f"the output {output} is the file that is read; choose another name")


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(part) for key, part in value.items()}
        case list() | tuple():
            return [_finite(part) for part in value]
    return value


@contextmanager
def until_told_to_stop() -> Iterator[None]:
    """Let Ctrl-C, and a reader such as ``head`` that goes away, end what runs inside as its natural end."""
    try:
        yield
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Python flushes standard output once more when it exits, into a pipe that nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None

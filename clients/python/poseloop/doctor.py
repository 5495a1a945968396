"""`poseloop doctor`: what is installed here, what is not, and what really runs."""

from __future__ import annotations

import importlib
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from poseloop.addresses import DEFAULT_SERVER
from poseloop.client import connect
from poseloop.clock import clock_id
from poseloop.errors import InvalidInputError, PoseloopError
from poseloop.extras import EXTRAS
from poseloop.output import JsonOption, console, write_json

_PACKAGES = ("poseloop", "numpy", "grpcio", "protobuf", "pyzmq", "pydantic", "opencv-python-headless", "simplejpeg")
_FINE_CLOCK_NS = 10_000


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was looked at.
        value: what was found.
        ok: None where nothing is wrong either way, such as an extra that is not installed.
        remedy: what to do, where something can be done.
    """

    name: str
    value: str
    ok: bool | None
    remedy: str = ""


def _here() -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", f"{python} ({platform.python_implementation()})", sys.version_info >= (3, 11))
    yield Check("platform", platform.platform(), None)
    for package in _PACKAGES:
        try:
            yield Check(package, version(package), True)
        except PackageNotFoundError:
            yield Check(package, "not installed", None)
    step_ns = _clock_step_ns()
    slow = "stamps are coarse: check which clock source the system uses" if step_ns > _FINE_CLOCK_NS else ""
    yield Check("clock", f"{clock_id()}, steps of {step_ns} ns", not slow, slow)


def _clock_step_ns() -> int:
    """Return the smallest step seen between two readings that differ."""
    readings = [time.perf_counter_ns() for _ in range(2000)]
    return min((after - before for before, after in pairwise(readings) if after > before), default=0)


def _extras() -> Iterator[Check]:
    needed = {"camera": ("cv2", "simplejpeg"), **{extra.name: extra.modules for extra in EXTRAS.values()}}
    for name, modules in needed.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            remedy = f"pip install 'poseloop[{name}]'"
            yield Check(f"extra {name}", f"not installed: lacks {', '.join(missing)}", None, remedy)
        else:
            yield Check(f"extra {name}", "installed", True)


def _server(address: str, *, asked_for: bool) -> Check:
    try:
        with connect(address, timeout_s=2.0) as server:
            models, streams = server.models(), server.streams()
    except PoseloopError as error:
        return Check(f"server {address}", "does not answer", False if asked_for else None, str(error))
    names = ", ".join(model.name for model in models) or "none"
    return Check(f"server {address}", f"answers; models: {names}; open streams: {len(streams)}", True)


def _server_package(model: Path | None) -> dict[str, Any]:
    """Ask the server package, where it is installed, about its providers and how fast they run a model."""
    if EXTRAS["server"].missing_modules():
        if model is not None:
            raise InvalidInputError(f"{model} can't be timed without the server: pip install 'poseloop[server]'.")
        return {"lines": [], "model": None, "timings": [], "recommended": None}
    hook: Any = importlib.import_module("poseloop_server.doctor")
    found: dict[str, Any] = hook.examine(model)
    return found


def doctor(
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model file to time. Without: the bundled arena model.")
    ] = None,
    server: Annotated[str | None, typer.Option(help=f"A server that must answer; {DEFAULT_SERVER} is tried.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what is installed, what really runs and how fast; exit status 1 where something is wrong.

    Every provider that is here is timed on the model, with several numbers of threads, and one is recommended.
    """
    found = _server_package(model)
    checks = [*_here(), *_extras(), *(Check(*line) for line in found.pop("lines"))]
    checks.append(_server(server or DEFAULT_SERVER, asked_for=server is not None))
    if as_json:
        write_json({"checks": [asdict(check) for check in checks], **found})
    else:
        console().print(_report(checks))
        _show_timings(found)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _show_timings(found: dict[str, Any]) -> None:
    if not found["timings"]:
        return
    table = Table(box=None, pad_edge=False, title=f"One frame of the model ({found['model']})", title_justify="left")
    table.add_column("provider")
    table.add_column("options")
    for name in ("threads", "median ms", "95 % ms", "ready in s", "differs by px"):
        table.add_column(name, justify="right")
    for timing in found["timings"]:
        differs = "?" if timing["difference_px"] is None else f"{timing['difference_px']:.2f}"
        table.add_row(
            timing["provider"],
            timing["options"],
            str(timing["threads"]),
            f"{timing['median_ms']:.2f}",
            f"{timing['p95_ms']:.2f}",
            f"{timing['ready_ms'] / 1e3:.1f}",
            differs,
        )
    console().print()
    console().print(table)
    if found["recommended"]:
        console().print(f"\nRecommended: poseloop serve {found['recommended']['flags']}", soft_wrap=True)


def _report(checks: list[Check]) -> Table:
    marks = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        value = Text(check.value)
        if check.remedy:
            value.append(f"\n→ {check.remedy}", style="yellow")
        table.add_row(Text(*marks[check.ok]), Text(check.name), value)
    return table

"""The server package's commands."""

from __future__ import annotations

import typer

from poseloop_server import serve_cli, tool_cli
from poseloop_server.bench import cli as bench_cli
from poseloop_server.record import cli as record_cli
from poseloop_server.rehearse import cli as rehearse_cli


def register(app: typer.Typer) -> None:
    """Add the commands."""
    serve_cli.register(app)
    tool_cli.register(app)
    bench_cli.register(app)
    rehearse_cli.register(app)
    record_cli.register(app)

"""The commands of the `training` extra."""

from __future__ import annotations

import typer

from poseloop_training import evaluate_cli, export_cli, import_cli, project_cli, train_cli


def register(app: typer.Typer) -> None:
    """Add the commands; what they need is imported when they run, so that --help stays quick."""
    train_cli.register(app)
    export_cli.register(app)
    evaluate_cli.register(app)
    project_cli.register(app)
    import_cli.register(app)

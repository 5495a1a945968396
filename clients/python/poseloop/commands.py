"""The commands that need nothing but the base install."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from poseloop.doctor import doctor
    from poseloop.server_commands import models_app, streams
    from poseloop.stream_command import stream
    from poseloop.trigger_commands import triggers_app
    from poseloop.watch import watch

    app.command()(stream)
    app.command()(watch)
    app.add_typer(models_app, name="models")
    app.add_typer(triggers_app, name="triggers")
    app.command()(streams)
    app.command()(doctor)

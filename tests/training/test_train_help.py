"""`poseloop train --help` shows the defaults that really hold."""

from __future__ import annotations

import typer
from poseloop_training import train_cli
from poseloop_training.settings import TrainSettings
from typer.testing import CliRunner

# Shown as a word, or as the pair of flags that it is.
WORDED = {"flip": "flip"}


def test_every_default_is_shown() -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    train_cli.register(app)
    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "250", "TERM": "dumb"}).output
    rows = {line.split("--")[1].split()[0]: line for line in shown.splitlines() if "--" in line}
    defaults = {name: field.default for name, field in TrainSettings.model_fields.items() if field.default is not None}
    for name, value in {**defaults, **WORDED, "out": "model.onnx", "license": "unspecified"}.items():
        row = rows.get(name.replace("_", "-"))
        if row is not None:
            text = f"{value:g}" if isinstance(value, float) else value
            assert f"(default: {text})" in row, name
    assert {"batch-size", "seed", "patience", "rotation"} <= rows.keys()
    assert "[default" not in shown

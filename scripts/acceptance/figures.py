"""A figure beside its limit, the table of all of them, and how the program is asked for them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

POSELOOP = str(Path(sys.executable).parent / "poseloop")

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Figure:
    """One measurement beside what it has to reach; without a limit it is only told."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    exactly: float | None = None

    @property
    def passed(self) -> bool:
        if self.exactly is not None:
            return self.value == self.exactly
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    @property
    def limit(self) -> str:
        if self.exactly is not None:
            return f"= {self.exactly:g}"
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"


@dataclass(frozen=True)
class Places:
    """Where the recordings are and where results go."""

    data: Path
    work: Path

    @property
    def project(self) -> Path:
        return self.data / "openfield"

    @property
    def video(self) -> Path:
        return self.project / "videos/m3v1mp4.mp4"

    @property
    def model(self) -> Path:
        return self.work / "openfield.onnx"


def run(*arguments: str | Path) -> None:
    """Run a command of the program; its output goes to the terminal."""
    console.print(f"[dim]$ poseloop {' '.join(map(str, arguments))}[/]", soft_wrap=True)
    subprocess.run([POSELOOP, *arguments], check=True, stdout=sys.stderr)


def ask(*arguments: str | Path) -> Any:
    """Run a command of the program with --json and return its answer."""
    console.print(f"[dim]$ poseloop {' '.join(map(str, arguments))} --json[/]", soft_wrap=True)
    done = subprocess.run([POSELOOP, *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def report(figures: dict[str, list[Figure]]) -> Table:
    table = Table(title="What a release has to reach", title_justify="left")
    table.add_column("part")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    for part, measured in figures.items():
        for figure in measured:
            verdict = "" if not figure.limit else "[green]met[/]" if figure.passed else "[bold red]MISSED[/]"
            table.add_row(part, figure.name, f"{figure.value:.4g} {figure.unit}".strip(), figure.limit, verdict)
        table.add_section()
    return table


def write(figures: dict[str, list[Figure]], file: Path) -> None:
    """Add the figures to those of parts that were measured earlier."""
    earlier = json.loads(file.read_text()) if file.exists() else {}
    machine = {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "torch": version("torch"),
    }
    for part, measured in figures.items():
        earlier[part] = {
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine,
            "figures": [asdict(figure) | {"passed": figure.passed} for figure in measured],
        }
    file.write_text(json.dumps(earlier, indent=2) + "\n")

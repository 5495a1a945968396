"""Reads the files of docker/ for the tests."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from dockerfile_parse import DockerfileParser
from poseloop_server.settings import Settings
from poseloop_server.settings_sources import load_settings

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
IMAGES = ("cpu", "gpu")


@dataclass(frozen=True)
class Instruction:
    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """Its arguments without flags; the exec form is read as the list that it is."""
        parts = shlex.split(self.value)
        while parts and parts[0].startswith("--"):
            parts = parts[1:]
        return parts

    @property
    def exec_form(self) -> list[str]:
        """The command of an ENTRYPOINT, CMD or HEALTHCHECK that no shell comes between."""
        start = self.value.index("[")
        return json.loads(self.value[start:])


def instructions(image: str) -> list[Instruction]:
    content = (DOCKER / f"Dockerfile.{image}").read_bytes()
    structure = DockerfileParser(fileobj=BytesIO(content)).structure
    return [Instruction(part["instruction"], part["value"]) for part in structure if part["instruction"] != "COMMENT"]


def stages(image: str) -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for instruction in instructions(image):
        if instruction.name == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def named(stage: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in stage if instruction.name == name]


def container_settings() -> Settings:
    return load_settings(DOCKER / "serve.yaml", environment={})


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def container_ports() -> set[int]:
    settings = container_settings()
    return {port_of(a) for a in (settings.listen, settings.publish, settings.publish_json, settings.metrics)}

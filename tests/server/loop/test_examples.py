"""The configurations that the README and the documentation show can be used with the bundled model as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from poseloop.arena import Arena
from poseloop_server.loop.compiled import compile_stream
from poseloop_server.loop.config import read_loop
from poseloop_server.loop.prepared import prepare_outputs
from poseloop_server.loop.yaml_lines import parse_document
from poseloop_server.outputs.base import OutputServices

ROOT = Path(__file__).resolve().parents[3]
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, key: str) -> list[str]:
    found = [block for block in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if f"{key}:" in block]
    assert found
    return found


def use(configuration: str) -> None:
    """Do what a server does at its start, without opening a device."""
    config = read_loop(parse_document(configuration, "rig.yaml"), ROOT)
    for stream in config.streams:
        compile_stream(config, stream, Arena.keypoint_names)
    prepare_outputs(config, OutputServices(None, ""))  # type: ignore[arg-type]


@pytest.mark.parametrize("page", ["README.md", "docs/triggers.md", "docs/measure-with-an-led.md"])
def test_a_whole_experiment(page: str) -> None:
    (example,) = blocks(page, "experiment")
    use(example)


@pytest.mark.parametrize("example", blocks("docs/stages.md", "streams"))
def test_the_page_of_stages(example: str) -> None:
    use(f"experiment: rig\n{example}")


@pytest.mark.parametrize("example", blocks("docs/outputs.md", "outputs"))
def test_the_page_of_outputs(example: str) -> None:
    part: dict[str, Any] = yaml.safe_load(example)
    trigger = {"when": "confidence(snout) > 0.9"} | {key: part[key] for key in ("on_rise", "on_fall") if key in part}
    whole = {"outputs": part["outputs"], "streams": {"cam0": {"triggers": {"in_corner": trigger}}}}
    use(yaml.safe_dump({"experiment": "rig", **whole}))

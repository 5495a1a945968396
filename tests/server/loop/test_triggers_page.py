"""docs/triggers.md: its example works, and it names every key with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from poseloop.arena import Arena
from poseloop_server.loop.compiled import compile_stream
from poseloop_server.loop.config import LoopConfig, StreamConfig, read_loop
from poseloop_server.loop.trigger_config import TriggerConfig
from poseloop_server.loop.yaml_lines import parse_document
from pydantic import BaseModel

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "triggers.md").read_text(encoding="utf-8")


def test_the_example_is_a_configuration() -> None:
    (example,) = re.findall(r"^```yaml\n(experiment:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    config = read_loop(parse_document(example, "corner-reward.yaml"), Path())
    compiled = compile_stream(config, "cam0", Arena.keypoint_names)
    assert [trigger.name for trigger in compiled.triggers] == ["reward", "light"]
    assert compiled.triggers[0].when.keypoints == ("snout", "body_centre")


@pytest.mark.parametrize("model", [LoopConfig, StreamConfig, TriggerConfig])
def test_every_key_is_described_with_its_default(model: type[BaseModel]) -> None:
    rows = {
        key: row.split("|")[2].strip(" `")
        for row in PAGE.splitlines()
        if row.startswith("| `")
        for key in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(rows[name]) == default
        else:
            assert name in rows

from __future__ import annotations

import json
from pathlib import Path

from poseloop_server.sinks.documents import schema

FILE = Path(__file__).resolve().parents[2] / "docs" / "pose.schema.json"


def test_the_published_schema_is_what_is_sent() -> None:
    expected = json.dumps(schema(), indent=2) + "\n"
    assert FILE.read_text(encoding="utf-8") == expected, "it is out of date; write json.dumps(schema(), indent=2) there"

import re
from pathlib import Path
from typing import get_args

import pytest
from poseloop_server.record import entries
from pydantic import BaseModel

DESCRIPTION = Path(__file__).parents[3] / "docs" / "record.md"
KINDS = get_args(get_args(entries.Entry)[0])


@pytest.mark.parametrize("model", [*KINDS, entries.ModelFile, entries.CodeFile, entries.CommandEntry])
def test_every_kind_and_field_is_described(model: type[BaseModel]) -> None:
    text = DESCRIPTION.read_text(encoding="utf-8")
    words = set(re.findall(r"`(\w+)`", text))
    kind = model.model_fields.get("kind")
    expected = set(model.model_fields) - {"kind"} | ({get_args(kind.annotation)[0]} if kind else set())
    assert expected <= words

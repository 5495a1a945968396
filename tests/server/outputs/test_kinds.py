from __future__ import annotations

import subprocess
import sys

import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.outputs.base import ActionConfig, Output, OutputConfig
from poseloop_server.outputs.kinds import OUTPUTS, output_of


@pytest.mark.parametrize("kind", OUTPUTS)
def test_each_kind_describes_what_can_be_set_and_asked(kind: str) -> None:
    output = output_of(kind)
    assert issubclass(output, Output)
    assert issubclass(output.config, OutputConfig)
    assert issubclass(output.action, ActionConfig)
    for model in (output.config, output.action):
        assert all(field.description for field in model.model_fields.values()), f"{kind}: a key lacks its description"
        assert model.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("serail", "did you mean serial"),
        ("openephys", "did you mean open_ephys"),
        ("fax", "use one of serial, open_ephys"),
    ],
)
def test_a_kind_that_there_is_not(kind: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        output_of(kind)


def test_a_configuration_is_read_without_the_libraries() -> None:
    code = (
        "import sys, poseloop_server.outputs.kinds as kinds;"
        "sys.exit(bool({'serial', 'pylsl', 'pythonosc', 'gpiozero'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

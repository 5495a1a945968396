"""docs/conditions.md: every example compiles, every function has one, and mistakes get the sentences that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from poseloop_server.loop.config import StreamConfig
from poseloop_server.loop.language import ExpressionError, Names, compile_condition
from poseloop_server.loop.language.calls import OPERATIONS, example
from poseloop_server.loop.language.functions import FUNCTIONS
from poseloop_server.loop.registered import all_kinds
from poseloop_server.stages.base import StageContext

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "conditions.md").read_text(encoding="utf-8")
KEYPOINTS = ("snout", "neck", "left_ear", "right_ear", "tailbase", "tail tip")


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of a section's first table, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _blocks() -> list[str]:
    blocks = re.findall(r"^```conditions\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


FUNCTION_EXAMPLES = [row[0].strip("`") for row in _rows("Functions")]
MISTAKES = [(row[0].strip("`"), row[1]) for row in _rows("Mistakes")]


def page_names() -> Names:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    stream = StreamConfig.model_validate(yaml.safe_load(text), context=all_kinds())
    (entry,) = stream.stages
    stage = all_kinds().stages[entry.kind](entry.config, StageContext("cam0", KEYPOINTS, zones=stream.zones))
    return Names(
        KEYPOINTS, stream.zones, stream.quantities, (*stage.value_names, "motion_energy.left arm"), stream.unit, 12.5
    )


@pytest.mark.parametrize("text", [*_blocks(), *FUNCTION_EXAMPLES])
def test_every_example_compiles(text: str) -> None:
    compile_condition(text, page_names())


def test_every_name_of_the_page_can_be_written_as_it_says() -> None:
    for text in ('"tail tip" in nest', "'tail tip' in nest", 'center(corner) in "left arm"', "center in nest"):
        compile_condition(text, page_names())
    compile_condition('"motion_energy.left arm" > 1 and motion_energy.nest > 1', page_names())


def test_every_function_has_an_example() -> None:
    shown = " ".join(FUNCTION_EXAMPLES)
    assert {name for name in (*FUNCTIONS, *OPERATIONS) if f"{name}(" not in shown} == set()


@pytest.mark.parametrize("name", [*FUNCTIONS, *OPERATIONS])
def test_the_example_of_each_function_compiles_as_errors_show_it(name: str) -> None:
    names = Names((*KEYPOINTS, "leftear", "rightear"), page_names().zones)
    shown = example(name)
    compile_condition(shown if name == "inside" else f"{shown} == 0 s" if "time" in name else f"{shown} > 0", names)


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_get_these_sentences(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition(text, page_names())
    assert caught.value.message == said
